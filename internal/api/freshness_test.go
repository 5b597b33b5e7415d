package api_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/berthregistry/berth/internal/api/apitest"
	"github.com/berthregistry/berth/internal/rbac"
)

// TestDenialsAreNotRemembered: what one replica has just allowed, another that remembers the time before does not refuse.
func TestDenialsAreNotRemembered(t *testing.T) {
	t.Parallel()
	apitest.Each(t, func(t *testing.T, env *apitest.Env) {
		t.Parallel()
		one, other := env.Serve(t), env.Serve(t)
		ada, ben := env.Person(t, "ada"), env.Person(t, "ben")
		project := env.Unclaimed(t, "demo")
		a, b := one.As(t, ada.Secret), one.As(t, ben.Secret)
		robot := map[string]any{"name": "ci", "actions": []string{"push"}}

		a.At(other).Want(http.StatusForbidden, "POST", "/projects/demo/robots", robot)
		a.Want(http.StatusOK, "POST", "/projects/demo/claim", map[string]any{})
		created := a.At(other).Want(http.StatusCreated, "POST", "/projects/demo/robots", robot)
		if status := startUpload(t, other, created.Text("secret"), "demo/app"); status != http.StatusAccepted {
			t.Errorf("the robot's push: %d", status)
		}

		env.Member(t, project.ID, ben, rbac.RoleViewer)
		b.At(other).Want(http.StatusForbidden, "POST", "/projects/demo/robots", robot)
		a.Want(http.StatusOK, "PATCH", "/projects/demo/members/"+ben.ID.String(), map[string]any{"role": "maintainer"})
		b.At(other).Want(http.StatusCreated, "POST", "/projects/demo/robots", robot)

		one.Admin(t).Want(http.StatusOK, "POST", "/admin/projects/demo/suspend", map[string]any{"reason": "a test"})
		other.Admin(t).Want(http.StatusOK, "POST", "/admin/projects/"+project.ID.String()+"/resume", nil)
	})
}

func startUpload(t *testing.T, r *apitest.Replica, secret, repository string) int {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, r.URL+"/v2/"+repository+"/blobs/uploads/", nil)
	if err != nil {
		t.Fatal(err)
	}
	request.SetBasicAuth("any", secret)
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	_ = answer.Body.Close()
	return answer.StatusCode
}

// TestChangesBySlugAfterARename: a replica that remembers the former meaning of a slug changes nothing by it.
func TestChangesBySlugAfterARename(t *testing.T) {
	t.Parallel()
	apitest.Each(t, func(t *testing.T, env *apitest.Env) {
		t.Parallel()
		one, other := env.Serve(t), env.Serve(t)
		ada := env.Person(t, "ada")
		secret := env.Project(t, "xx", ada)
		a := one.As(t, ada.Secret)
		a.At(other).Want(http.StatusOK, "GET", "/projects/xx", nil)
		a.Want(http.StatusOK, "PATCH", "/projects/xx", map[string]any{"slug": "xx-old"})
		a.Want(http.StatusCreated, "POST", "/projects", map[string]any{"slug": "xx"})

		answer := a.At(other).Do("PATCH", "/projects/xx", map[string]any{"visibility": "public"})
		if answer.Status == http.StatusOK && answer.Text("id") == secret.ID.String() || answer.Status >= http.StatusInternalServerError {
			t.Errorf("%d %s", answer.Status, answer.Body)
		}
		if got := a.Want(http.StatusOK, "GET", "/projects/xx-old", nil).Text("visibility"); got != "private" {
			t.Errorf("the renamed project is %s now", got)
		}
		a.At(other).Want(http.StatusOK, "PATCH", "/projects/xx", map[string]any{"visibility": "public"})
	})
}

// TestChangesOfOneselfAtOnce: requests that share a row and then change it do not wait for each other in a ring. Each
// such ring would cost a second.
func TestChangesOfOneselfAtOnce(t *testing.T) {
	t.Parallel()
	apitest.Each(t, func(t *testing.T, env *apitest.Env) {
		t.Parallel()
		r, other := env.Serve(t), env.Serve(t)
		ada := env.Person(t, "ada")
		session, _ := env.Session(t, ada.ID)
		for _, answer := range atOnce(40, func(i int) apitest.Answer {
			c := r.As(t, []string{ada.Secret, session}[i%2])
			if i%4 > 1 {
				c = c.At(other)
			}
			return c.Do("PATCH", "/me", map[string]any{"name": "Ada"})
		}) {
			if answer.Status != http.StatusOK {
				t.Errorf("%d %s", answer.Status, answer.Body)
			}
		}
	})
}

// TestWhatMeansNothingIsNotAll: an empty list is no grant of everything, and the year 1 is not never.
func TestWhatMeansNothingIsNotAll(t *testing.T) {
	t.Parallel()
	apitest.Each(t, func(t *testing.T, env *apitest.Env) {
		t.Parallel()
		r, ada := env.Serve(t), env.Person(t, "ada")
		env.Project(t, "demo", ada)
		a := r.As(t, ada.Secret)
		for _, list := range []string{"projects", "repositories", "tags"} {
			body := map[string]any{"name": "none", "grants": map[string]any{"actions": []string{"pull"}, list: []string{}}}
			a.Want(http.StatusUnprocessableEntity, "POST", "/tokens", body)
		}
		never := time.Time{}.Format(time.RFC3339)
		for path, body := range map[string]map[string]any{
			"/tokens":                {"name": "x"},
			"/projects/demo/robots":  {"name": "x", "actions": []string{"pull"}},
			"/projects/demo/runners": {"name": "x"},
		} {
			body["expires_at"] = never
			if answer := a.Want(http.StatusUnprocessableEntity, "POST", path, body); answer.Pointers()[0] != "/expires_at" {
				t.Errorf("%s: %s", path, answer.Body)
			}
		}
		created := a.Want(http.StatusCreated, "POST", "/tokens", map[string]any{"name": "short"})
		path := "/tokens/" + created.Text("token", "id")
		a.Want(http.StatusNoContent, "DELETE", path, nil)
		a.Want(http.StatusNotFound, "GET", path, nil)
	})
}
