package projects

import (
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/berthregistry/berth/internal/database"
	"github.com/berthregistry/berth/internal/database/dbtest"
	"github.com/berthregistry/berth/internal/rbac"
	"github.com/berthregistry/berth/internal/testenv"
)

func TestMain(m *testing.M) { testenv.Main(m) }

// clock is a time that only the test moves.
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

// fixture is a replica on a database, with a time of its own.
type fixture struct {
	*Service

	t     testing.TB
	db    *database.DB
	clock *clock
}

func newFixture(t testing.TB, db *database.DB, opts Options) *fixture {
	t.Helper()
	c := &clock{now: time.Date(2030, 1, 2, 3, 4, 5, 678_000_000, time.UTC)}
	opts.Clock = c.Now
	return &fixture{Service: NewService(db, opts), t: t, db: db, clock: c}
}

// replica is another process on the same database at the same time.
func (f *fixture) replica() *fixture {
	return &fixture{Service: NewService(f.db, f.opts), t: f.t, db: f.db, clock: f.clock}
}

func each(t *testing.T, run func(t *testing.T, f *fixture)) {
	t.Helper()
	eachWith(t, Options{UnclaimedPush: true}, run)
}

func eachWith(t *testing.T, opts Options, run func(t *testing.T, f *fixture)) {
	t.Helper()
	dbtest.Each(t, func(t *testing.T, db *database.DB) { run(t, newFixture(t, db, opts)) })
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

var (
	insertAccount = database.SQL(`INSERT INTO accounts (id, kind, name, created_at) VALUES ($1, 'personal', '', 1)`)
	insertUser    = database.SQL(`
		INSERT INTO users (id, account_id, email, created_at, updated_at) VALUES ($1, $2, $3, 1, 1)`)
	insertMember = database.SQL(`
		INSERT INTO members (project_id, user_id, role, created_by, created_at) VALUES ($1, $2, $3, 'test', 1)`)
	deleteMember   = database.SQL(`DELETE FROM members WHERE project_id = $1 AND user_id = $2`)
	countProjects  = database.SQL(`SELECT count(*) FROM projects`)
	countMembers   = database.SQL(`SELECT count(*) FROM members`)
	countOwner     = database.SQL(`SELECT count(*) FROM members WHERE project_id = $1 AND user_id = $2 AND role = 'owner' AND created_by = $3`)
	countReserved  = database.SQL(`SELECT count(*) FROM slug_history`)
	createdBy      = database.SQL(`SELECT count(*) FROM projects WHERE id = $1 AND created_by = $2 AND created_at = $3`)
	claimProject   = database.SQL(`UPDATE projects SET state = 'active', account_id = $2, epoch = epoch + 1, expires_at = NULL WHERE id = $1`)
	suspendProject = database.SQL(`UPDATE projects SET state = 'suspended', epoch = epoch + 1, suspended_reason = $2 WHERE id = $1`)
	deleteProject  = database.SQL(`UPDATE projects SET state = 'deleted', slug = NULL, epoch = epoch + 1 WHERE id = $1`)
	reserveSlug    = database.SQL(`
		INSERT INTO slug_history (slug, project_id, account_id, reserved_until, created_at) VALUES ($1, $2, $3, $4, 1)`)
)

var anonymous = Creator{Principal: "anonymous"}

// user is a new user with an account.
func (f *fixture) user() Creator {
	f.t.Helper()
	c := Creator{UserID: uuid.Must(uuid.NewV7()), AccountID: uuid.Must(uuid.NewV7())}
	c.Principal = "user:" + c.UserID.String()
	f.exec(insertAccount, c.AccountID)
	f.exec(insertUser, c.UserID, c.AccountID, c.UserID.String()+"@example.dev")
	return c
}

func (f *fixture) ensure(slug string, by Creator) Project {
	f.t.Helper()
	p, err := f.Ensure(f.t.Context(), slug, by)
	f.must(err)
	return p
}

func (f *fixture) resolve(segment string) Project {
	f.t.Helper()
	p, err := f.Resolve(f.t.Context(), segment)
	f.must(err)
	return p
}

func (f *fixture) role(project uuid.UUID, by Creator) rbac.Role {
	f.t.Helper()
	r, err := f.Role(f.t.Context(), project, by.UserID)
	f.must(err)
	return r
}
