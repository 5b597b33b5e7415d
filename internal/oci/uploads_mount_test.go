package oci_test

import (
	"net/http"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/berthregistry/berth/internal/oci/ocitest"
)

// TestUploadMount links a blob of a repository that the credential may pull, and otherwise opens a session.
func TestUploadMount(t *testing.T) {
	eachUploads(t, func(t *testing.T, env *ocitest.Env) {
		c := env.Replica(t, ocitest.Options{}).Client
		content := noise(1000, 1)
		d := c.Push("demo/source", content)
		foreign := c.Push("elsewhere/source", noise(1000, 2))
		hidden := c.Push("elsewhere/source", noise(1000, 3))
		missing := digest.FromString("missing")
		for name, tt := range map[string]struct {
			query   string
			mounted digest.Digest
		}{
			"from":                           {"mount=" + d.String() + "&from=demo/source", d},
			"from another project":           {"mount=" + foreign.String() + "&from=elsewhere/source", foreign},
			"without from":                   {"mount=" + d.String(), d},
			"without from, other project":    {"mount=" + hidden.String(), ""},
			"from where it is not":           {"mount=" + d.String() + "&from=elsewhere/source", ""},
			"from where nothing is":          {"mount=" + d.String() + "&from=demo/none", ""},
			"from no project":                {"mount=" + d.String() + "&from=none/none", ""},
			"from no name":                   {"mount=" + d.String() + "&from=..%2F..", ""},
			"missing":                        {"mount=" + missing.String() + "&from=demo/source", ""},
			"missing, without from":          {"mount=" + missing.String(), ""},
			"from itself, where it is not":   {"mount=" + missing.String() + "&from=demo/target", ""},
			"with a digest of no body, from": {"mount=" + d.String() + "&from=demo/source&digest=" + d.String(), d},
		} {
			t.Run(name, func(t *testing.T) {
				c := c.With(t)
				repo := "demo/" + digest.FromString(name).Encoded()[:8]
				a := c.Do(http.MethodPost, "/v2/"+repo+"/blobs/uploads/?"+tt.query, nil)
				if tt.mounted == "" {
					wantStatus(t, a, http.StatusAccepted)
					location := patch(c, a.Header.Get("Location"), []byte("content: "+name))
					wantStatus(t, put(c, location, []byte("content: "+name), nil), http.StatusCreated)
					return
				}
				wantStatus(t, a, http.StatusCreated)
				want := "/v2/" + repo + "/blobs/" + tt.mounted.String()
				if got := a.Header.Get("Location"); got != want {
					t.Errorf("Location %s, want %s", got, want)
				}
				c.Want(http.StatusOK, http.MethodGet, want, nil)
			})
		}
	})
}
