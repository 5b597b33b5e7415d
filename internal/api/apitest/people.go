package apitest

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/berthregistry/berth/internal/auth"
	"github.com/berthregistry/berth/internal/projects"
	"github.com/berthregistry/berth/internal/rbac"
)

// Person is a user with a personal token that may do all that the user may.
type Person struct {
	auth.User
	Secret string
}

// Person makes a user without a password.
func (e *Env) Person(tb testing.TB, name string) Person {
	tb.Helper()
	user, err := e.Auth.CreateUser(tb.Context(), auth.NewUser{Email: name + "@example.dev", Name: name})
	Check(tb, err)
	return Person{User: user, Secret: e.Token(tb, user.ID, nil)}
}

// Token makes a personal token.
func (e *Env) Token(tb testing.TB, user uuid.UUID, grants *auth.Grants) string {
	tb.Helper()
	secret, _, err := e.Auth.CreateToken(tb.Context(), auth.NewToken{UserID: user, Name: "test", Grants: grants})
	Check(tb, err)
	return secret
}

// Session opens a session.
func (e *Env) Session(tb testing.TB, user uuid.UUID) (string, auth.Session) {
	tb.Helper()
	secret, session, err := e.Auth.OpenSession(tb.Context(), auth.NewSession{UserID: user, UserAgent: "test", RemoteIP: "192.0.2.1"})
	Check(tb, err)
	return secret, session
}

// Project makes a private project of a person.
func (e *Env) Project(tb testing.TB, slug string, owner Person) projects.Project {
	tb.Helper()
	p, err := e.Projects.Create(tb.Context(), projects.NewProject{Slug: slug, By: creator(owner)})
	Check(tb, err)
	return p
}

// Unclaimed makes a project as an anonymous push does.
func (e *Env) Unclaimed(tb testing.TB, slug string) projects.Project {
	tb.Helper()
	p, err := e.Projects.Ensure(tb.Context(), slug, projects.Creator{Principal: "anonymous"})
	Check(tb, err)
	return p
}

func creator(p Person) projects.Creator {
	return projects.Creator{Principal: "user:" + p.ID.String(), UserID: p.ID, AccountID: p.AccountID}
}

// Member gives a person a role.
func (e *Env) Member(tb testing.TB, project uuid.UUID, p Person, role rbac.Role) {
	tb.Helper()
	now := e.Now().UnixMicro()
	e.Exec(tb, `INSERT INTO members (project_id, user_id, role, created_by, created_at, updated_at) VALUES (?, ?, ?, 'test', ?, ?)`,
		project, p.ID, string(role), now, now)
}

// Robot makes a CI token.
func (e *Env) Robot(tb testing.TB, project uuid.UUID) (string, auth.Token) {
	tb.Helper()
	secret, token, err := e.Auth.CreateRobot(tb.Context(), auth.NewRobot{
		ProjectID: project, Name: "ci", Role: rbac.RoleDeveloper, CreatedBy: "test",
	})
	Check(tb, err)
	return secret, token
}

// Runner makes a machine's key, of the server if project is Nil.
func (e *Env) Runner(tb testing.TB, project uuid.UUID) (string, auth.Token) {
	tb.Helper()
	secret, token, err := e.Auth.CreateRunner(tb.Context(), auth.NewRunner{ProjectID: project, Name: "rack", CreatedBy: "test"})
	Check(tb, err)
	return secret, token
}

// Repository writes a repository with as many tags, each of a manifest of its own.
func (e *Env) Repository(tb testing.TB, project uuid.UUID, path string, tags int) {
	tb.Helper()
	id, now := uuid.Must(uuid.NewV7()), time.Now().UnixMicro()
	e.Exec(tb, `INSERT INTO repositories (id, project_id, path, created_at) VALUES (?, ?, ?, ?)`, id, project, path, now)
	for i := range tags {
		digest := "sha256:" + hex64(i)
		e.Exec(tb, `INSERT INTO manifests (repository_id, digest, media_type, size, content, pushed_by, created_at)
			VALUES (?, ?, 'application/vnd.oci.image.index.v1+json', 2, ?, 'test', ?)`, id, digest, []byte("{}"), now)
		e.Exec(tb, `INSERT INTO tags (repository_id, name, digest, pushed_by, created_at, updated_at) VALUES (?, ?, ?, 'test', ?, ?)`,
			id, "v"+strconv.Itoa(i), digest, now, now)
	}
}

// Trash writes what can be restored: the tag gone and the manifest sha256:aa… of the repository app/web, which must be there,
// and the repository gone. It also makes a rule of each kind, which are about none of these.
func (e *Env) Trash(tb testing.TB, project uuid.UUID) (tagRule, retentionRule uuid.UUID) {
	tb.Helper()
	now := e.Now().UnixMicro()
	until, digest := now+time.Hour.Microseconds(), "sha256:"+strings.Repeat("a", 64)
	e.Exec(tb, `INSERT INTO repositories (id, project_id, path, created_at, deleted_at, purge_after) VALUES (?, ?, 'gone', ?, ?, ?)`,
		uuid.Must(uuid.NewV7()), project, now, now, until)
	e.Exec(tb, `INSERT INTO manifests (repository_id, digest, media_type, size, content, pushed_by, created_at, deleted_at, purge_after)
		SELECT id, ?, 'application/vnd.oci.image.index.v1+json', 2, ?, 'test', created_at, created_at, ? FROM repositories
		WHERE project_id = ? AND path = 'app/web'`, digest, []byte("{}"), until, project)
	e.Exec(tb, `INSERT INTO tags (repository_id, name, digest, pushed_by, created_at, updated_at, deleted_at, purge_after)
		SELECT t.repository_id, 'gone', t.digest, 'test', 1, 1, 1, ? FROM tags t JOIN repositories r ON r.id = t.repository_id
		WHERE r.project_id = ? AND r.path = 'app/web' AND t.name = 'v0'`, until, project)
	e.Exec(tb, `INSERT INTO tag_history (repository_id, tag, digest, actor, at)
		SELECT id, 'v0', ?, 'test', 1 FROM repositories WHERE project_id = ? AND path = 'app/web'`, digest, project)
	tagRule, retentionRule = uuid.Must(uuid.NewV7()), uuid.Must(uuid.NewV7())
	e.Exec(tb, `INSERT INTO tag_rules (id, project_id, kind, repository_pattern, repository_expression, tag_pattern, tag_expression,
		created_by, created_at) VALUES (?, ?, 'immutable', 'none', '^none$', 'v*', '^v', 'test', 1)`, tagRule, project)
	e.Exec(tb, `INSERT INTO retention_rules (id, project_id, repository_pattern, tag_pattern, keep_last, keep_tags, enabled,
		created_by, created_at, updated_at) VALUES (?, ?, 'none', '**', 1, '', true, 'test', 1, 1)`, retentionRule, project)
	return tagRule, retentionRule
}

// Webhook writes a webhook that only a ping or a redelivery sends something to, with a delivery of an event. The server refuses
// to connect to where it points, and has no name to resolve for that.
func (e *Env) Webhook(tb testing.TB, project uuid.UUID) (webhook, delivery uuid.UUID) {
	tb.Helper()
	webhook, delivery = uuid.Must(uuid.NewV7()), uuid.Must(uuid.NewV7())
	now := e.Now().UnixMicro()
	e.Exec(tb, `INSERT INTO webhooks (id, project_id, url, events, secret, created_by, created_at, updated_at)
		VALUES (?, ?, 'https://127.0.0.1:1/', ' quota.exceeded ', ?, 'test', ?, ?)`, webhook, project, strings.Repeat("A", 32), now, now)
	e.Exec(tb, `INSERT INTO events_outbox (id, webhook_id, kind, object, data, state, attempts, next_attempt_at, created_at, finished_at)
		VALUES (?, ?, 'quota.exceeded', 'quota', '{}', 'delivered', 1, ?, ?, ?)`, delivery, webhook, now, now, now)
	return webhook, delivery
}

func hex64(i int) string {
	text := strconv.Itoa(i)
	for len(text) < 64 {
		text = "0" + text
	}
	return text
}

// Bearer fetches a bearer token of the registry with a registry token; "" asks as nobody.
func (r *Replica) Bearer(tb testing.TB, secret string, scopes ...string) string {
	tb.Helper()
	query := url.Values{"service": {tokenService}, "scope": scopes}
	request, err := http.NewRequestWithContext(tb.Context(), http.MethodGet, r.URL+"/auth/token?"+query.Encode(), nil)
	Check(tb, err)
	if secret != "" {
		request.SetBasicAuth("any", secret)
	}
	response, err := r.http.Do(request)
	Check(tb, err)
	defer func() { _ = response.Body.Close() }()
	var answer struct{ Token string }
	Check(tb, json.NewDecoder(response.Body).Decode(&answer))
	if answer.Token == "" {
		tb.Fatalf("no bearer token: %d", response.StatusCode)
	}
	return answer.Token
}
