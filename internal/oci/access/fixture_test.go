package access

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/berthregistry/berth/internal/auth"
	"github.com/berthregistry/berth/internal/database"
	"github.com/berthregistry/berth/internal/database/dbtest"
	"github.com/berthregistry/berth/internal/oci/ocierr"
	"github.com/berthregistry/berth/internal/projects"
	"github.com/berthregistry/berth/internal/rbac"
)

const (
	testRealm   = "https://registry.example.dev/auth/token"
	testService = "registry.example.dev"
	cacheTTL    = 4 * time.Second
)

// world is a registry's access control over a fresh database, with a clock that the test moves.
type world struct {
	*Access
	tb       testing.TB
	db       *database.DB
	auth     *auth.Service
	projects *projects.Service
	clock    *clock
	options  projects.Options
}

type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func eachWorld(t *testing.T, f func(t *testing.T, w *world)) {
	t.Helper()
	dbtest.Each(t, func(t *testing.T, db *database.DB) { f(t, newWorld(t, db)) })
}

func newWorld(tb testing.TB, db *database.DB) *world {
	tb.Helper()
	return newWorldWith(tb, db, rbac.Options{UnclaimedPush: true}, projects.Options{UnclaimedSlugs: "any", UnclaimedPush: true})
}

func newWorldWith(tb testing.TB, db *database.DB, policy rbac.Options, options projects.Options) *world {
	tb.Helper()
	w := &world{tb: tb, db: db, clock: &clock{now: time.Now()}, options: options}
	var err error
	w.auth, err = auth.NewService(db, auth.Options{Clock: w.clock.Now, Issuer: testService, Service: testService, CacheTTL: cacheTTL})
	w.must(err)
	options.Clock, options.CacheTTL, options.UnclaimedTTL = w.clock.Now, cacheTTL, 24*time.Hour
	w.projects = projects.NewService(db, options)
	enforcer, err := rbac.New(policy)
	w.must(err)
	w.Access = New(Config{
		Auth: w.auth, Projects: w.projects, Policy: enforcer, Realm: testRealm, Service: testService,
	})
	return w
}

// replica is another process on the same database, with caches of its own.
func (w *world) replica() *world {
	w.tb.Helper()
	return newWorldWith(w.tb, w.db, rbac.Options{UnclaimedPush: true}, w.options)
}

func (w *world) must(err error) {
	w.tb.Helper()
	if err != nil {
		w.tb.Fatal(err)
	}
}

var (
	insertProject = database.SQL(`
		INSERT INTO projects (id, account_id, slug, state, visibility, suspended_reason, created_by, created_at, updated_at)
		VALUES ($1, $2, $3, $4, $5, $6, 'test', {now}, {now})`)
	insertMember = database.SQL(`
		INSERT INTO members (project_id, user_id, role, created_by, created_at) VALUES ($1, $2, $3, 'test', {now})`)
	insertGrant = database.SQL(`
		INSERT INTO runner_grants (project_id, token_id, repository, all_repositories, created_by, created_at)
		VALUES ($1, $2, $3, $4, 'test', {now})`)
)

func (w *world) exec(stmt database.Stmt, args ...any) {
	w.tb.Helper()
	var b database.Batch
	b.Exec(stmt, args...)
	w.must(w.db.Run(w.tb.Context(), &b))
}

// user is somebody with a personal token.
type user struct {
	auth.User
	secret string
	token  auth.Token
}

func (w *world) user(name string, admin bool) user {
	w.tb.Helper()
	made, err := w.auth.CreateUser(w.tb.Context(), auth.NewUser{Email: name + "@example.dev", Name: name, Admin: admin})
	w.must(err)
	secret, token, err := w.auth.CreateToken(w.tb.Context(), auth.NewToken{Email: made.Email, Name: "test"})
	w.must(err)
	return user{User: made, secret: secret, token: token}
}

// project makes one in any state. An unclaimed one, also if suspended, has no account.
func (w *world) project(slug string, state rbac.State, visibility rbac.Visibility, claimed bool) uuid.UUID {
	w.tb.Helper()
	id := uuid.Must(uuid.NewV7())
	var account uuid.NullUUID
	if claimed {
		owner := w.user("account-of-"+slug, false)
		account = uuid.NullUUID{UUID: owner.AccountID, Valid: true}
	}
	reason := ""
	if state == rbac.StateSuspended {
		reason = "unpaid"
	}
	w.exec(insertProject, id, account, slug, string(state), string(visibility), reason)
	return id
}

func (w *world) member(project uuid.UUID, u user, role rbac.Role) {
	w.tb.Helper()
	w.exec(insertMember, project, u.ID, string(role))
}

func (w *world) robot(project uuid.UUID, role rbac.Role) string {
	w.tb.Helper()
	secret, _, err := w.auth.CreateRobot(w.tb.Context(), auth.NewRobot{ProjectID: project, Name: "ci", Role: role, CreatedBy: "test"})
	w.must(err)
	return secret
}

// basic is the identity of a registry token.
func (w *world) basic(secret string) Identity {
	w.tb.Helper()
	id, err := w.Authenticate(basicRequest(secret))
	w.must(err)
	return id
}

// bearer trades a registry token, or nothing, for a bearer token with exactly these scopes, whatever the policy says.
func (w *world) bearer(secret string, scopes ...string) Identity {
	w.tb.Helper()
	credential := anonymousIdentity().Credential
	if secret != "" {
		credential = w.basic(secret).Credential
	}
	parsed, err := ParseScopes(scopes...)
	w.must(err)
	raw, _, _, err := w.auth.IssueJWT(w.tb.Context(), credential, accessOf(parsed))
	w.must(err)
	id, err := w.Authenticate(bearerRequest(raw))
	w.must(err)
	return id
}

// anyone is an anonymous caller whose token takes in everything about some repositories.
func (w *world) anyone(names ...string) Identity {
	w.tb.Helper()
	scopes := make([]string, len(names))
	for i, name := range names {
		scopes[i] = "repository:" + name + ":*"
	}
	return w.bearer("", scopes...)
}

func basicRequest(secret string) *http.Request {
	r := httptest.NewRequest(http.MethodGet, "/v2/", http.NoBody)
	r.SetBasicAuth("any", secret)
	return r
}

func bearerRequest(raw string) *http.Request {
	r := httptest.NewRequest(http.MethodGet, "/v2/", http.NoBody)
	r.Header.Set("Authorization", "Bearer "+raw)
	return r
}

// answer is what a client sees of an error: status, code, challenge, and all bytes of headers and body.
type answer struct {
	status    int
	code      string
	challenge string
	all       string
}

func answerTo(err error) answer {
	rec := httptest.NewRecorder()
	ocierr.Write(rec, httptest.NewRequest(http.MethodGet, "/", http.NoBody), err)
	var all strings.Builder
	all.WriteString(rec.Result().Status + "\n")
	_ = rec.Header().Write(&all)
	all.WriteString(rec.Body.String())
	return answer{
		status:    rec.Code,
		code:      ocierr.From(err).Code,
		challenge: rec.Header().Get(headerChallenge),
		all:       all.String(),
	}
}

func repo(t testing.TB, name string) Repo {
	t.Helper()
	r, err := ParseRepo(name)
	if err != nil {
		t.Fatal(err)
	}
	return r
}
