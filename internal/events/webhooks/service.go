// Package webhooks tells receivers of projects what happened in them: it keeps the webhooks, delivers the events that
// package events collects for them, and tries again for as long as it takes.
//
// Each event is delivered at least once, and those of one object in their order: a later one waits until the one before
// is delivered or given up. A replica takes a webhook, not an event: while its lease lasts it alone delivers for it, some
// events of different objects at a time. No connection of the database is held meanwhile.
package webhooks

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/google/uuid"

	"github.com/berthregistry/berth/internal/database"
	"github.com/berthregistry/berth/internal/events"
)

// Errors of a Service, besides *InputError and those of guards, contexts and the database.
var (
	ErrNotFound = errors.New("no such webhook")
	ErrVersion  = errors.New("the webhook has changed")
	ErrTooMany  = errors.New("the project has as many webhooks as it may have")
	ErrDisabled = errors.New("the webhook is disabled")
)

// InputError says what is wrong with a field of the input.
type InputError struct {
	Field, Reason string
}

// Error implements error.
func (e *InputError) Error() string { return e.Field + ": " + e.Reason }

// Guard repeats a decision inside the transaction of a change.
type Guard interface {
	// Require adds to b what must hold.
	Require(b *database.Batch)
}

// Config is what a Service works with. DB, Timeout, Concurrency, OwnerPercent, MaxAttempts, MaxPerProject and Retention are required.
type Config struct {
	DB *database.DB
	// Networks are those that receivers may be in, besides the internet.
	Networks Networks
	// Timeout is how long an attempt may take.
	Timeout time.Duration
	// Concurrency is how many webhooks a replica serves at once; each has a few requests under way at most.
	Concurrency int
	// OwnerPercent is the part of those that may be of one account, or of one project that nobody owns, in per cent.
	OwnerPercent int
	// MaxAttempts is after how many attempts an event is given up.
	MaxAttempts int64
	// MaxPerProject is how many webhooks a project may have.
	MaxPerProject int64
	// Retention is how long is remembered what was delivered or given up.
	Retention time.Duration
	// Clock tells the time. Nil: time.Now.
	Clock func() time.Time
	// Logger takes what nobody is told. Nil: slog.Default.
	Logger *slog.Logger
	// Resolver finds the addresses of receivers. Nil: that of the system.
	Resolver *net.Resolver
	// Roots are the authorities that receivers' certificates come from. Nil: those of the system.
	Roots *x509.CertPool
}

// Service keeps and serves webhooks. It is safe for concurrent use.
type Service struct {
	Config
	client *http.Client
	slots  chan struct{} // one for each webhook that is being served
	shares *shares       // of the slots
	wake   chan struct{} // somebody waits for a delivery
	counts counts
}

// New makes a Service.
func New(cfg Config) *Service {
	if cfg.Clock == nil {
		cfg.Clock = time.Now
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	return &Service{
		Config: cfg,
		client: newClient(cfg.Networks, cfg.Resolver, cfg.Timeout, cfg.Roots),
		slots:  make(chan struct{}, cfg.Concurrency),
		shares: newShares(cfg.Concurrency, cfg.OwnerPercent),
		wake:   make(chan struct{}, 1),
	}
}

func (s *Service) now() time.Time { return s.Clock() }

func (s *Service) micros() int64 { return database.ToMicros(s.now()) }

// Webhook is where a project wants its events to be sent. Its secrets stay here.
type Webhook struct {
	ID, Project      uuid.UUID
	URL, Description string
	Events           []events.Kind
	Enabled          bool
	// DisabledReason says why the server disabled it; empty: it did not.
	DisabledReason string
	// FailingSince is since when no attempt has succeeded; zero: the last one did.
	FailingSince time.Time
	// PreviousSecretUntil is until when a former secret signs as well; zero: none does.
	PreviousSecretUntil  time.Time
	CreatedBy            string
	CreatedAt, UpdatedAt time.Time
	Version              int64
}

const webhookColumns = `SELECT id, project_id, url, description, events, enabled, disabled_reason, failing_since, previous_until,
	created_by, created_at, updated_at, version FROM webhooks `

var (
	webhookByID = database.SQL(webhookColumns + `WHERE project_id = $1 AND id = $2`)
	webhooksOf  = database.SQL(webhookColumns + `WHERE project_id = $1 AND id > $2 ORDER BY id LIMIT {limit:$3}`)
)

func (s *Service) scan(r database.Rows) (Webhook, error) {
	var w Webhook
	var kinds string
	var failing *int64
	var previous, created, updated int64
	err := r.Scan(&w.ID, &w.Project, &w.URL, &w.Description, &kinds, &w.Enabled, &w.DisabledReason, &failing, &previous,
		&w.CreatedBy, &created, &updated, &w.Version)
	if err != nil {
		return Webhook{}, fmt.Errorf("read webhook: %w", err)
	}
	w.Events = kindsOf(kinds)
	w.CreatedAt, w.UpdatedAt = database.FromMicros(created), database.FromMicros(updated)
	if failing != nil {
		w.FailingSince = database.FromMicros(*failing)
	}
	if until := database.FromMicros(previous); until.After(s.now()) {
		w.PreviousSecretUntil = until
	}
	return w, nil
}

// Get gives a webhook of a project. Errors: ErrNotFound, the context's and the database's.
func (s *Service) Get(ctx context.Context, project, id uuid.UUID) (Webhook, error) {
	all, err := s.query(ctx, webhookByID, project, id)
	if err != nil {
		return Webhook{}, err
	}
	if len(all) == 0 {
		return Webhook{}, ErrNotFound
	}
	return all[0], nil
}

// List gives a page of a project's webhooks, in the order in which they were made. Errors: *InputError for a page that
// is none, the context's and the database's.
func (s *Service) List(ctx context.Context, project uuid.UUID, page database.Page) ([]Webhook, error) {
	after := uuid.Nil
	if page.After != "" {
		var err error
		if after, err = uuid.Parse(page.After); err != nil {
			return nil, &InputError{Field: "after", Reason: "it is from no list"}
		}
	}
	return s.query(ctx, webhooksOf, project, after, int64(page.Limit))
}

func (s *Service) query(ctx context.Context, stmt database.Stmt, args ...any) ([]Webhook, error) {
	rows, err := s.DB.Query(ctx, stmt, args...)
	if err != nil {
		return nil, fmt.Errorf("list webhooks: %w", err)
	}
	defer rows.Close()
	var all []Webhook
	for rows.Next() {
		w, err := s.scan(rows)
		if err != nil {
			return nil, err
		}
		all = append(all, w)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("list webhooks: %w", err)
	}
	return all, nil
}
