package api_test

import (
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"strings"
	"testing"

	"github.com/berthregistry/berth/internal/api/apitest"
	"github.com/berthregistry/berth/internal/config"
)

const (
	overLimit = "over-limit"
	uploadTo  = "/blobs/uploads/"
)

// push begins an upload to a project, which makes the project where it does not exist.
func push(c *apitest.Caller, project string, status int) apitest.Answer {
	return c.Want(status, http.MethodPost, "/v2/"+project+"/app"+uploadTo, nil)
}

// full expects the problem of one thing too many.
func full(t *testing.T, answer apitest.Answer, allowed int) {
	t.Helper()
	if answer.Kind() != overLimit || !strings.Contains(string(answer.Body), fmt.Sprintf("there are %d, and %d are allowed", allowed, allowed)) {
		t.Errorf("%d %s", answer.Status, answer.Body)
	}
}

// TestProjectsOfAnAccountAreCounted by whatever way one comes to the account: creation, push, claim, and out of the trash.
func TestProjectsOfAnAccountAreCounted(t *testing.T) {
	t.Parallel()
	apitest.Each(t, func(t *testing.T, env *apitest.Env) {
		t.Parallel()
		replica, admin := limited(t, env, func(c *config.Config) { c.Counts.Projects = 2 })
		ada := env.Person(t, "ada")
		as := replica.As(t, ada.Secret)
		one := env.Project(t, "one", ada)
		as.Want(http.StatusCreated, "POST", "/projects", map[string]any{"slug": "two"})
		full(t, as.Want(http.StatusForbidden, "POST", "/projects", map[string]any{"slug": "three"}), 2)
		basic := replica.As(t, replica.Bearer(t, ada.Secret, "repository:three/app:pull,push", "repository:one/app:pull,push"))
		if answer := push(basic, "three", http.StatusForbidden); !strings.Contains(string(answer.Body), "2 are allowed") {
			t.Errorf("%s", answer.Body)
		}
		push(basic, "one", http.StatusAccepted)
		env.Unclaimed(t, "found")
		full(t, as.Want(http.StatusForbidden, "POST", "/projects/found/claim", map[string]any{}), 2)

		as.Want(http.StatusOK, "DELETE", "/projects/one", nil)
		as.Want(http.StatusOK, "POST", "/projects/found/claim", map[string]any{})
		restore := "/projects/" + one.ID.String() + "/restore"
		full(t, as.Want(http.StatusForbidden, "POST", restore, map[string]any{}), 2)
		admin.Want(http.StatusOK, "PUT", "/admin/limits/user/"+ada.ID.String(), map[string]any{"counts": map[string]any{"projects": 3}})
		as.Want(http.StatusOK, "POST", restore, map[string]any{})
		full(t, as.Want(http.StatusForbidden, "POST", "/projects", map[string]any{"slug": "three"}), 3)
	})
}

// TestRestoredTagsAreCounted: a tag that comes back by itself, at an earlier digest or with its manifest is one more.
func TestRestoredTagsAreCounted(t *testing.T) {
	t.Parallel()
	apitest.Each(t, func(t *testing.T, env *apitest.Env) {
		t.Parallel()
		replica, _ := limited(t, env, func(c *config.Config) { c.Counts.Tags = 2 })
		ada := env.Person(t, "ada")
		as, g := replica.As(t, ada.Secret), registry{t, replica, ada.Secret}
		env.Project(t, "demo", ada)
		gone := g.push("demo/app", "v1", "one")
		stays := g.push("demo/app", "v2", "two")
		g.want(http.StatusAccepted, "DELETE", "demo/app/manifests/"+gone, "")
		g.want(http.StatusAccepted, "DELETE", "demo/app/manifests/v2", "")
		g.push("demo/app", "v3", "three")
		g.push("demo/app", "v4", "four")
		const app = "/projects/demo/repositories/app/"
		restores := []struct {
			path string
			body map[string]any
		}{
			{app + "tags/v2/restore", map[string]any{}},
			{app + "tags/v2/restore", map[string]any{"digest": stays}},
			{app + "manifests/" + gone + "/restore", nil},
		}
		for _, restore := range restores {
			full(t, as.Want(http.StatusForbidden, "POST", restore.path, restore.body), 2)
		}
		g.want(http.StatusAccepted, "DELETE", "demo/app/manifests/v3", "")
		as.Want(http.StatusOK, "POST", restores[0].path, restores[0].body)
		as.Want(http.StatusOK, "POST", restores[1].path, restores[1].body) // it is there, and is no further one
		full(t, as.Want(http.StatusForbidden, "POST", restores[2].path, nil), 2)
		g.want(http.StatusAccepted, "DELETE", "demo/app/manifests/v4", "")
		as.Want(http.StatusOK, "POST", restores[2].path, nil)
	})
}

// TestMembersAndRunnersOfAProjectAreCounted, with and without a number of the project's own.
func TestMembersAndRunnersOfAProjectAreCounted(t *testing.T) {
	t.Parallel()
	apitest.Each(t, func(t *testing.T, env *apitest.Env) {
		t.Parallel()
		replica, admin := limited(t, env, func(c *config.Config) { c.Counts.Members, c.Counts.RunnerGrants = 2, 1 })
		ada := env.Person(t, "ada")
		project := env.Project(t, "demo", ada) // with its owner as a member
		as := replica.As(t, ada.Secret)
		member := func(name string) map[string]any {
			env.Person(t, name)
			return map[string]any{"email": name + "@example.dev", "role": "viewer"}
		}
		as.Want(http.StatusCreated, "POST", "/projects/demo/members", member("ben"))
		cleo := member("cleo")
		full(t, as.Want(http.StatusForbidden, "POST", "/projects/demo/members", cleo), 2)
		runner := func(name string) map[string]any { return map[string]any{"name": name} }
		as.Want(http.StatusCreated, "POST", "/projects/demo/runners", runner("one"))
		full(t, as.Want(http.StatusForbidden, "POST", "/projects/demo/runners", runner("two")), 1)
		_, server := env.Runner(t, [16]byte{})
		grant := "/projects/demo/runners/" + server.ID.String()
		full(t, as.Want(http.StatusForbidden, "PUT", grant, map[string]any{}), 1)

		admin.Want(http.StatusOK, "PUT", "/admin/limits/project/"+project.ID.String(),
			map[string]any{"counts": map[string]any{"members": 3, "runner_grants": 2}})
		as.Want(http.StatusCreated, "POST", "/projects/demo/members", cleo)
		full(t, as.Want(http.StatusForbidden, "POST", "/projects/demo/members", member("dora")), 3)
		as.Want(http.StatusOK, "PUT", grant, map[string]any{})
		as.Want(http.StatusOK, "PUT", grant, map[string]any{"repositories": []string{"app"}}) // the same runner again
		full(t, as.Want(http.StatusForbidden, "POST", "/projects/demo/runners", runner("two")), 2)
	})
}

// TestAnAccountsOwnQuota: what an admin gives an account counts for all its projects together, at once, and goes again.
func TestAnAccountsOwnQuota(t *testing.T) {
	t.Parallel()
	apitest.Each(t, func(t *testing.T, env *apitest.Env) {
		t.Parallel()
		replica, admin := limited(t, env, func(c *config.Config) { c.Quotas.Account = 100 })
		ada := env.Person(t, "ada")
		env.Project(t, "one", ada)
		env.Project(t, "two", ada)
		as := replica.As(t, replica.Bearer(t, ada.Secret, "repository:one/app:pull,push", "repository:two/app:pull,push"))
		send := func(status int, project, content string) apitest.Answer {
			t.Helper()
			location := push(as, project, http.StatusAccepted).Header.Get("Location")
			return as.Want(status, http.MethodPatch, location, content, "Content-Type", "application/octet-stream")
		}
		limits := "/admin/limits/user/" + ada.ID.String()
		send(http.StatusAccepted, "one", strings.Repeat("a", 60))
		send(http.StatusForbidden, "two", strings.Repeat("b", 60))
		admin.Want(http.StatusOK, "PUT", limits, map[string]any{"quota_bytes": 130})
		send(http.StatusAccepted, "two", strings.Repeat("c", 60))
		answer := send(http.StatusForbidden, "one", strings.Repeat("d", 60))
		var body struct {
			Errors []struct{ Code, Message string }
		}
		apitest.Check(t, json.Unmarshal(answer.Body, &body))
		if len(body.Errors) != 1 || body.Errors[0].Code != "DENIED" || !strings.Contains(body.Errors[0].Message, "account") ||
			!strings.Contains(body.Errors[0].Message, "120") || !strings.Contains(body.Errors[0].Message, "130") {
			t.Errorf("%s", answer.Body)
		}
		admin.Want(http.StatusOK, "PUT", limits, map[string]any{"quota_bytes": 0})
		send(http.StatusAccepted, "one", strings.Repeat("e", 60))
		admin.Want(http.StatusOK, "PUT", limits, map[string]any{})
		env.ForgetAll()                                                             // what lets an upload begin may be out of date for a moment
		as.Want(http.StatusForbidden, http.MethodPost, "/v2/one/app"+uploadTo, nil) // the server's again, which is exceeded
	})
}

// TestThreat15ListsOfTheProductAPI: no list can be asked for more than a page.
func TestThreat15ListsOfTheProductAPI(t *testing.T) {
	t.Parallel()
	apitest.Each(t, func(t *testing.T, env *apitest.Env) {
		t.Parallel()
		_, admin := limited(t, env, func(*config.Config) {})
		ada := env.Person(t, "ada")
		project := env.Project(t, "demo", ada)
		env.Repository(t, project.ID, "app/web", 1)
		env.Trash(t, project.ID) // with the history of a tag
		hook, _ := env.Webhook(t, project.ID)
		values := map[string]string{"project": "demo", "path": "app%2Fweb", "webhook": hook.String(), "tag": "v0"}
		lists := 0
		for _, op := range apitest.Operations(t) {
			limited := false
			for _, parameter := range op.Spec.Parameters {
				limited = limited || parameter.Value.Name == "limit"
			}
			if !limited || op.Method != http.MethodGet {
				continue
			}
			lists++
			admin.Want(http.StatusOK, op.Method, op.At(values)+"?limit=1", nil)
			for _, n := range []string{"201", "2147483648", "18446744073709551616", fmt.Sprint(math.MinInt64), "1e9", "0"} {
				admin.Want(http.StatusUnprocessableEntity, op.Method, op.At(values)+"?limit="+n, nil)
			}
		}
		if lists < 10 {
			t.Errorf("%d lists", lists)
		}
	})
}
