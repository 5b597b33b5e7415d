package oci_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/berthregistry/berth/internal/oci/ocitest"
)

// TestSpecEnd1 is the section "Determining Support".
func TestSpecEnd1(t *testing.T) {
	ocitest.Each(t, func(t *testing.T, env *ocitest.Env) {
		c := env.Replica(t, ocitest.Options{}).Client
		for _, path := range []string{"/v2/", "/v2"} {
			a := c.Nobody().Do(http.MethodGet, path, nil)
			refused(t, a, http.StatusUnauthorized, "UNAUTHORIZED")
			if challenge := a.Header.Get("WWW-Authenticate"); !strings.HasPrefix(challenge, "Bearer realm=") || strings.Contains(challenge, "scope") {
				t.Errorf("challenge %q", challenge)
			}
			headers(t, a, "Docker-Distribution-Api-Version", "registry/2.0")
			headers(t, c.Want(http.StatusOK, http.MethodGet, path, nil), "Docker-Distribution-Api-Version", "registry/2.0")
			c.Bearer(c.Token()).Want(http.StatusOK, http.MethodGet, path, nil)
			c.Bearer(c.Nobody().Token()).Want(http.StatusOK, http.MethodHead, path, nil)
		}
	})
}

// TestSpecUnknownRoutes: what is no endpoint answers in the envelope too, to anybody.
func TestSpecUnknownRoutes(t *testing.T) {
	ocitest.Each(t, func(t *testing.T, env *ocitest.Env) {
		c := env.Replica(t, ocitest.Options{}).Client
		for _, path := range []string{
			"/v2/demo", "/v2/demo/", "/v2/demo/app/", "/v2/demo/blobs", "/v2/demo/blobs/", "/v2/demo/manifests/", "/v2/demo/tags",
			"/v2/demo/tags/", "/v2/demo/tags/list/", "/v2/demo/tags/other", "/v2/demo/referrers/", "/v2/_catalog/", "/v2/_other",
			"/v2/manifests/latest", "/v2//", "/v2/search?q=demo",
		} {
			for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodDelete} {
				a := c.Do(method, path, nil)
				if a.Status != http.StatusNotFound && a.Status != http.StatusBadRequest {
					t.Errorf("%s %s: %d %s", method, path, a.Status, a.Body)
				}
				if code := a.Code(); code != "UNSUPPORTED" && code != "NAME_INVALID" {
					t.Errorf("%s %s: %s", method, path, a.Body)
				}
			}
		}
		refused(t, c.Do(http.MethodGet, "/v2/demo/app/tags/other", nil), http.StatusNotFound, "UNSUPPORTED")
		refused(t, c.Nobody().Do(http.MethodGet, "/v2/demo/app/tags/other", nil), http.StatusNotFound, "UNSUPPORTED")
	})
}

// TestABadQueryIsRefused: a parameter that does not decode is not taken for one that was not sent.
func TestABadQueryIsRefused(t *testing.T) {
	ocitest.Each(t, func(t *testing.T, env *ocitest.Env) {
		c := env.Replica(t, ocitest.Options{}).Client
		_, one := pushed(t, c, "demo/app", "v1", "one")
		body := index(v1.MediaTypeImageIndex).bytes(t)
		for _, query := range []string{"tag=new%", "tag=n%zzw", "tag=good&tag=new;n=1"} {
			a := c.Do(http.MethodPut, manifestURL("demo/app", digest.FromBytes(body).String())+"?"+query, body, "Content-Type", v1.MediaTypeImageIndex)
			refused(t, a, http.StatusBadRequest, "UNSUPPORTED")
		}
		for path, method := range map[string]string{
			"/v2/":                                      http.MethodGet,
			"/v2/_catalog":                              http.MethodGet,
			"/v2/demo/app/tags/list":                    http.MethodGet,
			"/v2/demo/app/manifests/v1":                 http.MethodDelete,
			"/v2/demo/app/blobs/uploads/":               http.MethodPost,
			"/v2/demo/app/referrers/" + one.String():    http.MethodGet,
			"/v2/demo/app/blobs/" + one.String():        http.MethodGet,
			"/v2/demo/app/blobs/uploads/" + someSession: http.MethodPut,
		} {
			refused(t, c.Do(method, path+"?n=1%", nil), http.StatusBadRequest, "UNSUPPORTED")
		}
		if got := tagList(t, c.Do(http.MethodGet, "/v2/demo/app/tags/list", nil)); !slices.Equal(got, []string{"v1"}) {
			t.Errorf("tags %s", got)
		}
	})
}

// TestSpecWrongMethods: each endpoint names its methods, as RFC 9110, section 15.5.6, asks.
func TestSpecWrongMethods(t *testing.T) {
	d := digest.FromString("x").String()
	endpoints := map[string]string{
		"/v2/":                                      "GET, HEAD",
		"/v2/_catalog":                              "GET",
		"/v2/demo/app/blobs/" + d:                   "GET, HEAD, DELETE",
		"/v2/demo/app/blobs/uploads/":               "POST",
		"/v2/demo/app/manifests/v1":                 "GET, HEAD, PUT, DELETE",
		"/v2/demo/app/manifests/" + d:               "GET, HEAD, PUT, DELETE",
		"/v2/demo/app/tags/list":                    "GET",
		"/v2/demo/app/referrers/" + d:               "GET",
		"/v2/demo/app/blobs/uploads/" + someSession: "GET, PATCH, PUT, DELETE",
	}
	ocitest.Each(t, func(t *testing.T, env *ocitest.Env) {
		c := env.Replica(t, ocitest.Options{}).Client
		for path, allow := range endpoints {
			for _, method := range []string{
				http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions, http.MethodTrace,
			} {
				if strings.Contains(", "+allow+",", ", "+method+",") {
					continue
				}
				a := c.Do(method, path, nil)
				if method == http.MethodHead {
					if a.Status != http.StatusMethodNotAllowed || len(a.Body) != 0 {
						t.Errorf("HEAD %s: %d %s", path, a.Status, a.Body)
					}
				} else {
					refused(t, a, http.StatusMethodNotAllowed, "UNSUPPORTED")
				}
				headers(t, a, "Allow", allow)
			}
		}
	})
}

const someSession = "0192f0c1-d2e3-7a4b-8c5d-6e7f80910111"

// TestSpecHeadErrors: the answer to a HEAD has the status and no body, and says nothing of content.
func TestSpecHeadErrors(t *testing.T) {
	d := digest.FromString("absent").String()
	ocitest.Each(t, func(t *testing.T, env *ocitest.Env) {
		c := env.Replica(t, ocitest.Options{}).Client
		pushed(t, c, "demo/app", "v1", "one")
		for path, status := range map[string]int{
			"/v2/demo/app/blobs/" + d:                      http.StatusNotFound,
			"/v2/demo/app/manifests/" + d:                  http.StatusNotFound,
			"/v2/demo/app/manifests/v2":                    http.StatusNotFound,
			"/v2/demo/app/manifests/.INVALID_MANIFEST":     http.StatusNotFound,
			"/v2/demo/app/manifests/sha256:short":          http.StatusNotFound,
			"/v2/demo/app/blobs/sha256:short":              http.StatusBadRequest,
			"/v2/demo/App/manifests/v1":                    http.StatusBadRequest,
			"/v2/demo/app/nothing":                         http.StatusNotFound,
			"/v2/demo/app/blobs/md5:" + d[len("sha256:"):]: http.StatusBadRequest,
		} {
			a := c.Do(http.MethodHead, path, nil)
			if a.Status != status || len(a.Body) != 0 {
				t.Errorf("HEAD %s: %d with %d bytes, want %d", path, a.Status, len(a.Body), status)
			}
			headers(t, a, "Docker-Content-Digest", "", "Etag", "", "Accept-Ranges", "")
			if got := c.Nobody().Do(http.MethodHead, path, nil); got.Status < 400 || len(got.Body) != 0 {
				t.Errorf("HEAD %s by nobody: %d with %d bytes", path, got.Status, len(got.Body))
			}
		}
	})
}
