package api_test

import (
	"bytes"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/gin-gonic/gin"

	"github.com/berthregistry/berth/internal/api"
	"github.com/berthregistry/berth/internal/api/apitest"
	"github.com/berthregistry/berth/web/openapi"
)

// TestRoutesAreThoseOfTheContract: every route of the server below /api/v1 is in the contract, and the other way round.
func TestRoutesAreThoseOfTheContract(t *testing.T) {
	t.Parallel()
	plane, err := api.New(api.Config{})
	apitest.Check(t, err)
	gin.SetMode(gin.ReleaseMode)
	engine := gin.New()
	plane.Mount(engine)
	var routes, contract []string
	for _, route := range engine.Routes() {
		if strings.HasPrefix(route.Path, api.Prefix+"/") && route.Path != api.Prefix+"/openapi.yaml" {
			routes = append(routes, route.Method+" "+route.Path)
		}
	}
	parameter := regexp.MustCompile(`\{(\w+)\}`)
	for _, op := range apitest.Operations(t) {
		contract = append(contract, op.Method+" "+api.Prefix+parameter.ReplaceAllString(op.Path, ":$1"))
	}
	slices.Sort(routes)
	slices.Sort(contract)
	if !slices.Equal(routes, contract) {
		t.Errorf("routes:\n%s\ncontract:\n%s", strings.Join(routes, "\n"), strings.Join(contract, "\n"))
	}
}

// TestOperationsAreDocumented: each operation says what it does and how it fails, and shows a body to send.
func TestOperationsAreDocumented(t *testing.T) {
	t.Parallel()
	for _, op := range apitest.Operations(t) {
		spec := op.Spec
		if spec.Summary == "" || len(spec.Tags) != 1 || op.Success == 0 {
			t.Errorf("%s: summary %q, tags %q, success %d", op.ID, spec.Summary, spec.Tags, op.Success)
		}
		if spec.RequestBody != nil && op.Body() == nil {
			t.Errorf("%s: no example of its body", op.ID)
		}
		for _, status := range failures(op) {
			if spec.Responses.Status(status) == nil {
				t.Errorf("%s does not document %d", op.ID, status)
			}
		}
		if spec.Responses.Default() == nil {
			t.Errorf("%s has no default answer", op.ID)
		}
		if ifMatch := op.Spec.Parameters.GetByInAndName("header", "If-Match"); ifMatch == nil && op.Method == http.MethodPatch {
			t.Errorf("%s takes no If-Match", op.ID)
		}
		if key := op.Spec.Parameters.GetByInAndName("header", "Idempotency-Key"); key == nil && op.Access != "open" && op.Success == http.StatusCreated {
			t.Errorf("%s takes no Idempotency-Key", op.ID)
		}
	}
}

// failures are the statuses that an operation has to document.
func failures(op apitest.Operation) []int {
	var statuses []int
	if op.Access != "open" {
		statuses = append(statuses, http.StatusUnauthorized, http.StatusForbidden)
	}
	if len(op.Params) > 0 {
		statuses = append(statuses, http.StatusNotFound)
	}
	if op.Spec.Parameters.GetByInAndName("header", "If-Match") != nil {
		statuses = append(statuses, http.StatusPreconditionFailed)
	}
	changesProject := op.Has("project") && op.Method != http.MethodGet // which may change in the meantime
	if changesProject || op.Spec.Parameters.GetByInAndName("header", "Idempotency-Key") != nil {
		statuses = append(statuses, http.StatusConflict)
	}
	if op.Spec.RequestBody != nil || op.Spec.Parameters.GetByInAndName("query", "limit") != nil {
		statuses = append(statuses, http.StatusUnprocessableEntity)
	}
	return statuses
}

// TestTheContractIsServed: as it is, and on a page that loads nothing from elsewhere; what is not in it is a problem.
func TestTheContractIsServed(t *testing.T) {
	t.Parallel()
	apitest.Each(t, func(t *testing.T, env *apitest.Env) {
		t.Parallel()
		nobody := env.Serve(t).As(t, "")
		if answer := nobody.Want(http.StatusOK, http.MethodGet, "/openapi.yaml", nil); !bytes.Equal(answer.Body, openapi.Document) {
			t.Errorf("another contract is served, of %d bytes", len(answer.Body))
		}
		for path, status := range map[string]int{"/nothing": http.StatusNotFound, "/projects/a/b/c/d": http.StatusNotFound, "/me/": http.StatusNotFound} {
			if answer := nobody.Want(status, http.MethodGet, path, nil); answer.Kind() != "not-found" {
				t.Errorf("%s: %s", path, answer.Body)
			}
		}
		if answer := nobody.Want(http.StatusMethodNotAllowed, http.MethodPut, "/me", nil); answer.Kind() != "method-not-allowed" {
			t.Errorf("%s", answer.Body)
		}
		page := string(nobody.Want(http.StatusOK, http.MethodGet, api.Prefix[:4]+"/docs", nil).Body)
		if elsewhere := regexp.MustCompile(`(?:src|href)="(?:https?:)?//[^"]*"`).FindString(page); elsewhere != "" || !strings.Contains(page, "/api/v1/openapi.yaml") {
			t.Errorf("the page loads %q:\n%s", elsewhere, page)
		}
	})
}
