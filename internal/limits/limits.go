// Package limits says how many things somebody may have: projects, tokens, open upload sessions and the like. The server
// has a number for each, and an admin may give a user, a project or a runner another one, as also rates of requests.
//
// What is counted is counted in the transaction that makes one more, so no replica can be late. A count stops at the
// number that is allowed, and goes by an index.
package limits

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/berthregistry/berth/internal/database"
)

// Server is how many things everybody may have who has no number of their own. 0 is any number.
type Server struct {
	// Projects is how many projects an account may have, those in the trash apart.
	Projects int64
	// UserCreations is how many projects a user may create in a day, and AddressCreations how many the callers without
	// an account from one network.
	UserCreations, AddressCreations int64
	// Uploads is how many upload sessions a principal may have open; a caller without an account is a network.
	Uploads int64
	// Tags is how many tags a repository may have.
	Tags int64
	// Tokens is how many personal tokens a user may have, and Sessions how many log-ins.
	Tokens, Sessions int64
	// Robots, Members and RunnerGrants are how many of each a project may have.
	Robots, Members, RunnerGrants int64
}

// Day is the time in which creations are counted.
const Day = 24 * time.Hour

// ErrExceeded says that there would be more than is allowed. [Explain] makes it an [*ExceededError].
var ErrExceeded = errors.New("over the limit")

// ExceededError is an ErrExceeded with its numbers.
type ExceededError struct {
	// Things is what there would be too many of.
	Things string
	// Used is how many there are, Allowed how many there may be.
	Used, Allowed int64
	// Wait is how long it takes until there may be one more by itself. 0: something must go first.
	Wait time.Duration
}

// Error implements error, in words for clients.
func (e *ExceededError) Error() string {
	return fmt.Sprintf("too many %s: there are %d, and %d are allowed", e.Things, e.Used, e.Allowed)
}

// Unwrap returns ErrExceeded.
func (e *ExceededError) Unwrap() error { return ErrExceeded }

// RetryAfter is Wait in whole seconds, at least 1.
func (e *ExceededError) RetryAfter() int64 { return max(1, int64((e.Wait+time.Second-1)/time.Second)) }

// Count is a number of things that is limited.
type Count struct {
	// Name is how overrides and the product API name it.
	Name   string
	things string

	require, numbers database.Stmt
}

// newCount makes a Count. rows are the things that there are, FROM on: $1 is the subject, $2 what the server allows.
func newCount(name, things, rows string) *Count { return newCountOf(`{uuid:$1}`, name, things, rows) }

// newCountOf is newCount where $1 leads to the subject.
func newCountOf(subject, name, things, rows string) *Count {
	allowed := `coalesce((SELECT o.value FROM limit_overrides o WHERE o.subject_id = ` + subject + ` AND o.name = '` + name + `'), {bigint:$2})`
	return &Count{
		Name: name, things: things,
		require: database.SQL(`SELECT 1 WHERE ` + allowed + ` = 0 OR (SELECT count(*) FROM (
			SELECT 1 ` + rows + ` LIMIT (SELECT ` + allowed + ` + 1)) AS counted) <= ` + allowed),
		numbers: database.SQL(`SELECT ` + allowed + `, (SELECT count(*) FROM (SELECT 1 ` + rows + `) AS counted)`),
	}
}

// asked is a Count that a batch requires: what Explain needs to tell the numbers.
type asked struct {
	count *Count
	args  []any
}

// Error implements error.
func (a *asked) Error() string { return ErrExceeded.Error() + ": " + a.count.things }

// Unwrap returns ErrExceeded.
func (a *asked) Unwrap() error { return ErrExceeded }

// add requires in b, after what makes one more, that there are not too many. The batch fails with ErrExceeded.
func (c *Count) add(b *database.Batch, subject uuid.UUID, server int64, more ...any) {
	args := append([]any{subject, server}, more...)
	b.Require(&asked{count: c, args: args}, c.require, args...)
}

// lock makes the transactions that make one more of somebody's things follow each other.
var lock = database.SQL(`SELECT {lock:$1}`)

func (c *Count) lock(b *database.Batch, whose string) { b.Exec(lock, c.Name+" "+whose) }

// use tells how many there are and may be.
func (c *Count) use(ctx context.Context, db *database.DB, args []any) (e ExceededError, err error) {
	e.Things = c.things
	if err := db.QueryRow(ctx, c.numbers, args...).Scan(&e.Allowed, &e.Used); err != nil {
		return e, fmt.Errorf("count %s: %w", c.things, err)
	}
	return e, nil
}

// settled are the arguments with which to count after the batch has failed: the project that it was to make is not there,
// which would tell a count that nothing is new.
func (a *asked) settled() []any {
	if a.count != projects && a.count != creations {
		return a.args
	}
	return append(slices.Clone(a.args[:len(a.args)-1]), uuid.NullUUID{})
}

// Explain gives an ErrExceeded in err its numbers, and returns other errors as they are.
func Explain(ctx context.Context, db *database.DB, err error) error {
	over, ok := errors.AsType[*asked](err)
	if !ok {
		return err
	}
	e, uerr := over.count.use(ctx, db, over.settled())
	if uerr != nil {
		return errors.Join(err, uerr)
	}
	if over.count == creations || over.count == tags || over.count == restored { // they count what was not made, too
		e.Used = min(e.Used, e.Allowed)
	}
	if over.count == shownTags { // nothing has the mark of what was not shown
		e.Used = e.Allowed
	}
	if over.count == creations {
		if e.Wait, uerr = untilNextCreation(ctx, db, over.args, e.Allowed); uerr != nil {
			return errors.Join(err, uerr)
		}
	}
	return &e
}
