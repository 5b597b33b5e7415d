package oci_test

import (
	"net/http"
	"regexp"
	"strconv"
	"testing"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/berthregistry/berth/internal/oci/ocitest"
)

// warning is the only form that the specification's section "Warnings" allows.
var warning = regexp.MustCompile(`^299 - ("[^"\\[:cntrl:]]*")$`)

// warned returns what an answer's warning says; "" without one.
func warned(t *testing.T, a ocitest.Answer) string {
	t.Helper()
	values := a.Header.Values("Warning")
	if len(values) == 0 {
		return ""
	}
	found := warning.FindStringSubmatch(values[0])
	if len(values) > 1 || found == nil {
		t.Fatalf("warnings %q", values)
	}
	text, err := strconv.Unquote(found[1]) // as ORAS does
	if err != nil {
		t.Fatalf("warning %q: %v", values[0], err)
	}
	return text
}

// pushes does each request of a push, and returns the answers that end a step of it.
func pushes(t *testing.T, c *ocitest.Client, repo string) map[string]ocitest.Answer {
	config := []byte(`{"config":"` + repo + `"}`)
	start := c.Do(http.MethodPost, "/v2/"+repo+"/blobs/uploads/", nil)
	answers := map[string]ocitest.Answer{
		"start":    start,
		"finish":   c.Do(http.MethodPut, ocitest.Query(start.Header.Get("Location"), "digest", digest.FromBytes(config).String()), config),
		"at once":  c.Do(http.MethodPost, "/v2/"+repo+"/blobs/uploads/?digest="+digest.FromString("at once").String(), []byte("at once")),
		"mount":    mount(c, repo+"/mounted", digest.FromBytes(config), repo),
		"no mount": mount(c, repo, digest.FromString("never pushed"), ""),
	}
	answers["manifest"] = c.Do(http.MethodPut, manifestURL(repo, "v1"), image(config).bytes(t), "Content-Type", v1.MediaTypeImageManifest)
	return answers
}

// TestSpecWarnings is the section "Warnings": a push into a project that nobody has claimed says where to claim it.
func TestSpecWarnings(t *testing.T) {
	eachTenants(t, func(t *testing.T, w *tenants) {
		nobody := w.anyone("demo/app", "demo/app/mounted")
		for step, a := range pushes(t, nobody, "demo/app") {
			want := "the project demo belongs to nobody yet and will expire; sign in and claim it: POST " + w.r.URL + "/api/v1/projects/demo/claim"
			if got := warned(t, a); got != want {
				t.Errorf("%s: %d, warning %q, want %q", step, a.Status, got, want)
			}
		}
		silent := map[string]ocitest.Answer{
			"a failed finish":   nobody.Do(http.MethodPut, nobody.Start("demo/app")+"&digest=nonsense", nil),
			"a failed manifest": nobody.Do(http.MethodPut, manifestURL("demo/app", "v2"), []byte("{"), "Content-Type", v1.MediaTypeImageManifest),
			"a refused mount":   mount(nobody, "mine/app", digest.FromString("x"), "demo/app"),
			"a check":           nobody.Do(http.MethodHead, manifestURL("demo/app", "v1"), nil),
			"a pull":            w.admin.Do(http.MethodGet, manifestURL("demo/app", "v1"), nil),
		}
		w.claim("demo", w.mia)
		for step, a := range pushes(t, w.mia.Client, "demo/app") {
			silent["after the claim, "+step] = a
			if a.Status >= 300 {
				t.Errorf("after the claim, %s: %d %s", step, a.Status, a.Body)
			}
		}
		for step, a := range silent {
			if text := warned(t, a); text != "" {
				t.Errorf("%s: warning %q", step, text)
			}
		}
	})
}
