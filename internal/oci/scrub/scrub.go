// Package scrub reads stored content again and holds it against its digests, beside pushes and pulls, on any replica.
//
// A scrub is a row: its settings, its figures, and the place that it has reached. Whoever has the row's lease goes on from
// there, so a process that is killed loses the blob that it was reading and nothing else. It looks first at what was found
// before, then at blobs, in the order of their IDs, then at manifests.
//
// A blob that is damaged, or whose objects are missing, is quarantined: not shown by any statement, so that clients push it
// again, which heals it for all repositories (package uploads). Its objects stay. Quarantine is a compare-and-set on
// the blob's generation: content that was compacted, healed or collected while it was read is never taken for damaged.
// docs/scrub.md lists the races.
package scrub

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"github.com/berthregistry/berth/internal/database"
	"github.com/berthregistry/berth/internal/rounds"
	"github.com/berthregistry/berth/internal/storage"
)

// Defaults of a Config.
const (
	DefaultLease    = time.Minute
	DefaultPoll     = time.Minute
	DefaultBatch    = 200
	DefaultAttempts = 4
)

// Config holds what a Scrubber needs. DB, Store and Clock are required; what is zero has the default, or is off.
type Config struct {
	DB    *database.DB
	Store storage.Store
	// Clock tells the time. Leases are by the database's.
	Clock func() time.Time
	// Enabled lets this replica scrub in the background: what is scheduled, asked for, or suspected.
	Enabled bool
	// Interval is the time between the begins of scheduled scrubs; 0: there are none.
	Interval time.Duration
	// Fraction is the part of all content that a scheduled scrub reads, from above 0 to 1; 0 means all.
	Fraction float64
	// Rate is how many bytes a second scheduled and requested scrubs read at most; 0: any number.
	Rate int64
	// Keep is how long findings that have ended are remembered; 0: for ever.
	Keep time.Duration
	// Lease is how long a process that has died keeps others from going on.
	Lease time.Duration
	// Poll is about how often this replica looks for something to do.
	Poll time.Duration
	// Batch is how many rows are listed at once.
	Batch int
	// Attempts is how often an object is opened in a row, without a byte between, before it counts as not read.
	Attempts int
	// Wait pauses; nil means that time passes.
	Wait func(context.Context, time.Duration) error
	// Logger takes what goes wrong. Nil: nowhere.
	Logger *slog.Logger
}

// Scrubber scrubs. It is safe for concurrent use, and so are any number of them on the same database and storage.
type Scrubber struct {
	Config
	wake     chan struct{}
	suspects chan digest.Digest

	mu        sync.Mutex
	stats     Stats
	suspected map[digest.Digest]struct{} // since the last poll
	convicted int                        // of them, since the hour began
	hour      time.Time
}

// New makes a Scrubber.
func New(cfg Config) *Scrubber {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Wait == nil {
		cfg.Wait = wait
	}
	cfg.Lease = orDefault(cfg.Lease, DefaultLease)
	cfg.Poll = orDefault(cfg.Poll, DefaultPoll)
	cfg.Batch = orDefault(cfg.Batch, DefaultBatch)
	cfg.Attempts = orDefault(cfg.Attempts, DefaultAttempts)
	cfg.Fraction = orDefault(cfg.Fraction, 1)
	return &Scrubber{
		Config: cfg, wake: make(chan struct{}, 1), suspects: make(chan digest.Digest, mostSuspects),
		suspected: map[digest.Digest]struct{}{},
	}
}

func orDefault[T comparable](value, otherwise T) T {
	var zero T
	if value == zero {
		return otherwise
	}
	return value
}

// Run scrubs in the background until ctx ends: what is scheduled or was asked for, on one of all replicas at a time, and
// what pulls through this replica came upon. It returns nil: what fails is logged and tried again.
func (s *Scrubber) Run(ctx context.Context) error {
	if !s.Enabled {
		return nil
	}
	var both errgroup.Group
	both.Go(func() error {
		rounds.EveryOr(ctx, s.Poll, s.wake, s.round)
		return nil
	})
	both.Go(func() error {
		s.lookAtSuspects(ctx)
		return nil
	})
	return both.Wait() //nolint:wrapcheck // nil
}

// round goes on with a scrub that nobody is at, or begins one that is due.
func (s *Scrubber) round(ctx context.Context) {
	s.forgetSuspects()
	r, err := s.next(ctx)
	if err != nil && ctx.Err() == nil {
		s.Logger.WarnContext(ctx, "begin a scrub", slog.String("error", err.Error()))
	}
	if err != nil || r == nil {
		return
	}
	err = r.scrub(ctx)
	if err != nil && ctx.Err() == nil {
		s.Logger.WarnContext(ctx, "scrub", slog.String("error", err.Error()))
	}
	s.Logger.InfoContext(ctx, "scrubbed", slog.Any("figures", r.figures))
}

// Order is what somebody at a terminal asks for.
type Order struct {
	// Fraction is the part of all content that is read, from above 0 to 1.
	Fraction float64
	// Rate is how many bytes a second are read at most; 0: any number.
	Rate int64
	// Restart ends a scrub that was begun at a terminal and cut off, and begins anew.
	Restart bool
	// ExpectLosses goes on when the objects of many blobs in a row are missing.
	ExpectLosses bool
	// Progress is told how far the scrub is, now and then. Nil: nobody is.
	Progress func(Progress)
}

// Progress is how far a scrub is.
type Progress struct {
	// Resumed says that another process had begun it.
	Resumed bool
	// Fraction and Rate are those it was begun with.
	Fraction float64
	Rate     int64
	Figures  Figures
}

// Scrub does one scrub, or goes on with one that was begun at a terminal and cut off, until it ends or ctx does: then the
// next one goes on. It returns ErrUnderWay where another process is at it, and the errors of Run's log.
func (s *Scrubber) Scrub(ctx context.Context, o Order) (Figures, error) {
	r, err := s.command(ctx, o)
	if err != nil {
		return Figures{}, err
	}
	r.progress, r.expectLosses = o.Progress, o.ExpectLosses
	err = r.scrub(ctx)
	return r.figures, err
}

func (s *Scrubber) now() int64 { return database.ToMicros(s.Clock()) }

func wait(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err() //nolint:wrapcheck // by the callers
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err() //nolint:wrapcheck // by the callers
	}
}
