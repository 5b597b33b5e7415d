package quota

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/berthregistry/berth/internal/database"
	"github.com/berthregistry/berth/internal/recent"
)

// ErrFull says that a commit would take a project or its account over its quota. [Quota.Explain] makes it an
// [*ExceededError].
var ErrFull = errors.New("over quota")

// ExceededError is an ErrFull with its numbers, in bytes.
type ExceededError struct {
	// Account says that the quota is that of the project's account, over all of its projects.
	Account bool
	// Held is what is stored, Pending what uploads that have not ended hold already.
	Held, Pending int64
	// Allowed is the quota.
	Allowed int64
}

// Error implements error, in words for clients.
func (e *ExceededError) Error() string {
	whose := "project"
	if e.Account {
		whose = "account"
	}
	return fmt.Sprintf("the %s is over its quota: it holds %d bytes, uploads under way hold %d more, and %d are allowed",
		whose, e.Held, e.Pending, e.Allowed)
}

// Unwrap returns ErrFull.
func (e *ExceededError) Unwrap() error { return ErrFull }

const (
	// lookLife is how old the answer may be that lets an upload begin. Its commits look for themselves.
	lookLife = 2 * time.Second
	lookSize = 20_000
)

// Config is what a Quota needs. Quotas of 0 are none.
type Config struct {
	DB    *database.DB
	Clock func() time.Time
	// Project is the bytes of a project that has no quota of its own, Unclaimed those of one that nobody has claimed.
	Project, Unclaimed int64
	// Account is the bytes of all projects of an account together.
	Account int64
}

// Quota says how much projects may hold. It is safe for concurrent use. A nil Quota allows everything.
type Quota struct {
	Config
	looks *recent.Cache[uuid.UUID, room]
}

// New makes a Quota.
func New(cfg Config) *Quota {
	looks, err := recent.New[uuid.UUID, room](lookSize, lookLife, cfg.Clock)
	if err != nil {
		panic(err) // the size and the life are positive
	}
	return &Quota{Config: cfg, looks: looks}
}

// Applies tells whether a project has any quota. own is its own, and account that of its account, or nil.
func (q *Quota) Applies(own, account *int64, unclaimed bool) bool {
	switch {
	case q == nil:
		return false
	case own != nil && *own > 0, account != nil && *account > 0, account == nil && q.Account > 0 && !unclaimed:
		return true
	case own != nil:
		return false
	case unclaimed:
		return q.Unclaimed > 0
	}
	return q.Project > 0
}

// What a project p holds: its total with what is not in it yet, and the bytes of its open upload sessions. One statement
// reads them, so a delta is either in the total or beside it.
const (
	held = `(coalesce((SELECT t.bytes FROM usage_totals t WHERE t.project_id = p.id), 0)
		+ coalesce((SELECT CAST(sum(d.bytes) AS bigint) FROM usage_deltas d WHERE d.project_id = p.id), 0))`
	pending = `coalesce((SELECT CAST(sum(u.committed_offset) AS bigint) FROM upload_sessions u
		WHERE u.project_id = p.id AND u.status = 'open'), 0)`
	allowed   = `coalesce(p.quota_bytes, CASE WHEN p.state = 'unclaimed' THEN {bigint:$3} ELSE {bigint:$2} END)`
	ofAccount = `FROM projects p WHERE p.state <> 'deleted' AND p.account_id = (SELECT o.account_id FROM projects o WHERE o.id = $1)`
	// accountAllowed is 0 for a project that has no account.
	accountAllowed = `coalesce((SELECT coalesce(a.quota_bytes, {bigint:$2}) FROM projects o JOIN accounts a ON a.id = o.account_id WHERE o.id = $1), 0)`

	projectFits = `SELECT 1 FROM projects p WHERE p.id = $1 AND (` + allowed + ` = 0 OR ` + held + ` + ` + pending + ` <= ` + allowed + `)`
	accountFits = `SELECT 1 WHERE CASE WHEN ` + accountAllowed + ` = 0 THEN TRUE ELSE
		(SELECT coalesce(CAST(sum(` + held + ` + ` + pending + `) AS bigint), 0) ` + ofAccount + `) <= ` + accountAllowed + ` END`

	noDelta = `NOT EXISTS (SELECT 1 FROM usage_deltas g WHERE g.id = `
)

var (
	requireProject      = database.SQL(projectFits)
	requireAccount      = database.SQL(accountFits)
	requireProjectDelta = database.SQL(`SELECT 1 WHERE ` + noDelta + `$4) OR EXISTS (` + projectFits + `)`)
	requireAccountDelta = database.SQL(`SELECT 1 WHERE ` + noDelta + `$3) OR EXISTS (` + accountFits + `)`)

	roomOf = database.SQL(`
		SELECT room.*, CASE WHEN room.account = 0 THEN 0 ELSE (SELECT coalesce(CAST(sum(` + held + `) AS bigint), 0) ` + ofAccount + `) END,
			CASE WHEN room.account = 0 THEN 0 ELSE (SELECT coalesce(CAST(sum(` + pending + `) AS bigint), 0) ` + ofAccount + `) END
		FROM (SELECT ` + allowed + ` AS allowed, ` + held + ` AS held, ` + pending + ` AS pending,
			` + strings.ReplaceAll(accountAllowed, "$2", "$4") + ` AS account FROM projects p WHERE p.id = $1) AS room`)
)

// Require adds to b that the project, with what b has added to its open sessions, is within its quota. Batches that do
// not see each other may each find room: so a project grows beyond by no more than what each of those adds, a chunk.
// The batch fails with ErrFull.
func (q *Quota) Require(b *database.Batch, project uuid.UUID) {
	if q == nil {
		return
	}
	b.Require(ErrFull, requireProject, project, q.Project, q.Unclaimed)
	b.Require(ErrFull, requireAccount, project, q.Account)
}

// RequireDelta is Require for a batch that has added to the ledger. What adds nothing is allowed in a full project.
func (q *Quota) RequireDelta(b *database.Batch, project, delta uuid.UUID) {
	if q == nil {
		return
	}
	b.Require(ErrFull, requireProjectDelta, project, q.Project, q.Unclaimed, delta)
	b.Require(ErrFull, requireAccountDelta, project, q.Account, delta)
}

// room is what a project and its account may hold and do.
type room struct{ project, account ExceededError }

// exceeded is the error for a body of more bytes, or of at least one where that is negative, that replaces some of what
// its session holds already; nil if it fits.
func (r room) exceeded(replaced, more int64) error {
	for _, e := range []*ExceededError{&r.project, &r.account} {
		if e.Allowed == 0 {
			continue
		}
		left := e.Allowed - e.Held - e.Pending + replaced
		if left < more || more < 0 && left <= 0 {
			return e
		}
	}
	return nil
}

// Look refuses an upload before its bytes are taken: one of more bytes, of which a negative number is unknown, in place
// of some that the session has. What refuses is never out of date; what allows may be, by two seconds. Errors: an
// *ExceededError, the context's and the database's.
func (q *Quota) Look(ctx context.Context, project uuid.UUID, replaced, more int64) error {
	if q == nil || more == 0 {
		return nil
	}
	ask := func(ctx context.Context) (room, error) { return q.room(ctx, project) }
	r, err := q.looks.Get(ctx, project, ask)
	if err == nil && r.exceeded(replaced, more) != nil {
		q.looks.Forget(project)
		r, err = q.looks.Get(ctx, project, ask)
	}
	if err != nil {
		return fmt.Errorf("look at quota: %w", err)
	}
	return r.exceeded(replaced, more)
}

func (q *Quota) room(ctx context.Context, project uuid.UUID) (room, error) {
	r := room{account: ExceededError{Account: true}}
	err := q.DB.QueryRow(ctx, roomOf, project, q.Project, q.Unclaimed, q.Account).Scan(
		&r.project.Allowed, &r.project.Held, &r.project.Pending, &r.account.Allowed, &r.account.Held, &r.account.Pending)
	return r, err //nolint:wrapcheck // by the callers
}

// Room is what a project and its account hold and may hold, now. An account without a quota tells none of its numbers.
// Errors: the context's and the database's.
func (q *Quota) Room(ctx context.Context, id uuid.UUID) (project, account ExceededError, err error) {
	if q == nil {
		return project, account, nil
	}
	r, err := q.room(ctx, id)
	if err != nil {
		return project, account, fmt.Errorf("look at quota: %w", err)
	}
	return r.project, r.account, nil
}

// Explain gives an ErrFull in err its numbers, and returns other errors as they are.
func (q *Quota) Explain(ctx context.Context, project uuid.UUID, err error) error {
	var explained *ExceededError
	if q == nil || !errors.Is(err, ErrFull) || errors.As(err, &explained) {
		return err
	}
	q.looks.Forget(project)
	r, rerr := q.room(ctx, project)
	if rerr != nil {
		return errors.Join(err, rerr)
	}
	if r.account.Allowed > 0 && (r.project.Allowed == 0 || r.account.left() < r.project.left()) {
		return &r.account
	}
	return &r.project
}

func (e *ExceededError) left() int64 { return e.Allowed - e.Held - e.Pending }
