package apitest

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"slices"
	"sort"
	"strings"
	"sync"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"

	"github.com/berthregistry/berth/web/openapi"
)

const prefix = "/api/v1"

// Operation is one of the contract.
type Operation struct {
	// ID, Method and Path are as in the contract; Path is below /api/v1 and has parameters in braces.
	ID, Method, Path string
	// Access is x-berth-access.
	Access string
	// Params are the names in Path, in order.
	Params []string
	// Success is the status that says that it was done.
	Success int
	// Spec is all of it.
	Spec *openapi3.Operation

	route   *routers.Route
	pattern *regexp.Regexp
}

// Body is the example of the operation's body, nil if it takes none.
func (o Operation) Body() any {
	if o.Spec.RequestBody == nil {
		return nil
	}
	return o.Spec.RequestBody.Value.Content.Get("application/json").Schema.Value.Example
}

// Has tells whether the operation's path has a parameter.
func (o Operation) Has(param string) bool { return slices.Contains(o.Params, param) }

// At is the operation's path with values for its parameters.
func (o Operation) At(values map[string]string) string {
	return pathParameter.ReplaceAllStringFunc(o.Path, func(name string) string { return values[strings.Trim(name, "{}")] })
}

var pathParameter = regexp.MustCompile(`\{\w+\}`)

// Operations are those of the contract, in the order of their IDs. The contract is held to be exact: answers have no
// properties that it does not name.
func Operations(tb testing.TB) []Operation {
	tb.Helper()
	all, err := operations()
	Check(tb, err)
	return slices.Clone(all) // the caller may sort it
}

var operations = sync.OnceValues(func() ([]Operation, error) {
	doc, err := openapi3.NewLoader().LoadFromData(openapi.Document)
	if err != nil {
		return nil, fmt.Errorf("read the contract: %w", err)
	}
	openapi3filter.RegisterBodyDecoder("application/x-ndjson", openapi3filter.FileBodyDecoder)
	for _, schema := range doc.Components.Schemas {
		seal(schema.Value)
	}
	var all []Operation
	for path, item := range doc.Paths.Map() {
		for method, spec := range item.Operations() {
			all = append(all, newOperation(doc, path, item, method, spec))
		}
	}
	sort.Slice(all, func(i, j int) bool { return all[i].ID < all[j].ID })
	return all, nil
})

// seal makes a schema refuse properties that it does not name.
func seal(schema *openapi3.Schema) {
	if !schema.Type.Is("object") {
		return
	}
	none := false
	schema.AdditionalProperties = openapi3.AdditionalProperties{Has: &none}
	for _, property := range schema.Properties {
		seal(property.Value)
	}
}

func newOperation(doc *openapi3.T, path string, item *openapi3.PathItem, method string, spec *openapi3.Operation) Operation {
	access, _ := spec.Extensions["x-berth-access"].(string)
	o := Operation{
		ID: spec.OperationID, Method: method, Path: path, Access: access, Spec: spec,
		route:   &routers.Route{Spec: doc, Path: path, PathItem: item, Method: method, Operation: spec},
		pattern: regexp.MustCompile("^" + pathParameter.ReplaceAllString(prefix+path, `[^/]+`) + "$"),
	}
	for _, name := range pathParameter.FindAllString(path, -1) {
		o.Params = append(o.Params, strings.Trim(name, "{}"))
	}
	for status := http.StatusOK; status < http.StatusMultipleChoices; status++ {
		if spec.Responses.Status(status) != nil {
			o.Success = status
			break
		}
	}
	return o
}

// undocumented are the statuses that every operation may answer with and none lists: the default response has them.
var undocumented = []int{
	http.StatusBadRequest, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType, http.StatusTooManyRequests,
	http.StatusServiceUnavailable,
}

// validate holds an answer against the contract. What is no operation has to be answered with a problem.
func validate(request *http.Request, answer Answer) error {
	all, err := operations()
	if err != nil || !strings.HasPrefix(request.URL.Path, prefix) {
		return err
	}
	i := slices.IndexFunc(all, func(o Operation) bool {
		return o.Method == request.Method && o.pattern.MatchString(request.URL.EscapedPath())
	})
	if i < 0 {
		return validateOther(answer)
	}
	if all[i].Spec.Responses.Status(answer.Status) == nil && !slices.Contains(undocumented, answer.Status) {
		return fmt.Errorf("%s does not list the status", all[i].ID)
	}
	if answer.Status == http.StatusNoContent && len(answer.Body) > 0 {
		return fmt.Errorf("a body of %d bytes", len(answer.Body))
	}
	return openapi3filter.ValidateResponse(context.Background(), &openapi3filter.ResponseValidationInput{
		RequestValidationInput: &openapi3filter.RequestValidationInput{Request: request, Route: all[i].route},
		Status:                 answer.Status, Header: answer.Header, Body: io.NopCloser(bytes.NewReader(answer.Body)),
		Options: &openapi3filter.Options{MultiError: true},
	})
}

func validateOther(answer Answer) error {
	if answer.Status >= http.StatusBadRequest && answer.Header.Get("Content-Type") != "application/problem+json" {
		return fmt.Errorf("content type %q", answer.Header.Get("Content-Type"))
	}
	return nil
}
