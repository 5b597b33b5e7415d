package api_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/berthregistry/berth/internal/api/apitest"
)

// TestImmutableTags: from the answer to the rule on, a tag neither moves nor goes, through whatever asks.
func TestImmutableTags(t *testing.T) {
	t.Parallel()
	apitest.Each(t, func(t *testing.T, env *apitest.Env) {
		t.Parallel()
		r, ada := env.Serve(t), env.Person(t, "ada")
		env.Project(t, "demo", ada)
		g, c := registry{t, r, ada.Secret}, r.As(t, ada.Secret)
		first := g.push("demo/app", "v1", "first")
		second := g.push("demo/app", "v1", "second")
		rule := c.Want(http.StatusCreated, "POST", "/projects/demo/tag-rules", map[string]any{"repositories": "app/**", "tags": "v*"})
		if again := c.Want(http.StatusConflict, "POST", "/projects/demo/tag-rules", map[string]any{"repositories": "app/**", "tags": "v*"}); again.Kind() != "already-exists" {
			t.Errorf("%s", again.Body)
		}
		for _, nothing := range []string{"app/v1", ".v1", "-*"} { // could be the name of a tag
			answer := c.Want(http.StatusUnprocessableEntity, "POST", "/projects/demo/tag-rules", map[string]any{"repositories": "app", "tags": nothing})
			if !pointsAt(answer, "/tags") {
				t.Errorf("%s: %s", nothing, answer.Body)
			}
		}
		app := "/projects/demo/repositories/app"
		body, _ := index("third", "")
		for _, refused := range []struct{ method, path, body string }{
			{"PUT", "demo/app/manifests/v1", body},
			{"PUT", "demo/app/manifests/free?tag=v1", body},
			{"DELETE", "demo/app/manifests/v1", ""},
			{"DELETE", "demo/app/manifests/" + second, ""},
		} {
			answer := g.want(http.StatusForbidden, refused.method, refused.path, refused.body)
			if text := string(answer.Body); !strings.Contains(text, `"DENIED"`) || !strings.Contains(text, `the tag \"v1\" is immutable`) {
				t.Errorf("%s %s: %s", refused.method, refused.path, text)
			}
		}
		for path, method := range map[string]string{
			app: "DELETE", app + "/tags/v1": "DELETE", app + "/manifests/" + second: "DELETE", app + "/tags/v1/restore": "POST",
		} {
			body := any(nil)
			if method == "POST" {
				body = map[string]any{"digest": first}
			}
			if answer := c.Want(http.StatusConflict, method, path, body); answer.Kind() != "immutable" || !strings.Contains(answer.Text("detail"), `"v1"`) {
				t.Errorf("%s %s: %s", method, path, answer.Body)
			}
		}
		if got := g.want(http.StatusOK, "HEAD", "demo/app/manifests/v1", "").Header.Get("Docker-Content-Digest"); got != second {
			t.Errorf("v1 is %s, want %s", got, second)
		}
		g.push("demo/app", "v1", "second")     // the same again
		g.push("demo/app", "free", "third")    // another tag
		g.push("demo/app", "v2", "third")      // a new one, which is immutable then
		g.push("demo/library", "v1", "first")  // another repository
		g.push("demo/library", "v1", "second") //
		g.want(http.StatusForbidden, "DELETE", "demo/app/manifests/v2", "")
		// What it names stays whole, through indexes of indexes.
		part := g.push("demo/app", "part", "part")
		outer := part
		for _, tag := range []string{"between", "v3"} {
			body := fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"manifests":[{"mediaType":%q,"digest":%q,"size":1}]}`, indexType, indexType, outer)
			g.want(http.StatusCreated, "PUT", "demo/app/manifests/"+tag, body)
			outer = "sha256:" + digest(body)
		}
		if text := string(g.want(http.StatusForbidden, "DELETE", "demo/app/manifests/"+part, "").Body); !strings.Contains(text, `\"v3\"`) {
			t.Errorf("a part of v3: %s", text)
		}
		g.want(http.StatusAccepted, "DELETE", "demo/app/manifests/part", "") // the tag alone
		g.want(http.StatusAccepted, "DELETE", "demo/app/manifests/free", "")
		g.want(http.StatusAccepted, "DELETE", "demo/app/manifests/"+first, "")

		c.Want(http.StatusNoContent, "DELETE", "/projects/demo/tag-rules/"+rule.Text("id"), nil)
		g.want(http.StatusAccepted, "DELETE", "demo/app/manifests/v1", "")
		c.Want(http.StatusNoContent, "DELETE", app, nil)
		for action, want := range map[string]int{"tag_rule.create": 1, "tag_rule.delete": 1} {
			if n := count(t, env, `SELECT count(*) FROM audit_log WHERE action = ?`, action); n != want {
				t.Errorf("%d entries of %s, want %d", n, action, want)
			}
		}
	})
}

// TestTagHistory: every move is told with who made it, and a tag goes back to what it named.
func TestTagHistory(t *testing.T) {
	t.Parallel()
	apitest.Each(t, func(t *testing.T, env *apitest.Env) {
		t.Parallel()
		r, ada := env.Serve(t), env.Person(t, "ada")
		env.Project(t, "demo", ada)
		g, c := registry{t, r, ada.Secret}, r.As(t, ada.Secret)
		first, second := g.push("demo/app", "v1", "first"), g.push("demo/app", "v1", "second")
		other := g.push("demo/app", "other", "other")
		tag := "/projects/demo/repositories/app/tags/v1"
		c.Want(http.StatusOK, "POST", tag+"/restore", map[string]any{"digest": first})
		if got := g.want(http.StatusOK, "HEAD", "demo/app/manifests/v1", "").Header.Get("Docker-Content-Digest"); got != first {
			t.Errorf("v1 is %s, want %s", got, first)
		}
		for _, never := range []string{other, "latest", "sha256:1"} {
			if answer := c.Want(http.StatusUnprocessableEntity, "POST", tag+"/restore", map[string]any{"digest": never}); !pointsAt(answer, "/digest") {
				t.Errorf("%s: %s", never, answer.Body)
			}
		}
		c.Want(http.StatusNoContent, "DELETE", "/projects/demo/repositories/app/manifests/"+second, nil)
		c.Want(http.StatusConflict, "POST", tag+"/restore", map[string]any{"digest": second})
		c.Want(http.StatusNoContent, "DELETE", tag, nil)
		c.Want(http.StatusOK, "POST", tag+"/restore", map[string]any{"digest": first})
		moves := c.Want(http.StatusOK, "GET", tag+"/history", nil).Items(t)
		want := []any{first, nil, first, second, first}
		if len(moves) != len(want) {
			t.Fatalf("%v", moves)
		}
		for i, move := range moves {
			if move["to"] != want[i] || move["actor"] != "user:"+ada.ID.String() {
				t.Errorf("move %d: %v, want to %v", i, move, want[i])
			}
		}
		if moves[2]["from"] != second {
			t.Errorf("the move back was from %v", moves[2])
		}
		c.Want(http.StatusNotFound, "GET", "/projects/demo/repositories/app/tags/never/history", nil)
		c.Want(http.StatusNotFound, "GET", "/projects/demo/repositories/none/tags/v1/history", nil)
	})
}

// TestRetentionRules: they are previewed before they are made, and refused with a pointer at what is wrong.
func TestRetentionRules(t *testing.T) {
	t.Parallel()
	apitest.Each(t, func(t *testing.T, env *apitest.Env) {
		t.Parallel()
		r, ada := env.Serve(t), env.Person(t, "ada")
		env.Project(t, "demo", ada)
		g, c := registry{t, r, ada.Secret}, r.As(t, ada.Secret)
		old := g.push("demo/app", "pr-1", "old")
		env.Advance(time.Second)
		g.push("demo/app", "pr-2", "new")
		const rules, dry = "/projects/demo/retention/rules", "/projects/demo/retention/dry-run"
		rule := map[string]any{"repositories": "app", "tags": "pr-*", "keep_last": 1}
		preview := func(body map[string]any) []map[string]any { return c.Want(http.StatusOK, "POST", dry, body).Items(t) }
		victims := preview(map[string]any{"rule": rule})
		if len(victims) != 1 || victims[0]["tag"] != "pr-1" || victims[0]["digest"] != old || victims[0]["reason"] != "not among the last 1" {
			t.Errorf("%v", victims)
		}
		if victims := preview(map[string]any{}); len(victims) != 0 {
			t.Errorf("without a rule, %v go", victims)
		}
		made := c.Want(http.StatusCreated, "POST", rules, rule)
		if victims := preview(map[string]any{}); len(victims) != 1 || victims[0]["rule"] != made.Text("id") {
			t.Errorf("%v", victims)
		}
		other := map[string]any{"repositories": "app", "keep_last": 2}
		if victims := preview(map[string]any{"rule": other, "replaces": made.Text("id")}); len(victims) != 0 {
			t.Errorf("%v", victims)
		}
		for _, none := range []string{"0192f0c1-d2e3-7a4b-8c5d-6e7f80910111", "00000000-0000-0000-0000-000000000000"} {
			c.Want(http.StatusNotFound, "POST", dry, map[string]any{"rule": other, "replaces": none})
			if answer := c.Want(http.StatusUnprocessableEntity, "POST", dry, map[string]any{"replaces": none}); !pointsAt(answer, "/replaces") {
				t.Errorf("%s", answer.Body)
			}
		}
		c.Want(http.StatusPreconditionFailed, "PUT", rules+"/"+made.Text("id"), other, "If-Match", `"2"`)
		replaced := c.Want(http.StatusOK, "PUT", rules+"/"+made.Text("id"), other, "If-Match", `"1"`)
		if replaced.Header.Get("Etag") != `"2"` || replaced.Text("tags") != "**" {
			t.Errorf("%s", replaced.Body)
		}
		bad := map[string]any{"repositories": "app", "tags": "[a", "keep_last": 1}
		for path, pointer := range map[string]string{rules: "/tags", dry: "/rule/tags"} {
			body := bad
			if path == dry {
				body = map[string]any{"rule": bad}
			}
			if answer := c.Want(http.StatusUnprocessableEntity, "POST", path, body); !pointsAt(answer, pointer) {
				t.Errorf("%s: %s", path, answer.Body)
			}
		}
		for field, body := range map[string]map[string]any{
			"/tags":      {"repositories": "app", "tags": "app/*", "keep_last": 1},
			"/keep_tags": {"repositories": "app", "keep_tags": ".*"},
		} {
			if answer := c.Want(http.StatusUnprocessableEntity, "POST", rules, body); !pointsAt(answer, field) {
				t.Errorf("%s: %s", field, answer.Body)
			}
		}
		c.Want(http.StatusUnprocessableEntity, "POST", rules, map[string]any{"repositories": "app"})
		c.Want(http.StatusNoContent, "DELETE", rules+"/"+made.Text("id"), nil)
		for action, want := range map[string]int{"retention_rule.create": 1, "retention_rule.change": 1, "retention_rule.delete": 1} {
			if n := count(t, env, `SELECT count(*) FROM audit_log WHERE action = ?`, action); n != want {
				t.Errorf("%d entries of %s, want %d", n, action, want)
			}
		}
	})
}
