package oci_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/berthregistry/berth/internal/auth"
	"github.com/berthregistry/berth/internal/oci/ocitest"
	"github.com/berthregistry/berth/internal/projects"
	"github.com/berthregistry/berth/internal/rbac"
)

// tenants is a registry with the projects of two users: "mine", of Mia, and "ours", of Otto, both private.
type tenants struct {
	tb    testing.TB
	env   *ocitest.Env
	r     *ocitest.Replica
	admin *ocitest.Client
	mia   person
	otto  person
}

// person is a user with a registry token.
type person struct {
	*ocitest.Client
	user  auth.User
	token auth.Token
}

// unremembered is how long a replica of a test of changes remembers tokens, projects and roles: not at all.
const unremembered = time.Nanosecond

func eachTenants(t *testing.T, f func(t *testing.T, w *tenants)) {
	t.Helper()
	ocitest.Each(t, func(t *testing.T, env *ocitest.Env) {
		r := env.Replica(t, ocitest.Options{CacheTTL: unremembered})
		w := &tenants{tb: t, env: env, r: r, admin: r.Client}
		w.mia, w.otto = w.person("mia"), w.person("otto")
		w.mia.Push("mine/app", []byte("Mia's layer"))
		w.otto.Push("ours/app", []byte("Otto's layer"))
		f(t, w)
	})
}

func (w *tenants) must(err error) {
	w.tb.Helper()
	if err != nil {
		w.tb.Fatal(err)
	}
}

func (w *tenants) person(name string) person {
	w.tb.Helper()
	user, err := w.r.Auth.CreateUser(w.tb.Context(), auth.NewUser{Email: name + "@example.dev", Name: name})
	w.must(err)
	secret, token, err := w.r.Auth.CreateToken(w.tb.Context(), auth.NewToken{Email: user.Email, Name: "test"})
	w.must(err)
	return person{w.admin.As(secret), user, token}
}

// member is a new person with a role in a project.
func (w *tenants) member(slug string, role rbac.Role) person {
	w.tb.Helper()
	p := w.person(string(role) + "-of-" + slug)
	change(w.tb, w.env, `INSERT INTO members (project_id, user_id, role, created_by, created_at) VALUES (?, ?, ?, 'test', 0)`,
		w.id(slug), p.user.ID, string(role))
	return p
}

func (w *tenants) robot(slug string, role rbac.Role) *ocitest.Client {
	w.tb.Helper()
	secret, _, err := w.r.Auth.CreateRobot(w.tb.Context(), auth.NewRobot{ProjectID: w.id(slug), Name: "ci", Role: role, CreatedBy: "test"})
	w.must(err)
	return w.admin.As(secret)
}

func (w *tenants) runner(slug string, granted bool) *ocitest.Client {
	w.tb.Helper()
	secret, token, err := w.r.Auth.CreateRunner(w.tb.Context(), auth.NewRunner{ProjectID: w.id(slug), Name: "runner", CreatedBy: "test"})
	w.must(err)
	if granted {
		change(w.tb, w.env, `INSERT INTO runner_grants (project_id, token_id, created_by, created_at) VALUES (?, ?, 'test', 0)`, w.id(slug), token.ID)
	}
	return w.admin.As(secret)
}

// anyone is an anonymous client whose bearer token takes in all that nobody may do with some repositories.
func (w *tenants) anyone(repos ...string) *ocitest.Client {
	w.tb.Helper()
	scopes := make([]string, len(repos))
	for i, repo := range repos {
		scopes[i] = "repository:" + repo + ":*"
	}
	return w.admin.Bearer(w.admin.Nobody().Token(scopes...))
}

// forced is a client whose bearer token claims everything about some repositories, whatever the policy says.
func (w *tenants) forced(credential auth.Credential, repos ...string) *ocitest.Client {
	w.tb.Helper()
	var access []auth.Access
	for _, repo := range repos {
		access = append(access, auth.Access{Type: "repository", Name: repo, Actions: []string{"pull", "push", "delete"}})
	}
	raw, _, _, err := w.r.Auth.IssueJWT(w.tb.Context(), credential, access)
	w.must(err)
	return w.admin.Bearer(raw)
}

func (w *tenants) id(slug string) uuid.UUID {
	w.tb.Helper()
	var text string
	w.must(w.env.DB.Gorm().Raw(`SELECT id FROM projects WHERE slug = ?`, slug).Scan(&text).Error)
	id, err := uuid.Parse(text)
	w.must(err)
	return id
}

// claim is what a claim does to the rows of a project.
func (w *tenants) claim(slug string, by person, discard ...bool) {
	w.tb.Helper()
	_, err := w.r.Projects.Claim(w.tb.Context(), nil, projects.ClaimRequest{
		ProjectID: w.id(slug), DiscardContent: len(discard) > 0,
		Owner: projects.Creator{Principal: "user:" + by.user.ID.String(), UserID: by.user.ID, AccountID: by.user.AccountID},
	})
	w.must(err)
}

// attempt is one request about a repository.
type attempt struct {
	name, method, path string
	body               []byte
	headers            []string
}

func (a attempt) by(c *ocitest.Client) ocitest.Answer {
	return c.Do(a.method, a.path, a.body, a.headers...)
}

// whole is all that a client sees of an answer, but for the time and what the caller asks to be replaced.
func whole(a ocitest.Answer, replaced ...string) string {
	var text strings.Builder
	text.WriteString(http.StatusText(a.Status) + "\n")
	header := a.Header.Clone()
	header.Del("Date")
	_ = header.Write(&text) // to memory
	text.Write(a.Body)
	return strings.NewReplacer(replaced...).Replace(text.String())
}
