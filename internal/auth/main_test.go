package auth

import (
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/berthregistry/berth/internal/database"
	"github.com/berthregistry/berth/internal/database/dbtest"
	"github.com/berthregistry/berth/internal/testenv"
)

func TestMain(m *testing.M) { testenv.Main(m) }

const (
	testIssuer  = "https://registry.example.dev"
	testService = "registry.example.dev"
	goodPass    = "correct horse battery staple"
)

// cheapArgon keeps the tests fast.
var cheapArgon = argonParams{memory: 64, time: 1, threads: 1}

// clock is a time that only the test moves.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *clock { return &clock{now: time.Date(2030, 1, 2, 3, 4, 5, 678_000_000, time.UTC)} }

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

// fixture is a replica on a database, with a time of its own.
type fixture struct {
	*Service

	t     testing.TB
	db    *database.DB
	clock *clock
}

func newFixture(t testing.TB, db *database.DB) *fixture {
	t.Helper()
	return newReplica(t, db, newClock())
}

func newReplica(t testing.TB, db *database.DB, c *clock) *fixture {
	t.Helper()
	return newReplicaWith(t, db, c, Options{})
}

func newReplicaWith(t testing.TB, db *database.DB, c *clock, opts Options) *fixture {
	t.Helper()
	opts.Clock, opts.Issuer, opts.Service = c.Now, testIssuer, testService
	s, err := NewService(db, opts)
	if err != nil {
		t.Fatal(err)
	}
	s.passwords.params = cheapArgon
	return &fixture{Service: s, t: t, db: db, clock: c}
}

// replica is another process on the same database at the same time.
func (f *fixture) replica() *fixture {
	f.t.Helper()
	return newReplica(f.t, f.db, f.clock)
}

func each(t *testing.T, run func(t *testing.T, f *fixture)) {
	t.Helper()
	dbtest.Each(t, func(t *testing.T, db *database.DB) { run(t, newFixture(t, db)) })
}

// eachCounting is each for tests that count round trips.
func eachCounting(t *testing.T, run func(t *testing.T, f *fixture)) {
	t.Helper()
	dbtest.EachByOneConnection(t, func(t *testing.T, db *database.DB) { run(t, newFixture(t, db)) })
}

func (f *fixture) must(err error) {
	f.t.Helper()
	if err != nil {
		f.t.Fatal(err)
	}
}

func (f *fixture) exec(stmt database.Stmt, args ...any) {
	f.t.Helper()
	var b database.Batch
	b.Exec(stmt, args...)
	f.must(f.db.Run(f.t.Context(), &b))
}

// count is the number that a statement reads.
func (f *fixture) count(stmt database.Stmt, args ...any) int {
	f.t.Helper()
	var n int
	f.must(f.db.QueryRow(f.t.Context(), stmt, args...).Scan(&n))
	return n
}

// trips is the number of exchanges with the database that do makes.
func (f *fixture) trips(do func()) int64 {
	before := f.db.Trips()
	do()
	return f.db.Trips() - before
}

func (f *fixture) user(email string) User {
	f.t.Helper()
	u, err := f.CreateUser(f.t.Context(), NewUser{Email: email, Password: goodPass, Name: "Ada"})
	f.must(err)
	return u
}

// token is a personal token of a new user.
func (f *fixture) token(email string) (secret string, t Token) {
	f.t.Helper()
	f.user(email)
	secret, t, err := f.CreateToken(f.t.Context(), NewToken{Email: email, Name: "laptop"})
	f.must(err)
	return secret, t
}

var insertProject = database.SQL(`
	INSERT INTO projects (id, slug, state, created_by, created_at, updated_at) VALUES ($1, $2, 'active', 'test', 1, 1)`)

func (f *fixture) project() uuid.UUID {
	f.t.Helper()
	id := newID()
	f.exec(insertProject, id, "p"+id.String())
	return id
}
