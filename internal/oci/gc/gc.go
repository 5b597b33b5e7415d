// Package gc gives back what nobody can reach any more, beside pushes and pulls, on any number of replicas.
//
// A collection goes from what people see to what is stored. It purges projects, repositories, manifests and tags whose
// time in the trash is over; then links that no manifest needs and no pusher was promised; then blobs without a link,
// whose objects enter doomed_objects; then it removes the doomed objects that no reader can hold any more, and looks
// through the objects of days that are over for such as never had a row. A compactor makes one object of blobs that were
// uploaded in many.
//
// Nothing stops meanwhile. Each step is a short transaction about some rows that nobody else holds (SKIP LOCKED), and
// decides in a second statement, after its locks, whether they may go. Every queue is an index that holds only what may
// have to be done, so a step costs the same however much is stored. docs/collection.md lists the races.
package gc

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/berthregistry/berth/internal/database"
	"github.com/berthregistry/berth/internal/rounds"
	"github.com/berthregistry/berth/internal/storage"
)

// Defaults of a Config.
const (
	DefaultInterval      = time.Minute
	DefaultBatch         = 200
	DefaultLoad          = 20
	DefaultLease         = time.Minute
	DefaultRetry         = 15 * time.Minute
	DefaultOrphanAge     = 48 * time.Hour
	DefaultCompactChunks = 4
)

// Config holds what a Collector needs. DB, Store and Clock are required; what is zero has the default, but for Pause,
// SweepDelay and OrphanAge, of which zero is none.
type Config struct {
	DB    *database.DB
	Store storage.Store
	// Clock tells the time by which things are due. Leases are by the database's.
	Clock func() time.Time
	// DatabaseClock tells the database's time, which must agree that a day is over. Nil: asks the database. Tests whose
	// Clock is not the time give one that follows it.
	DatabaseClock func(context.Context) (time.Time, error)
	// SweepDelay is how long a released object stays in storage: longer than any read lasts.
	SweepDelay time.Duration
	// Interval is about how often all replicas together begin a collection, and each of them looks for blobs to compact.
	Interval time.Duration
	// Batch is how many rows or objects a step takes.
	Batch int
	// Pause is the least pause after each step.
	Pause time.Duration
	// Load is the part of its time, in per cent, that a collection works; 100 makes no pauses but Pause.
	Load int
	// Lease is how long a replica that has died keeps others from going on.
	Lease time.Duration
	// Retry is when what failed is tried again: objects that storage did not remove, blobs that could not be compacted.
	Retry time.Duration
	// OrphanAge is how long after its begin a day's objects are looked through, once, for such as have no row. Zero looks
	// through those of the days under way, each time: only while nobody uploads.
	OrphanAge time.Duration
	// CompactChunks is how many chunks a blob may have before it is made one object; negative: any number.
	CompactChunks int
	// Logger takes what goes wrong in the background. Nil: nowhere.
	Logger *slog.Logger
}

// Collector collects. It is safe for concurrent use, and so are any number of them on the same database and storage.
type Collector struct {
	Config
	wake chan struct{}

	mu    sync.Mutex
	stats Stats
}

// New makes a Collector.
func New(cfg Config) *Collector {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	cfg.Interval = orDefault(cfg.Interval, DefaultInterval)
	cfg.Batch = orDefault(cfg.Batch, DefaultBatch)
	cfg.Load = orDefault(cfg.Load, DefaultLoad)
	cfg.Lease = orDefault(cfg.Lease, DefaultLease)
	cfg.Retry = orDefault(cfg.Retry, DefaultRetry)
	cfg.CompactChunks = orDefault(cfg.CompactChunks, DefaultCompactChunks)
	c := &Collector{Config: cfg, wake: make(chan struct{}, 1)}
	if c.DatabaseClock == nil {
		c.DatabaseClock = c.databaseTime
	}
	return c
}

func orDefault[T comparable](value, otherwise T) T {
	var zero T
	if value == zero {
		return otherwise
	}
	return value
}

// Run collects and compacts until ctx ends. Of all replicas on the database one collects at a time; compaction they share
// by blobs. It returns nil: what fails is logged and tried again.
func (c *Collector) Run(ctx context.Context) error {
	var both errgroup.Group
	both.Go(func() error {
		rounds.EveryOr(ctx, c.Interval, c.wake, c.scheduled)
		return nil
	})
	both.Go(func() error {
		rounds.Every(ctx, c.Interval, func(ctx context.Context) {
			figures, err := c.Compact(ctx)
			if err != nil && ctx.Err() == nil {
				c.Logger.WarnContext(ctx, "compact blobs", slog.String("error", err.Error()))
			}
			if figures != (Figures{}) {
				c.Logger.InfoContext(ctx, "compacted blobs", slog.Any("figures", figures))
			}
		})
		return nil
	})
	return both.Wait() //nolint:wrapcheck // nil
}

// scheduled does a collection if one is due and no other replica is at it.
func (c *Collector) scheduled(ctx context.Context) {
	r, err := c.lease(ctx)
	if err != nil && ctx.Err() == nil {
		c.Logger.WarnContext(ctx, "begin a collection", slog.String("error", err.Error()))
	}
	if err != nil || r == nil {
		return
	}
	if err := r.collect(ctx); err != nil && ctx.Err() == nil {
		c.Logger.WarnContext(ctx, "collect", slog.String("error", err.Error()))
	}
	if r.figures != (Figures{}) {
		c.Logger.InfoContext(ctx, "collected", slog.Any("figures", r.figures))
	}
}

// Collect does one whole collection now, whatever is due and whoever else is at it: everything that may go when it is
// called. It goes on after what fails and returns all errors: the context's, the database's and the storage's.
func (c *Collector) Collect(ctx context.Context) (Figures, error) {
	r, err := c.begin(ctx, KindCommand)
	if err != nil {
		return Figures{}, err
	}
	err = r.collect(ctx)
	return r.figures, err
}

// CollectInTurn is Collect once no other replica is at a collection, and while none begins one: what another one has in hand
// when this one is called has gone, or is found, when this one ends.
func (c *Collector) CollectInTurn(ctx context.Context) (Figures, error) {
	r, err := c.turn(ctx)
	if err != nil {
		return Figures{}, err
	}
	err = r.collect(ctx)
	return r.figures, err
}

func (c *Collector) now() int64 { return database.ToMicros(c.Clock()) }

func (c *Collector) doomAt() int64 { return database.ToMicros(c.Clock().Add(c.SweepDelay)) }
