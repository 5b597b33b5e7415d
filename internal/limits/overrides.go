package limits

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/berthregistry/berth/internal/audit"
	"github.com/berthregistry/berth/internal/database"
)

// Kind is what a subject of limits is.
type Kind string

// The kinds. The limits of a project are for the project itself and for its robots.
const (
	KindUser    Kind = "user"
	KindProject Kind = "project"
	KindRunner  Kind = "runner"
)

// Rate is how often something may be asked for. PerMinute 0 is as often as one likes.
type Rate struct {
	PerMinute int64 `json:"per_minute"`
	Burst     int64 `json:"burst"`
}

// Classes are the classes of requests whose rates can be given, as package ratelimit names them.
var Classes = []string{"token", "read", "write", "api"}

// countsOf are the numbers that can be given to each kind.
var countsOf = map[Kind][]*Count{
	KindUser:    {projects, creations, uploads, tokens, sessions},
	KindProject: {uploads, tags, robots, members, runnerGrants},
	KindRunner:  {},
}

// Overrides are the limits of one subject that differ from the server's.
type Overrides struct {
	// Rates are by class.
	Rates map[string]Rate `json:"rates,omitempty"`
	// Counts are by name; 0 is any number.
	Counts map[string]int64 `json:"counts,omitempty"`
	// QuotaBytes is how much a project, or all projects of a user's account together, may hold; 0 is any amount, nil as
	// the server says.
	QuotaBytes *int64 `json:"quota_bytes,omitempty"`
}

// Errors of overrides.
var (
	// ErrNoSubject: there is no such user, project or runner.
	ErrNoSubject = errors.New("no such subject of limits")
	// ErrUnknown: this kind of subject has no such limit.
	ErrUnknown = errors.New("no such limit")
)

// Store keeps overrides.
type Store struct {
	// DB is where they are.
	DB *database.DB
	// Server is what they differ from.
	Server Server
	// Clock tells the time.
	Clock func() time.Time
}

var (
	subjects = map[Kind]database.Stmt{
		KindUser:    database.SQL(`SELECT 1 FROM users WHERE id = $1`),
		KindProject: database.SQL(`SELECT 1 FROM projects WHERE id = $1 {update}`),
		KindRunner:  database.SQL(`SELECT 1 FROM tokens WHERE id = $1 AND kind = 'runner'`),
	}
	quotas = map[Kind]database.Stmt{
		KindUser:    database.SQL(`SELECT quota_bytes FROM accounts WHERE id = (SELECT account_id FROM users WHERE id = $1)`),
		KindProject: database.SQL(`SELECT quota_bytes FROM projects WHERE id = $1`),
	}
	setQuotas = map[Kind]database.Stmt{
		KindUser:    database.SQL(`UPDATE accounts SET quota_bytes = $2 WHERE id = (SELECT account_id FROM users WHERE id = $1)`),
		KindProject: database.SQL(`UPDATE projects SET quota_bytes = $2 WHERE id = $1`),
	}

	clearOverrides = database.SQL(`DELETE FROM limit_overrides WHERE subject_id = $1`)
	insertOverride = database.SQL(`
		INSERT INTO limit_overrides (subject_id, subject_kind, name, value, created_by, created_at) VALUES ($1, $2, $3, $4, $5, $6)`)
	raiseVersion = database.SQL(`UPDATE limit_versions SET version = version + 1 WHERE id = 1`)
	version      = database.SQL(`SELECT version FROM limit_versions WHERE id = 1`)
	overridesOf  = database.SQL(`SELECT name, value FROM limit_overrides WHERE subject_id = $1 AND subject_kind = $2`)
	allRates     = database.SQL(`
		SELECT subject_kind, subject_id, name, value FROM limit_overrides WHERE name LIKE 'rate.%' OR name LIKE 'burst.%'
		ORDER BY created_at DESC, subject_id LIMIT {limit:$1}`)
)

// maxRates bounds what a replica keeps in memory of the rates of single subjects, in rows: two for each class.
const maxRates = 200_000

const (
	rateOf  = "rate."
	burstOf = "burst."
)

func (o Overrides) check(kind Kind) error {
	for class := range o.Rates {
		if !slices.Contains(Classes, class) {
			return fmt.Errorf("%w: rates.%s", ErrUnknown, class)
		}
	}
	for name := range o.Counts {
		if !slices.ContainsFunc(countsOf[kind], func(c *Count) bool { return c.Name == name }) {
			return fmt.Errorf("%w: counts.%s", ErrUnknown, name)
		}
	}
	if _, has := quotas[kind]; o.QuotaBytes != nil && !has {
		return fmt.Errorf("%w: quota_bytes", ErrUnknown)
	}
	return nil
}

// Set gives a subject limits of its own, in place of those that it had. require adds what must still hold; by is the
// principal who does it. Errors: ErrNoSubject, ErrUnknown, those of require, the context's and the database's.
func (s *Store) Set(ctx context.Context, require func(*database.Batch), kind Kind, id uuid.UUID, o Overrides, by string) error {
	exists, ok := subjects[kind]
	if !ok {
		return ErrNoSubject
	}
	if err := o.check(kind); err != nil {
		return err
	}
	b := &database.Batch{}
	b.Require(ErrNoSubject, exists, id)
	require(b)
	b.Exec(lock, "limits "+id.String())
	b.Exec(clearOverrides, id)
	for name, value := range o.rows() {
		b.Exec(insertOverride, id, string(kind), name, value, by, database.ToMicros(s.Clock()))
	}
	b.Exec(raiseVersion)
	if stmt, has := setQuotas[kind]; has {
		b.Exec(stmt, id, o.QuotaBytes)
	}
	entry := audit.Entry{Action: audit.LimitsChange, Object: string(kind) + ":" + id.String(), Detail: o}
	if kind == KindProject {
		entry.Project = id
	}
	audit.Append(ctx, b, entry)
	if err := s.DB.Run(ctx, b); err != nil {
		return fmt.Errorf("set limits: %w", err)
	}
	return nil
}

// rows are the overrides as the database has them.
func (o Overrides) rows() map[string]int64 {
	rows := map[string]int64{}
	for class, rate := range o.Rates {
		rows[rateOf+class], rows[burstOf+class] = rate.PerMinute, rate.Burst
	}
	for name, value := range o.Counts {
		rows[name] = value
	}
	return rows
}

func (o *Overrides) put(name string, value int64) {
	kind, class, isRate := cutRate(name)
	if !isRate {
		o.Counts[name] = value
		return
	}
	rate := o.Rates[class]
	if kind == rateOf {
		rate.PerMinute = value
	} else {
		rate.Burst = value
	}
	o.Rates[class] = rate
}

func cutRate(name string) (kind, class string, ok bool) {
	for _, kind := range []string{rateOf, burstOf} {
		if len(name) > len(kind) && name[:len(kind)] == kind {
			return kind, name[len(kind):], true
		}
	}
	return "", "", false
}

func newOverrides() Overrides { return Overrides{Rates: map[string]Rate{}, Counts: map[string]int64{}} }

// Get gives what differs for a subject. Errors: ErrNoSubject, the context's and the database's.
func (s *Store) Get(ctx context.Context, kind Kind, id uuid.UUID) (Overrides, error) {
	exists, ok := subjects[kind]
	if !ok {
		return Overrides{}, ErrNoSubject
	}
	o := newOverrides()
	b := &database.Batch{}
	b.Require(ErrNoSubject, exists, id)
	b.Query(func(r database.Rows) error {
		var name string
		var value int64
		err := r.Scan(&name, &value)
		o.put(name, value)
		return err
	}, overridesOf, id, string(kind))
	if stmt, has := quotas[kind]; has {
		b.Query(func(r database.Rows) error { return r.Scan(&o.QuotaBytes) }, stmt, id)
	}
	if err := s.DB.Run(ctx, b); err != nil {
		return Overrides{}, fmt.Errorf("read limits: %w", err)
	}
	return o, nil
}

// Subject names a subject.
type Subject struct {
	Kind Kind
	ID   uuid.UUID
}

// Version is another one whenever an override has changed. Errors: the context's and the database's.
func (s *Store) Version(ctx context.Context) (int64, error) {
	var n int64
	if err := s.DB.QueryRow(ctx, version).Scan(&n); err != nil {
		return 0, fmt.Errorf("read the version of the limits: %w", err)
	}
	return n, nil
}

// Rates gives the rates of all subjects that have any of their own. Errors: the context's and the database's.
func (s *Store) Rates(ctx context.Context) (map[Subject]map[string]Rate, error) {
	rows, err := s.DB.Query(ctx, allRates, int64(maxRates))
	if err != nil {
		return nil, fmt.Errorf("read rates: %w", err)
	}
	defer rows.Close()
	found := map[Subject]Overrides{}
	var subject Subject
	read := 0
	for ; rows.Next(); read++ {
		var name string
		var value int64
		if err := rows.Scan(&subject.Kind, &subject.ID, &name, &value); err != nil {
			return nil, fmt.Errorf("read rates: %w", err)
		}
		o, ok := found[subject]
		if !ok {
			o = newOverrides()
			found[subject] = o
		}
		o.put(name, value)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read rates: %w", err)
	}
	if read == maxRates {
		delete(found, subject) // there may be more of it: half a rate would refuse everything
	}
	rates := make(map[Subject]map[string]Rate, len(found))
	for subject, o := range found {
		rates[subject] = o.Rates
	}
	return rates, nil
}
