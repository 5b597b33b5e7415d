package oci_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/berthregistry/berth/internal/oci/ocitest"
)

// repositories reads an answer of the catalog.
func repositories(t testing.TB, a ocitest.Answer) []string {
	t.Helper()
	var list struct {
		Repositories []string `json:"repositories"`
	}
	if err := json.Unmarshal(a.Body, &list); err != nil || a.Status != http.StatusOK || list.Repositories == nil {
		t.Fatalf("%d %s: %v", a.Status, a.Body, err)
	}
	return list.Repositories
}

// TestSpecCatalog is Docker Distribution's list of repositories: all of them for an administrator, page by page.
func TestSpecCatalog(t *testing.T) {
	ocitest.Each(t, func(t *testing.T, env *ocitest.Env) {
		c := env.Replica(t, ocitest.Options{TagsPage: 4}).Client
		if got := repositories(t, c.Do(http.MethodGet, "/v2/_catalog", nil)); len(got) != 0 {
			t.Errorf("%s in an empty registry", got)
		}
		names := []string{"aa", "aa/a", "aa/a/b", "aa/b", "aa-b/x", "bb/z", "cc"}
		for _, name := range names {
			c.Push(name, []byte("x"))
		}
		for _, n := range []int{1, 2, 3, 4, 1000} {
			var walked []string
			for next, pages := fmt.Sprintf("/v2/_catalog?n=%d", n), 0; next != "" && pages < 20; pages++ {
				a := c.Do(http.MethodGet, next, nil)
				page := repositories(t, a)
				if len(page) > min(n, 4) {
					t.Errorf("n=%d: a page of %d", n, len(page))
				}
				walked = append(walked, page...)
				next = nextPage(t, a)
			}
			if !slices.Equal(walked, names) {
				t.Errorf("n=%d: %s", n, walked)
			}
		}
		for query, want := range map[string][]string{
			"?n=0": {}, "?last=cc": {}, "?last=aa/b": {"aa-b/x", "bb/z", "cc"}, "?last=aa/a&n=1": {"aa/a/b"}, "?n=2147483648&last=bb": {"bb/z", "cc"},
		} {
			a := c.Do(http.MethodGet, "/v2/_catalog"+query, nil)
			if got := repositories(t, a); !slices.Equal(got, want) {
				t.Errorf("%s: %s, want %s", query, got, want)
			}
			if (a.Header.Get("Link") != "") != (query == "?last=aa/a&n=1") {
				t.Errorf("%s: Link %q", query, a.Header.Get("Link"))
			}
		}
		refused(t, c.Do(http.MethodGet, "/v2/_catalog?n=-1", nil), http.StatusBadRequest, "UNSUPPORTED")
		refused(t, c.Do(http.MethodGet, "/v2/_catalog?last=%00", nil), http.StatusBadRequest, "NAME_INVALID")
	})
}

// TestSpecCatalogAccess: a scope of its own, for those who signed in.
func TestSpecCatalogAccess(t *testing.T) {
	ocitest.Each(t, func(t *testing.T, env *ocitest.Env) {
		c := env.Replica(t, ocitest.Options{}).Client
		c.Push("demo/app", []byte("x"))
		a := c.Nobody().Do(http.MethodGet, "/v2/_catalog", nil)
		refused(t, a, http.StatusUnauthorized, "UNAUTHORIZED")
		const scope = `scope="registry:catalog:*"`
		if challenge := a.Header.Get("WWW-Authenticate"); !strings.Contains(challenge, scope) {
			t.Errorf("challenge %s", challenge)
		}
		for name, reader := range map[string]*ocitest.Client{
			"anonymous":       c.Bearer(c.Nobody().Token("registry:catalog:*")),
			"a narrow token":  c.Bearer(c.Token("repository:demo/app:pull")),
			"no scope at all": c.Bearer(c.Token()),
		} {
			a := reader.Do(http.MethodGet, "/v2/_catalog", nil)
			refused(t, a, http.StatusUnauthorized, "UNAUTHORIZED")
			if challenge := a.Header.Get("WWW-Authenticate"); !strings.Contains(challenge, "insufficient_scope") || !strings.Contains(challenge, scope) {
				t.Errorf("%s: challenge %s", name, challenge)
			}
		}
		if got := repositories(t, c.Bearer(c.Token("registry:catalog:*")).Do(http.MethodGet, "/v2/_catalog", nil)); !slices.Equal(got, []string{"demo/app"}) {
			t.Errorf("%s", got)
		}
	})
}
