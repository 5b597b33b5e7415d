package api_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/berthregistry/berth/internal/api/apitest"
	"github.com/berthregistry/berth/internal/config"
)

const indexType = "application/vnd.oci.image.index.v1+json"

// registry speaks to /v2 of a replica as a person.
type registry struct {
	t      *testing.T
	r      *apitest.Replica
	secret string
}

// do sends a request; a body is an index.
func (g registry) do(method, path string, body string) apitest.Answer {
	g.t.Helper()
	request, err := http.NewRequestWithContext(g.t.Context(), method, g.r.URL+"/v2/"+path, strings.NewReader(body))
	apitest.Check(g.t, err)
	request.SetBasicAuth("any", g.secret)
	if body != "" {
		request.Header.Set("Content-Type", indexType)
	}
	response, err := http.DefaultClient.Do(request)
	apitest.Check(g.t, err)
	defer func() { _ = response.Body.Close() }()
	content, err := io.ReadAll(response.Body)
	apitest.Check(g.t, err)
	return apitest.Answer{Status: response.StatusCode, Header: response.Header, Body: content}
}

func (g registry) want(status int, method, path string, body string) apitest.Answer {
	g.t.Helper()
	answer := g.do(method, path, body)
	if answer.Status != status {
		g.t.Fatalf("%s %s: %d, want %d: %s", method, path, answer.Status, status, answer.Body)
	}
	return answer
}

// index is an empty index that differs by its name, and refers to a subject unless that is "".
func index(name, subject string) (body, digestOf string) {
	if subject != "" {
		subject = fmt.Sprintf(`"subject":{"mediaType":%q,"digest":%q,"size":1},`, indexType, subject)
	}
	body = fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,%s"artifactType":"application/x","manifests":[],"annotations":{"name":%q}}`, indexType, subject, name)
	return body, "sha256:" + digest(body)
}

// push pushes an index under a reference, and gives its digest.
func (g registry) push(repository, reference, name string) string {
	g.t.Helper()
	body, d := index(name, "")
	g.want(http.StatusCreated, "PUT", repository+"/manifests/"+reference, body)
	return d
}

// pulledAt is what is written some time after these very reads.
var pulledAt = regexp.MustCompile(`"last_pulled_at":"[^"]*",?`)

// seen is all that readers of both planes see of what TestUndo deletes.
func seen(t *testing.T, g registry, c *apitest.Caller, d, referrer string) string {
	t.Helper()
	var all strings.Builder
	for _, path := range []string{
		"demo/app/manifests/v1", "demo/app/manifests/v2", "demo/app/manifests/" + d, "demo/app/manifests/" + referrer, "demo/app/tags/list",
		"demo/app/referrers/" + d, "_catalog",
	} {
		for _, method := range []string{"GET", "HEAD"} {
			if method == "HEAD" && !strings.Contains(path, "manifests") {
				continue
			}
			answer := g.do(method, path, "")
			_, _ = fmt.Fprintf(&all, "%s %s: %d %s\n", method, path, answer.Status, answer.Body)
		}
	}
	for _, path := range []string{"repositories", "repositories/app", "repositories/app/tags", "repositories/app/manifests", "usage"} {
		answer := c.Do("GET", "/projects/demo/"+path, nil)
		_, _ = fmt.Fprintf(&all, "%s: %d %s\n", path, answer.Status, bytes.ReplaceAll(answer.Body, []byte(answer.Header.Get("X-Request-Id")), nil))
	}
	return pulledAt.ReplaceAllString(all.String(), "")
}

// TestUndo: what is deleted is hidden on every replica at once and through every verb, and what is restored is exactly what was
// there, from either plane and in any form.
func TestUndo(t *testing.T) {
	t.Parallel()
	apitest.Each(t, func(t *testing.T, env *apitest.Env) {
		t.Parallel()
		one, other, ada := env.Serve(t), env.Serve(t), env.Person(t, "ada")
		env.Project(t, "demo", ada)
		g, reader := registry{t, one, ada.Secret}, registry{t, other, ada.Secret}
		c, cReader := one.As(t, ada.Secret), other.As(t, ada.Secret)
		d := g.push("demo/app", "v1?tag=v2", "image")
		body, referrer := index("signature", d)
		g.want(http.StatusCreated, "PUT", "demo/app/manifests/"+referrer, body)
		before := seen(t, reader, cReader, d, referrer)
		app := "/projects/demo/repositories/app"
		for _, undo := range []struct {
			name    string
			remove  func()
			hidden  []string // what shows that it is hidden
			restore string
			kind    string
		}{
			{"repository", func() { c.Want(http.StatusNoContent, "DELETE", app, nil) }, []string{
				"GET demo/app/manifests/v1: 404", "HEAD demo/app/manifests/" + d + ": 404", "GET demo/app/tags/list: 404", `"manifests":[]`,
				`_catalog: 200 {"repositories":[]}`, "repositories/app/tags: 404", `"bytes":0`,
			}, app + "/restore", "repository"},
			{"manifest", func() { c.Want(http.StatusNoContent, "DELETE", app+"/manifests/"+d, nil) }, []string{
				"GET demo/app/manifests/v1: 404", "HEAD demo/app/manifests/v2: 404", `"tags":[]`, `"manifests":1`,
			}, app + "/manifests/" + d + "/restore", "manifest"},
			{"referrer by the registry", func() { g.want(http.StatusAccepted, "DELETE", "demo/app/manifests/"+referrer, "") }, []string{
				"GET demo/app/manifests/" + referrer + ": 404", `"manifests":[]`,
			}, app + "/manifests/" + referrer + "/restore", "manifest"},
			{"tag", func() { c.Want(http.StatusNoContent, "DELETE", app+"/tags/v1", nil) }, []string{
				"GET demo/app/manifests/v1: 404", `"tags":["v2"]`,
			}, app + "/tags/v1/restore", "tag"},
			{"tag by the registry", func() { g.want(http.StatusAccepted, "DELETE", "demo/app/manifests/v2", "") }, []string{
				"GET demo/app/manifests/v2: 404", `"tags":["v1"]`,
			}, app + "/tags/v2/restore", "tag"},
		} {
			undo.remove()
			after := seen(t, reader, cReader, d, referrer)
			for _, text := range undo.hidden {
				if !strings.Contains(after, text) {
					t.Errorf("%s: %q is not in\n%s", undo.name, text, after)
				}
			}
			trash := c.Want(http.StatusOK, "GET", "/projects/demo/trash", nil).Items(t)
			if len(trash) != 1 || trash[0]["kind"] != undo.kind {
				t.Errorf("%s: the trash has %v", undo.name, trash)
			}
			body := any(nil)
			if undo.kind == "tag" {
				body = map[string]any{}
			}
			c.Want(http.StatusOK, "POST", undo.restore, body)
			if got := seen(t, reader, cReader, d, referrer); got != before {
				t.Errorf("%s came back otherwise:\n%s", undo.name, difference(before, got))
			}
			c.Want(http.StatusNotFound, "POST", undo.restore, body)
			if trash := c.Want(http.StatusOK, "GET", "/projects/demo/trash", nil).Items(t); len(trash) != 0 {
				t.Errorf("%s: the trash has %v", undo.name, trash)
			}
		}
		for action, want := range map[string]int{"repository.delete": 1, "repository.restore": 1, "manifest.restore": 2, "tag.restore": 2} {
			if n := count(t, env, `SELECT count(*) FROM audit_log WHERE action = ?`, action); n != want {
				t.Errorf("%d entries of %s, want %d", n, action, want)
			}
		}
	})
}

func count(t *testing.T, env *apitest.Env, query string, args ...any) (n int) {
	t.Helper()
	apitest.Check(t, env.DB.Gorm().WithContext(t.Context()).Raw(query, args...).Scan(&n).Error)
	return n
}

// TestAPushRevives: a push to a deleted repository brings it back with what is pushed; the rest comes back one by one, a tag
// only if it names nothing else by then.
func TestAPushRevives(t *testing.T) {
	t.Parallel()
	apitest.Each(t, func(t *testing.T, env *apitest.Env) {
		t.Parallel()
		r, ada := env.Serve(t), env.Person(t, "ada")
		env.Project(t, "demo", ada)
		g, c := registry{t, r, ada.Secret}, r.As(t, ada.Secret)
		first := g.push("demo/app", "v1?tag=old", "first")
		c.Want(http.StatusNoContent, "DELETE", "/projects/demo/repositories/app", nil)
		c.Want(http.StatusNotFound, "DELETE", "/projects/demo/repositories/app", nil)
		c.Want(http.StatusConflict, "POST", "/projects/demo/repositories/app/manifests/"+first+"/restore", nil)
		second := g.push("demo/app", "v1", "second")
		g.want(http.StatusNotFound, "GET", "demo/app/manifests/"+first, "")
		c.Want(http.StatusNotFound, "POST", "/projects/demo/repositories/app/restore", nil)
		c.Want(http.StatusOK, "POST", "/projects/demo/repositories/app/manifests/"+first+"/restore", nil)
		for reference, want := range map[string]string{"v1": second, "old": first} {
			if got := g.want(http.StatusOK, "HEAD", "demo/app/manifests/"+reference, "").Header.Get("Docker-Content-Digest"); got != want {
				t.Errorf("%s is %s, want %s", reference, got, want)
			}
		}
		env.Advance(8 * 24 * time.Hour) // after its time, nothing comes back
		c.Want(http.StatusNoContent, "DELETE", "/projects/demo/repositories/app/tags/old", nil)
		env.Advance(8 * 24 * time.Hour)
		c.Want(http.StatusNotFound, "POST", "/projects/demo/repositories/app/tags/old/restore", map[string]any{})
	})
}

// TestRestoreNeedsRoom: what comes back counts again, and is refused with the figures where it does not fit.
func TestRestoreNeedsRoom(t *testing.T) {
	t.Parallel()
	apitest.Each(t, func(t *testing.T, env *apitest.Env) {
		t.Parallel()
		r, ada := env.Serve(t, func(c *config.Config) { c.Quotas.Project = 200 }), env.Person(t, "ada")
		env.Project(t, "demo", ada)
		g, c := registry{t, r, ada.Secret}, r.As(t, ada.Secret)
		first := g.push("demo/app", "v1", "first")
		c.Want(http.StatusNoContent, "DELETE", "/projects/demo/repositories/app/manifests/"+first, nil)
		second := g.push("demo/app", "v2", "second")
		answer := c.Want(http.StatusConflict, "POST", "/projects/demo/repositories/app/manifests/"+first+"/restore", nil)
		if answer.Kind() != "over-quota" || !strings.Contains(answer.Text("detail"), "200 are allowed") {
			t.Errorf("%s", answer.Body)
		}
		g.want(http.StatusNotFound, "GET", "demo/app/manifests/v1", "")
		c.Want(http.StatusNoContent, "DELETE", "/projects/demo/repositories/app/manifests/"+second, nil)
		c.Want(http.StatusOK, "POST", "/projects/demo/repositories/app/manifests/"+first+"/restore", nil)
		g.want(http.StatusOK, "GET", "demo/app/manifests/v1", "")
	})
}
