package client_test

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/berthregistry/berth/client"
)

func serve(t *testing.T, status int, mediaType, body string) (*client.ClientWithResponses, *http.Request) {
	t.Helper()
	var seen http.Request
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen = *r
		w.Header().Set("Content-Type", mediaType)
		w.Header().Set("Retry-After", "7")
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}))
	t.Cleanup(server.Close)
	c, err := client.New(server.URL+"/", "secret")
	if err != nil {
		t.Fatal(err)
	}
	return c, &seen
}

func TestSendsTheSecret(t *testing.T) {
	t.Parallel()
	c, seen := serve(t, http.StatusOK, "application/json", `{"bytes":1,"repositories":2,"manifests":3,"tags":4}`)
	answer, err := c.GetUsageWithResponse(t.Context(), "demo")
	if err != nil || answer.JSON200 == nil || answer.JSON200.Tags != 4 {
		t.Fatalf("%+v, %v", answer, err)
	}
	if got := seen.Header.Get("Authorization"); got != "Bearer secret" || seen.URL.Path != "/api/v1/projects/demo/usage" {
		t.Errorf("sent %q to %s", got, seen.URL.Path)
	}
}

func TestEscapesPaths(t *testing.T) {
	t.Parallel()
	c, seen := serve(t, http.StatusOK, "application/json", `{"items":[]}`)
	if _, err := c.ListTagsWithResponse(t.Context(), "demo", "app/web", nil); err != nil {
		t.Fatal(err)
	}
	if got := seen.URL.EscapedPath(); got != "/api/v1/projects/demo/repositories/app%2Fweb/tags" {
		t.Errorf("asked for %s", got)
	}
}

func TestFailuresAreErrors(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		status          int
		mediaType, body string
		kind, text      string
	}{
		"problem": {
			http.StatusUnprocessableEntity, "application/problem+json",
			`{"type":"urn:berth:problem:invalid","title":"Invalid request","status":422,"detail":"See errors.","errors":[{"pointer":"/slug","detail":"is reserved"}]}`,
			"invalid", "Invalid request (422): /slug is reserved",
		},
		"a proxy's page": {http.StatusBadGateway, "text/html", "<html>", "blank", "Bad Gateway (502)"},
		"nothing":        {http.StatusServiceUnavailable, "", "", "blank", "Service Unavailable (503)"},
	}
	for name, tt := range tests {
		c, _ := serve(t, tt.status, tt.mediaType, tt.body)
		_, err := c.GetMeWithResponse(t.Context())
		failed, ok := errors.AsType[*client.Error](err)
		if !ok {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if failed.Kind() != tt.kind || !strings.HasSuffix(failed.Error(), tt.text) || failed.Problem.Status != tt.status || failed.Header.Get("Retry-After") != "7" {
			t.Errorf("%s: %q, %q", name, failed.Kind(), failed.Error())
		}
	}
}

func TestRefusesWhatIsNoServer(t *testing.T) {
	t.Parallel()
	for _, server := range []string{"", "registry.example.dev", "registry.example.dev:5000", "ftp://registry.example.dev", "https://", "http://[::1"} {
		if _, err := client.New(server, ""); err == nil {
			t.Errorf("%q is taken for a server", server)
		}
	}
}
