package api_test

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/berthregistry/berth/internal/api/apitest"
	"github.com/berthregistry/berth/internal/config"
)

const aPassword = "correct horse battery"

func login(c *apitest.Caller, status int, email, password string) string {
	return c.Want(status, "POST", "/auth/login", map[string]any{"email": email, "password": password}).Text("secret")
}

// TestSessions: opened by password and by token, listed, ended one by one, by a new password, by time and with their
// token.
func TestSessions(t *testing.T) {
	t.Parallel()
	apitest.Each(t, func(t *testing.T, env *apitest.Env) {
		t.Parallel()
		r := env.Serve(t)
		nobody := r.As(t, "")
		login(nobody, http.StatusUnauthorized, apitest.AdminEmail, aPassword)
		login(nobody, http.StatusUnauthorized, "none@example.dev", aPassword)
		nobody.Want(http.StatusUnauthorized, "POST", "/auth/login", map[string]any{"token": apitest.AdminToken + "!"})
		one := r.As(t, login(nobody, http.StatusCreated, apitest.AdminEmail, apitest.AdminPassword))
		two := r.As(t, login(nobody, http.StatusCreated, apitest.AdminEmail, apitest.AdminPassword))
		three := r.As(t, nobody.Want(http.StatusCreated, "POST", "/auth/login", map[string]any{"token": apitest.AdminToken}).Text("secret"))
		current := ""
		for _, s := range one.Want(http.StatusOK, "GET", "/me/sessions", nil).Items(t) {
			if s["current"] == true {
				current += fmt.Sprint(s["id"])
			}
		}
		if len(current) != 36 {
			t.Errorf("current session %q", current)
		}
		two.Want(http.StatusNoContent, "DELETE", "/me/sessions/"+current, nil)
		one.Want(http.StatusUnauthorized, "GET", "/me", nil)
		change := map[string]any{"current_password": aPassword, "new_password": aPassword}
		if answer := two.Want(http.StatusUnprocessableEntity, "PUT", "/me/password", change); answer.Pointers()[0] != "/current_password" {
			t.Errorf("%s", answer.Body)
		}
		change["current_password"] = apitest.AdminPassword
		two.Want(http.StatusNoContent, "PUT", "/me/password", change)
		two.Want(http.StatusOK, "GET", "/me", nil)
		three.Want(http.StatusUnauthorized, "GET", "/me", nil)
		login(nobody, http.StatusUnauthorized, apitest.AdminEmail, apitest.AdminPassword)
		two.Want(http.StatusNoContent, "POST", "/auth/logout", nil)
		two.Want(http.StatusUnauthorized, "GET", "/me", nil)

		ada := env.Person(t, "ada")
		byToken := r.As(t, nobody.Want(http.StatusCreated, "POST", "/auth/login", map[string]any{"token": ada.Secret}).Text("secret"))
		token := byToken.Want(http.StatusOK, "GET", "/tokens", nil).Items(t)[0]["id"]
		byToken.Want(http.StatusNoContent, "DELETE", fmt.Sprint("/tokens/", token), nil)
		byToken.Want(http.StatusUnauthorized, "GET", "/me", nil)
		secret, _ := env.Session(t, ada.ID)
		r.As(t, secret).Want(http.StatusOK, "GET", "/me", nil)
		env.Advance(13 * time.Hour)
		r.As(t, secret).Want(http.StatusUnauthorized, "GET", "/me", nil)
		(&world{t: t, env: env}).expectUnseen(aPassword, apitest.AdminPassword, apitest.AdminToken, ada.Secret, one.Secret(), two.Secret(), three.Secret(), secret)
	})
}

// TestSignUpModes: closed, by invitation, open; never as an admin.
func TestSignUpModes(t *testing.T) {
	t.Parallel()
	apitest.Each(t, func(t *testing.T, env *apitest.Env) {
		t.Parallel()
		mode := func(m string) func(*config.Config) { return func(c *config.Config) { c.Accounts.SignUp = m } }
		closed, invited, open := env.Serve(t), env.Serve(t, mode("invite")), env.Serve(t, mode("open"))
		signUp := func(r *apitest.Replica, status int, email, invite string) apitest.Answer {
			t.Helper()
			body := map[string]any{"email": email, "password": aPassword}
			if invite != "" {
				body["invite"] = invite
			}
			return r.As(t, "").Want(status, "POST", "/auth/sign-up", body)
		}
		invite := func(body map[string]any) (string, string) {
			answer := closed.Admin(t).Want(http.StatusCreated, "POST", "/admin/invites", body)
			return answer.Text("secret"), answer.Text("invite", "id")
		}
		forAda, _ := invite(map[string]any{"email": "Ada@Example.dev"})
		revoked, id := invite(map[string]any{})
		closed.Admin(t).Want(http.StatusNoContent, "DELETE", "/admin/invites/"+id, nil)
		expired, _ := invite(map[string]any{"expires_at": env.Now().Add(time.Minute)})
		env.Advance(2 * time.Minute)

		signUp(closed, http.StatusForbidden, "ada@example.dev", forAda)
		refused := signUp(invited, http.StatusUnprocessableEntity, "bob@example.dev", forAda)
		for _, secret := range []string{"", "x", revoked, expired} {
			if other := signUp(invited, http.StatusUnprocessableEntity, "bob@example.dev", secret); other.Stable() != refused.Stable() {
				t.Errorf("an invitation is told from another:\n%s\n%s", other.Stable(), refused.Stable())
			}
		}
		signUp(invited, http.StatusCreated, "ada@example.dev", forAda)
		signUp(invited, http.StatusUnprocessableEntity, "ada@example.dev", forAda)
		user := signUp(open, http.StatusCreated, "bob@example.dev", "")
		signUp(open, http.StatusConflict, "BOB@example.dev", "")
		open.As(t, "").Want(http.StatusUnprocessableEntity, "POST", "/auth/sign-up",
			map[string]any{"email": "eve@example.dev", "password": aPassword, "admin": true})
		if user.Text("email") != "bob@example.dev" {
			t.Errorf("%s", user.Body)
		}
		bob := open.As(t, login(open.As(t, ""), http.StatusCreated, "bob@example.dev", aPassword))
		bob.Want(http.StatusForbidden, "GET", "/admin/users", nil)
		(&world{t: t, env: env}).expectUnseen(aPassword, forAda, revoked, expired)
	})
}

// TestLocking: who is locked can do nothing with any credential, and log in again once unlocked.
func TestLocking(t *testing.T) {
	t.Parallel()
	apitest.Each(t, func(t *testing.T, env *apitest.Env) {
		t.Parallel()
		r, ada := env.Serve(t), env.Person(t, "ada")
		env.Project(t, "demo", ada)
		path := "/admin/users/" + ada.ID.String()
		secret, _ := env.Session(t, ada.ID)
		bearer := r.Bearer(t, ada.Secret, "repository:demo/app:pull,push")
		r.As(t, secret).Want(http.StatusOK, "GET", "/me", nil)
		r.As(t, bearer).Want(http.StatusAccepted, "POST", "/v2/demo/app/blobs/uploads/", nil)
		r.Admin(t).Want(http.StatusOK, "PATCH", path, map[string]any{"locked": true, "password": aPassword})
		r.As(t, secret).Want(http.StatusUnauthorized, "GET", "/me", nil)
		r.As(t, ada.Secret).Want(http.StatusUnauthorized, "GET", "/me", nil)
		r.As(t, bearer).Want(http.StatusUnauthorized, "POST", "/v2/demo/app/blobs/uploads/", nil)
		login(r.As(t, ""), http.StatusUnauthorized, ada.Email, aPassword)
		r.Admin(t).Want(http.StatusOK, "PATCH", path, map[string]any{"locked": false})
		r.As(t, secret).Want(http.StatusUnauthorized, "GET", "/me", nil) // what has ended stays so
		r.As(t, ada.Secret).Want(http.StatusOK, "GET", "/me", nil)
		login(r.As(t, ""), http.StatusCreated, ada.Email, aPassword)
	})
}

// TestTheLastAdminStays: also when two admins demote each other at once.
func TestTheLastAdminStays(t *testing.T) {
	t.Parallel()
	apitest.Each(t, func(t *testing.T, env *apitest.Env) {
		t.Parallel()
		r, ada := env.Serve(t), env.Person(t, "ada")
		me := r.Admin(t).Want(http.StatusOK, "GET", "/me", nil).Text("id")
		for _, change := range []map[string]any{{"admin": false}, {"locked": true}} {
			if answer := r.Admin(t).Want(http.StatusConflict, "PATCH", "/admin/users/"+me, change); answer.Kind() != "last-admin" {
				t.Errorf("%v: %s", change, answer.Body)
			}
		}
		r.Admin(t).Want(http.StatusOK, "PATCH", "/admin/users/"+ada.ID.String(), map[string]any{"admin": true})
		r.As(t, ada.Secret).Want(http.StatusOK, "GET", "/admin/users", nil)
		answers := atOnce(2, func(i int) apitest.Answer {
			if i == 0 {
				return r.Admin(t).Do("PATCH", "/admin/users/"+ada.ID.String(), map[string]any{"admin": false})
			}
			return r.As(t, ada.Secret).Do("PATCH", "/admin/users/"+me, map[string]any{"admin": false})
		})
		won := 0
		for _, answer := range answers {
			switch answer.Status {
			case http.StatusOK:
				won++
			case http.StatusConflict, http.StatusForbidden:
			default:
				t.Errorf("%d %s", answer.Status, answer.Body)
			}
		}
		if won != 1 {
			t.Errorf("%d were demoted", won)
		}
	})
}
