package server

import (
	"context"
	"errors"
	"fmt"

	"github.com/berthregistry/berth/internal/api"
	"github.com/berthregistry/berth/internal/audit"
	"github.com/berthregistry/berth/internal/config"
	"github.com/berthregistry/berth/internal/database"
	"github.com/berthregistry/berth/internal/oci/gc"
)

// newCollector makes what gives back what nobody can reach any more.
func newCollector(b *backends, cfg config.Config, opts Options) *gc.Collector {
	return gc.New(gc.Config{
		DB: b.db, Store: b.store, Clock: opts.Clock, Logger: opts.Logger, SweepDelay: cfg.Registry.SweepDelay,
		Interval: cfg.GC.Interval, Batch: cfg.GC.Batch, Pause: cfg.GC.Pause, Load: cfg.GC.Load, Lease: cfg.GC.Lease,
		Retry: cfg.GC.Retry, OrphanAge: cfg.GC.OrphanAge, CompactChunks: cfg.GC.CompactChunks,
	})
}

// Figures are what a collection did, or would do.
type Figures = gc.Figures

// Collect does one collection and compaction, or only tells what one would do, on the database and the storage of servers
// that may be running: it waits for the end of a collection that one of them is at. The schema must be up to date.
func Collect(ctx context.Context, cfg config.Config, dryRun bool, opts Options) (figures gc.Figures, err error) {
	opts = opts.withDefaults()
	b, err := openExisting(ctx, cfg, opts)
	if err != nil {
		return figures, err
	}
	defer func() { err = errors.Join(err, b.close()) }()
	collector := newCollector(b, cfg, opts)
	if dryRun {
		return collector.Plan(ctx) //nolint:wrapcheck // says what it did
	}
	ctx = audit.With(ctx, audit.Origin{Actor: audit.ActorOperator})
	figures, err = collector.CollectInTurn(ctx)
	if err != nil {
		return figures, fmt.Errorf("collect: %w", err)
	}
	compacted, err := collector.Compact(ctx)
	figures.CompactedBlobs, figures.CompactedBytes = compacted.CompactedBlobs, compacted.CompactedBytes
	return figures, err //nolint:wrapcheck // says what it did
}

// collection is the collector as the product API knows it.
type collection struct {
	*gc.Collector
	enabled bool
}

// shownRuns is how many collections the API tells about.
const shownRuns = 10

// Status implements api.Collection.
func (c collection) Status(ctx context.Context) (api.CollectionStatus, error) {
	s, err := c.Collector.Status(ctx, shownRuns)
	if err != nil {
		return api.CollectionStatus{}, err //nolint:wrapcheck // says what it did
	}
	status := api.CollectionStatus{
		Enabled: c.enabled, NextAt: s.NextAt, Requested: s.Requested,
		RemovedObjects: s.RemovedObjects, RemovedBytes: s.RemovedBytes, Backlog: api.CollectionBacklog(s.Backlog),
	}
	for _, r := range s.Runs {
		status.Runs = append(status.Runs, api.CollectionRun{
			ID: r.ID, Kind: r.Kind, StartedAt: r.StartedAt, FinishedAt: r.FinishedAt, Error: r.Error,
			Figures: api.CollectionFigures(r.Figures),
		})
	}
	return status, nil
}

// Request implements api.Collection.
func (c collection) Request(ctx context.Context, guard func(*database.Batch)) error {
	if !c.enabled {
		return api.ErrCollectionOff
	}
	return c.Collector.Request(ctx, guard) //nolint:wrapcheck // says what it did
}
