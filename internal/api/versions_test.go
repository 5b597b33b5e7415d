package api_test

import (
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/berthregistry/berth/client"
	"github.com/berthregistry/berth/internal/api/apitest"
	"github.com/berthregistry/berth/internal/auth"
	"github.com/berthregistry/berth/internal/rbac"
)

// TestNoUpdateIsLost: of two who change what both have seen, one is told that it has changed.
func TestNoUpdateIsLost(t *testing.T) {
	t.Parallel()
	apitest.Each(t, func(t *testing.T, env *apitest.Env) {
		t.Parallel()
		w := newWorld(t, env)
		o := w.project("private")
		admin := w.replica.Admin(t)
		bodies := map[string][2]any{
			"updateMe":      {map[string]any{"name": "a"}, map[string]any{"name": "b"}},
			"updateUser":    {map[string]any{"name": "a"}, map[string]any{"name": "b"}},
			"updateMember":  {map[string]any{"role": "developer"}, map[string]any{"role": "maintainer"}},
			"updateProject": {map[string]any{"description": "a"}, map[string]any{"description": "b"}},
			"deleteProject": {nil, nil},
			"updateWebhook": {map[string]any{"description": "a"}, map[string]any{"description": "b"}},
			"deleteWebhook": {nil, nil}, "rotateWebhookSecret": {map[string]any{}, map[string]any{}},
			"replaceRetentionRule": {
				map[string]any{"repositories": "a", "keep_last": 1}, map[string]any{"repositories": "b", "keep_last": 1},
			},
		}
		ops := apitest.Operations(t)
		slices.SortStableFunc(ops, func(a, b apitest.Operation) int { return len(b.Method) - len(a.Method) })
		slices.Reverse(ops) // deletions last
		for _, op := range ops {
			if op.Spec.Parameters.GetByInAndName("header", "If-Match") == nil {
				continue
			}
			path, pair := op.At(o), bodies[op.ID]
			thing := strings.TrimSuffix(path, "/rotate")
			tag := admin.Want(http.StatusOK, "GET", thing, nil).Header.Get("Etag")
			answers := atOnce(2, func(i int) apitest.Answer { return admin.Do(op.Method, path, pair[i], "If-Match", tag) })
			statuses := []int{answers[0].Status, answers[1].Status}
			slices.Sort(statuses)
			if op.ID == "deleteProject" && statuses[0] == http.StatusOK && statuses[1] != http.StatusOK {
				continue // the second may find that it is deleted
			}
			if op.ID == "deleteWebhook" { // nothing is left of it
				if statuses[0] != op.Success || statuses[1] != http.StatusNotFound && statuses[1] != http.StatusPreconditionFailed {
					t.Errorf("%s: %v", op.ID, statuses)
				}
				continue
			}
			if !slices.Equal(statuses, []int{http.StatusOK, http.StatusPreconditionFailed}) {
				t.Errorf("%s: %v", op.ID, statuses)
				continue
			}
			won := answers[0]
			if won.Status != http.StatusOK {
				won = answers[1]
			}
			now := admin.Want(http.StatusOK, "GET", thing, nil)
			if now.Header.Get("Etag") != won.Header.Get("Etag") || now.Header.Get("Etag") == tag {
				t.Errorf("%s: %s, answered %s, now %s", op.ID, tag, won.Header.Get("Etag"), now.Header.Get("Etag"))
			}
		}
	})
}

// listed makes n things for every list, and gives the paths of the lists.
func (w *world) listed(n int) []string {
	w.t.Helper()
	owner := w.people["owner"]
	o := w.project("private")
	project := "/projects/" + o["project"]
	p, err := w.env.Projects.Get(w.t.Context(), o["project"])
	apitest.Check(w.t, err)
	for i := range n {
		w.ownedBy(owner)
		w.env.Project(w.t, fmt.Sprintf("listed-%d", i), owner)
		_, runner := w.env.Runner(w.t, p.ID)
		_, err := w.env.Projects.GrantRunner(w.t.Context(), nil, p.ID, runner.ID, []string{"a", "b"}, "test")
		apitest.Check(w.t, err)
		w.env.Robot(w.t, p.ID)
		w.env.Member(w.t, p.ID, w.env.Person(w.t, fmt.Sprintf("listed-%d", i)), rbac.RoleViewer)
		w.env.Repository(w.t, p.ID, []string{"", "a", "a/b", "a-b", "b", "c", "d"}[i], i)
	}
	w.env.Repository(w.t, p.ID, "many", n)
	for i := range n {
		w.env.Webhook(w.t, p.ID)
		w.env.Exec(w.t, `INSERT INTO events_outbox (id, webhook_id, kind, object, data, state, next_attempt_at, created_at, finished_at)
			VALUES (?, ?, 'quota.exceeded', 'quota', '{}', 'dead', 1, 1, ?)`, uuid.New(), o["webhook"], time.Now().UnixMicro())
		w.env.Exec(w.t, `INSERT INTO tag_rules (id, project_id, kind, repository_pattern, repository_expression, tag_pattern, tag_expression,
			created_by, created_at) VALUES (?, ?, 'immutable', '**', '.', ?, '.', 'test', 1)`, uuid.Must(uuid.NewV7()), p.ID, fmt.Sprint(i))
		w.env.Exec(w.t, `INSERT INTO retention_rules (id, project_id, repository_pattern, tag_pattern, keep_last, keep_tags, enabled,
			created_by, created_at, updated_at) VALUES (?, ?, '**', '**', 1, '', true, 'test', 1, 1)`, uuid.Must(uuid.NewV7()), p.ID)
		w.env.Exec(w.t, `INSERT INTO repositories (id, project_id, path, created_at, deleted_at, purge_after) VALUES (?, ?, ?, 1, 1, ?)`,
			uuid.Must(uuid.NewV7()), p.ID, fmt.Sprint("gone-", i), time.Now().Add(time.Hour).UnixMicro())
		w.env.Exec(w.t, `INSERT INTO tag_history (repository_id, tag, digest, actor, at)
			SELECT id, 'v0', 'sha256:1', 'test', 1 FROM repositories WHERE project_id = ? AND path = 'many'`, p.ID)
	}
	return []string{
		"/tokens", "/me/sessions", "/projects", "/projects?prefix=listed-", "/admin/users", "/admin/users?prefix=listed-", "/admin/invites",
		"/admin/runners", "/admin/projects?state=active", project + "/members", project + "/robots", project + "/runners",
		project + "/repositories", project + "/repositories/many/tags", project + "/repositories/many/manifests",
		project + "/tag-rules", project + "/retention/rules", project + "/trash",
		project + "/webhooks", project + "/webhooks/" + o["webhook"] + "/deliveries", project + "/repositories/many/tags/v0/history",
	}
}

// identity is what tells the items of a list apart.
func identity(item map[string]any) string {
	if kind, found := item["kind"]; found { // of things of several kinds
		return fmt.Sprint(kind, item["id"], item["path"], item["tag"], item["digest"])
	}
	for _, key := range []string{"id", "user", "name", "path", "digest"} {
		if value, found := item[key]; found {
			return fmt.Sprint(value)
		}
	}
	return ""
}

// TestPages: every list gives every item once, whatever the size of its pages, also while things are added.
func TestPages(t *testing.T) {
	t.Parallel()
	apitest.Each(t, func(t *testing.T, env *apitest.Env) {
		t.Parallel()
		w := newWorld(t, env)
		lists := w.listed(6)
		yes := true
		_, err := env.Auth.ChangeUser(t.Context(), nil, w.people["owner"].ID, auth.UserChange{Admin: &yes}, 0)
		apitest.Check(t, err)
		env.ForgetAll()
		c := w.replica.As(t, w.people["owner"].Secret)
		for _, list := range lists {
			all := pages(t, c, list, 200, nil)
			if len(all) < 6 {
				t.Errorf("%s has %d items", list, len(all))
			}
			for size := 1; size <= len(all)+1; size++ {
				if got := pages(t, c, list, size, nil); !slices.Equal(got, all) {
					t.Errorf("%s in pages of %d: %q, want %q", list, size, got, all)
				}
			}
			got := pages(t, c, list, 2, func() {
				w.ownedBy(w.people["owner"])
				env.Project(t, fmt.Sprintf("between-%d", w.next()), w.people["owner"])
			})
			if !containsAll(got, all) || len(slices.Compact(slices.Sorted(slices.Values(got)))) != len(got) {
				t.Errorf("%s while things are added: %q, want all of %q", list, got, all)
			}
		}
	})
}

func containsAll(got, want []string) bool {
	return !slices.ContainsFunc(want, func(item string) bool { return !slices.Contains(got, item) })
}

// pages reads a whole list in pages and gives what its items are. between is called after the first page.
func pages(t *testing.T, c *apitest.Caller, list string, size int, between func()) []string {
	t.Helper()
	parsed, err := url.Parse(list)
	apitest.Check(t, err)
	query := parsed.Query()
	query.Set("limit", fmt.Sprint(size))
	parsed.RawQuery = query.Encode()
	var got []string
	for path := parsed.String(); path != ""; {
		answer := c.Want(http.StatusOK, "GET", path, nil)
		items := answer.Items(t)
		if len(items) > size {
			t.Errorf("%s: %d items", path, len(items))
		}
		for _, item := range items {
			got = append(got, identity(item))
		}
		if path = answer.Next(t, path); between != nil {
			between()
			between = nil
		}
	}
	return got
}

// TestTheClientFollowsLinks reads a list with the client that people get.
func TestTheClientFollowsLinks(t *testing.T) {
	t.Parallel()
	apitest.Each(t, func(t *testing.T, env *apitest.Env) {
		t.Parallel()
		r, ada := env.Serve(t), env.Person(t, "ada")
		for i := range 5 {
			env.Project(t, fmt.Sprintf("of-ada-%d", i), ada)
		}
		c, err := client.New(r.URL, ada.Secret)
		apitest.Check(t, err)
		slugs := map[string]bool{}
		limit := 2
		params := &client.ListProjectsParams{Limit: &limit}
		for {
			answer, err := c.ListProjectsWithResponse(t.Context(), params)
			apitest.Check(t, err)
			for _, p := range answer.JSON200.Items {
				slugs[*p.Slug] = true
			}
			if params.Cursor = client.NextCursor(answer.HTTPResponse); params.Cursor == nil {
				break
			}
		}
		if len(slugs) != 5 {
			t.Errorf("%q", slices.Sorted(maps.Keys(slugs)))
		}
	})
}
