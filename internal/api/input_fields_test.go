package api_test

import (
	"encoding/base64"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/berthregistry/berth/internal/api/apitest"
)

// badField is a request that has the right shape and cannot be done.
type badField struct {
	method, path string
	body         map[string]any
	status       int
	kind         string
	pointer      string
}

func badFields(own object, w *world) []badField {
	const invalid, taken = http.StatusUnprocessableEntity, http.StatusConflict
	project := "/projects/" + own["project"]
	long := strings.Repeat("a", 200) + "@example.dev"
	var all []badField
	for slug, kind := range map[string]string{
		"Demo": "invalid", "a b": "invalid", "-a": "invalid", "a/b": "invalid", "a..b": "invalid", "\u00fcber": "invalid", "a\x00b": "invalid",
		"01a1fa3a-2828-77d9-8bdf-bef6a32412fe": "invalid", "01A1FA3A-2828-77D9-8BDF-BEF6A32412FE": "invalid",
		"v2": "slug-reserved", "api": "slug-reserved", "taken": "slug-taken",
	} {
		status, pointer := taken, ""
		if kind == "invalid" {
			status, pointer = invalid, "/slug"
		}
		all = append(all,
			badField{"POST", "/projects", map[string]any{"slug": slug}, status, kind, pointer},
			badField{"PATCH", project, map[string]any{"slug": slug}, status, kind, pointer})
	}
	for _, email := range []string{"nobody", "a b@example.dev", "a@b@c", "a@example.dev, b@example.dev", "A <a@example.dev>", "a\x00@example.dev", long + long} {
		all = append(all,
			badField{"POST", "/admin/users", map[string]any{"email": email}, invalid, "invalid", "/email"},
			badField{"POST", "/admin/invites", map[string]any{"email": email}, invalid, "invalid", "/email"},
			badField{"POST", project + "/members", map[string]any{"email": email, "role": "viewer"}, invalid, "invalid", "/email"})
	}
	for _, name := range []string{"a\x00b", "a\nb"} {
		for _, path := range []string{"/tokens", "/admin/runners", project + "/runners", project + "/robots"} {
			body := map[string]any{"name": name}
			if strings.HasSuffix(path, "robots") {
				body["actions"] = []string{"pull"}
			}
			all = append(all, badField{"POST", path, body, invalid, "invalid", "/name"})
		}
		all = append(all, badField{"PATCH", "/me", map[string]any{"name": name}, invalid, "invalid", "/name"})
	}
	grants := func(field string, values ...any) map[string]any {
		return map[string]any{"name": "x", "grants": map[string]any{"actions": []string{"pull"}, field: values}}
	}
	robot := func(field string, values ...any) map[string]any {
		return map[string]any{"name": "x", "actions": []string{"push"}, field: values}
	}
	return append(all,
		badField{"POST", "/admin/users", map[string]any{"email": strings.ToUpper(w.target.Email)}, taken, "already-exists", ""},
		badField{"POST", project + "/members", map[string]any{"email": w.target.Email, "role": "viewer"}, taken, "already-exists", ""},
		badField{"POST", project + "/members", map[string]any{"email": "none@example.dev", "role": "viewer"}, invalid, "invalid", "/email"},
		badField{"PATCH", project + "/members/" + w.people["owner"].ID.String(), map[string]any{"role": "viewer"}, taken, "last-owner", ""},
		badField{"DELETE", project + "/members/" + w.people["owner"].ID.String(), nil, taken, "last-owner", ""},
		badField{"POST", "/tokens", grants("repositories", "[a"), invalid, "invalid", "/grants/repositories/0"},
		badField{"POST", "/tokens", grants("tags", "v*", "{a"), invalid, "invalid", "/grants/tags/1"},
		badField{"POST", "/tokens", grants("projects", "x"), invalid, "invalid", "/grants/projects/0"},
		badField{"POST", "/tokens", grants("actions"), invalid, "invalid", "/grants/actions"},
		badField{"POST", "/tokens", grants("actions", "pull", "pull"), invalid, "invalid", "/grants/actions"},
		badField{"POST", "/tokens", grants("actions", "claim"), invalid, "invalid", "/grants/actions/0"},
		badField{"POST", project + "/robots", robot("repositories", "app", "[a"), invalid, "invalid", "/repositories/1"},
		badField{"POST", project + "/robots", robot("tags", "{a"), invalid, "invalid", "/tags/0"},
		badField{"POST", project + "/robots", robot("tags", "a\x00"), invalid, "invalid", "/tags/0"},
		badField{"POST", project + "/robots", map[string]any{"name": "x", "actions": []string{"delete"}}, invalid, "invalid", "/actions/0"},
		badField{"POST", project + "/runners", map[string]any{"name": "x", "repositories": []string{"App"}}, invalid, "invalid", "/repositories/0"},
		badField{"POST", project + "/runners", map[string]any{"name": "x", "repositories": []string{}}, invalid, "invalid", "/repositories"},
		badField{"PUT", project + "/runners/" + own["runner"], map[string]any{"repositories": []string{"a", "a//b"}}, invalid, "invalid", "/repositories/1"},
		badField{"PATCH", project, map[string]any{"description": "a\x00b"}, invalid, "invalid", "/description"},
		badField{"PATCH", project, map[string]any{}, invalid, "invalid", "/"},
		badField{"POST", "/admin" + project + "/suspend", map[string]any{"reason": "a\x00b"}, invalid, "invalid", "/reason"},
		badField{"POST", "/admin/blocklist", map[string]any{"digest": "sha256:" + strings.Repeat("a", 64), "reason": "a\x00b"}, invalid, "invalid", "/reason"},
		badField{"POST", "/auth/login", map[string]any{"email": "a@example.dev"}, invalid, "invalid", "/"},
		badField{"POST", "/auth/login", map[string]any{"token": "a", "email": "a@example.dev"}, invalid, "invalid", "/"},
		badField{"POST", "/auth/login", map[string]any{"email": "a\x00@example.dev", "password": marker + "12345678"}, http.StatusUnauthorized, "unauthenticated", ""},
		badField{"POST", "/auth/login", map[string]any{"email": "\u00e4@example.dev", "password": marker + "\x00"}, http.StatusUnauthorized, "unauthenticated", ""},
		badField{"POST", "/auth/login", map[string]any{"token": marker + "\x00" + strings.Repeat("x", 30)}, http.StatusUnauthorized, "unauthenticated", ""},
	)
}

// TestBadFields sends what has the right shape and cannot be done: the answer says what is wrong, and nothing is done.
func TestBadFields(t *testing.T) {
	t.Parallel()
	apitest.Each(t, func(t *testing.T, env *apitest.Env) {
		t.Parallel()
		w := newWorld(t, env)
		env.Project(t, "taken", w.stranger)
		own := w.project("private")
		admin := w.replica.Admin(t)
		w.unchanged("bad fields", func() {
			for _, bad := range badFields(own, w) {
				var body any
				if bad.body != nil {
					body = bad.body
				}
				answer := admin.Do(bad.method, bad.path, body)
				if answer.Status != bad.status || answer.Kind() != bad.kind || bad.pointer != "" && !slices.Contains(answer.Pointers(), bad.pointer) {
					t.Errorf("%s %s %q: %d, want %d %s %s: %s", bad.method, bad.path, bad.body, answer.Status, bad.status, bad.kind, bad.pointer, answer.Body)
				}
			}
		})
		w.expectUnseen(marker)
	})
}

// TestBadParameters tries parameters of lists and entity tags that cannot be.
func TestBadParameters(t *testing.T) {
	t.Parallel()
	apitest.Each(t, func(t *testing.T, env *apitest.Env) {
		t.Parallel()
		w := newWorld(t, env)
		objects := w.objects("admin")
		for _, op := range apitest.Operations(t) {
			path := op.At(objects[stateFor(op)])
			for _, query := range badQueries(op) {
				answer := w.replica.Admin(t).Do(op.Method, path+"?"+query.Encode(), nil)
				name := slices.Collect(maps.Keys(query))[0]
				if answer.Status != http.StatusUnprocessableEntity || !slices.Contains(answer.Pointers(), "?"+name) {
					t.Errorf("%s with %q: %d: %s", op.ID, query, answer.Status, answer.Body)
				}
			}
			// A parameter that does not decode is not taken for one that was not sent.
			if answer := w.replica.Admin(t).Do(op.Method, path+"?outcome=x%", nil); answer.Status != http.StatusBadRequest || answer.Kind() == "" {
				t.Errorf("%s with a bad query: %d: %s", op.ID, answer.Status, answer.Body)
			}
			if op.Spec.Parameters.GetByInAndName("header", "If-Match") == nil {
				continue
			}
			for _, tag := range []string{"1", `W/"1"`, `"0"`, `"-1"`, `"99999999999999999999"`, `"2", "1"`, `"x"`, `"987654"`, "'1'", "`1`"} {
				answer := w.replica.Admin(t).Do(op.Method, path, w.body(op), "If-Match", tag)
				if answer.Status != http.StatusPreconditionFailed || answer.Kind() != "version-mismatch" {
					t.Errorf("%s if %s: %d: %s", op.ID, tag, answer.Status, answer.Body)
				}
			}
		}
	})
}

func badQueries(op apitest.Operation) []url.Values {
	var all []url.Values
	if op.Spec.Parameters.GetByInAndName("query", "limit") == nil {
		if !strings.HasPrefix(op.ID, "export") {
			return nil
		}
		return []url.Values{{"limit": {"5"}}, {"limit": {"x"}}, {"cursor": {encodedCursor("x")}}, {"cursor": {"!"}}} // of what has no pages
	}
	for _, limit := range []string{"0", "-1", "201", "2147483648", "1.5", "x", "1 ", "0x10"} {
		all = append(all, url.Values{"limit": {limit}})
	}
	if op.Spec.Parameters.GetByInAndName("query", "cursor") == nil { // a report, which has one page
		return all
	}
	for _, cursor := range []string{"!", "=", strings.Repeat("a", 2000), encodedCursor("\x00"), encodedCursor("a\xff")} {
		all = append(all, url.Values{"cursor": {cursor}})
	}
	if op.Access != "pull" { // whose keys are names
		all = append(all, url.Values{"cursor": {encodedCursor("x")}}, url.Values{"cursor": {encodedCursor("' OR 1=1 --")}})
	}
	if op.Spec.Parameters.GetByInAndName("query", "state") != nil {
		all = append(all, url.Values{"state": {"gone"}}, url.Values{"state": {""}})
	}
	if op.Spec.Parameters.GetByInAndName("query", "prefix") != nil {
		all = append(all, url.Values{"prefix": {strings.Repeat("a", 300)}})
	}
	return all
}

func encodedCursor(key string) string { return base64.RawURLEncoding.EncodeToString([]byte(key)) }

// TestOddPrefixes: what no name begins with finds nothing, and breaks nothing.
func TestOddPrefixes(t *testing.T) {
	t.Parallel()
	apitest.Each(t, func(t *testing.T, env *apitest.Env) {
		t.Parallel()
		admin := env.Serve(t).Admin(t)
		for _, path := range []string{"/projects", "/admin/projects", "/admin/users"} {
			for _, prefix := range []string{"%00", "%FF", "%25", "'", "%5C", "~", "A"} {
				answer := admin.Do(http.MethodGet, path+"?prefix="+prefix, nil)
				if answer.Status != http.StatusOK && answer.Status != http.StatusUnprocessableEntity || answer.Status == http.StatusOK && len(answer.Items(t)) > 0 {
					t.Errorf("%s?prefix=%s: %d %s", path, prefix, answer.Status, answer.Body)
				}
			}
		}
	})
}
