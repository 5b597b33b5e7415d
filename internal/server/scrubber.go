package server

import (
	"context"
	"errors"
	"fmt"

	"github.com/berthregistry/berth/internal/api"
	"github.com/berthregistry/berth/internal/audit"
	"github.com/berthregistry/berth/internal/config"
	"github.com/berthregistry/berth/internal/database"
	"github.com/berthregistry/berth/internal/oci/scrub"
)

// newScrubber makes what reads stored content again.
func newScrubber(b *backends, cfg config.Config, opts Options) *scrub.Scrubber {
	return scrub.New(scrub.Config{
		DB: b.db, Store: b.store, Clock: opts.Clock, Logger: opts.Logger, Enabled: cfg.Scrub.Enabled,
		Interval: cfg.Scrub.Interval, Fraction: cfg.Scrub.Fraction, Rate: int64(cfg.Scrub.Rate), Keep: cfg.Scrub.Keep,
		Lease: cfg.GC.Lease, Poll: cfg.GC.Interval, Batch: cfg.GC.Batch,
	})
}

type (
	// ScrubOrder is what a scrub is asked for.
	ScrubOrder = scrub.Order
	// ScrubProgress is how far a scrub is.
	ScrubProgress = scrub.Progress
	// ScrubFigures are what a scrub has read and found.
	ScrubFigures = scrub.Figures
	// ScrubFinding is something that a scrub found damaged.
	ScrubFinding = scrub.Finding
)

// ErrScrubUnderWay says that another process is at a scrub that was begun at a terminal.
var ErrScrubUnderWay = scrub.ErrUnderWay

// shownFindings is how many findings a terminal shows at most.
const shownFindings = 1000

// Scrub does one scrub on the database and the storage of servers that may be running, or goes on with one that was cut off,
// and returns what it did and what is damaged now, the newest finding first and 1,000 at most. The schema must be up to date.
func Scrub(
	ctx context.Context, cfg config.Config, order ScrubOrder, opts Options,
) (figures ScrubFigures, found []ScrubFinding, err error) {
	opts = opts.withDefaults()
	b, err := openExisting(ctx, cfg, opts)
	if err != nil {
		return figures, nil, err
	}
	defer func() { err = errors.Join(err, b.close()) }()
	scrubber := newScrubber(b, cfg, opts)
	figures, err = scrubber.Scrub(audit.With(ctx, audit.Origin{Actor: audit.ActorOperator}), order)
	if ctx.Err() != nil || errors.Is(err, scrub.ErrUnderWay) {
		return figures, nil, err //nolint:wrapcheck // says what it did
	}
	found, lerr := scrubber.Findings(ctx, false, database.Page{Limit: shownFindings})
	return figures, found, errors.Join(err, lerr)
}

// LookForOrphans makes the next collections look through the objects of all days again for such as have no row, and returns
// how many days those are.
func LookForOrphans(ctx context.Context, cfg config.Config, opts Options) (days int64, err error) {
	opts = opts.withDefaults()
	b, err := openExisting(ctx, cfg, opts)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, b.close()) }()
	days, err = newCollector(b, cfg, opts).LookAgain(audit.With(ctx, audit.Origin{Actor: audit.ActorOperator}))
	if err != nil {
		return 0, fmt.Errorf("look for orphans: %w", err)
	}
	return days, nil
}

// scrubbing is the scrubber as the product API knows it.
type scrubbing struct{ *scrub.Scrubber }

// Status implements api.Scrubbing.
func (s scrubbing) Status(ctx context.Context) (api.ScrubStatus, error) {
	found, err := s.Scrubber.Status(ctx, shownRuns)
	if err != nil {
		return api.ScrubStatus{}, err //nolint:wrapcheck // says what it did
	}
	status := api.ScrubStatus{Enabled: s.Enabled, Open: found.Open}
	for _, r := range found.Runs {
		status.Runs = append(status.Runs, api.ScrubRun{
			ID: r.ID, Kind: r.Kind, Fraction: r.Fraction, Rate: r.Rate, StartedAt: r.StartedAt, UpdatedAt: r.UpdatedAt,
			FinishedAt: r.FinishedAt, Active: r.Active, Stage: r.Stage, Error: r.Error, Figures: api.ScrubFigures(r.Figures),
		})
	}
	return status, nil
}

// Request implements api.Scrubbing.
func (s scrubbing) Request(ctx context.Context, fraction float64, guard func(*database.Batch)) error {
	if !s.Enabled {
		return api.ErrScrubOff
	}
	return s.Scrubber.Request(ctx, fraction, guard) //nolint:wrapcheck // says what it did
}

// Findings implements api.Scrubbing.
func (s scrubbing) Findings(ctx context.Context, all bool, page database.Page) ([]api.ScrubFinding, error) {
	found, err := s.Scrubber.Findings(ctx, all, page)
	if err != nil {
		return nil, err //nolint:wrapcheck // says what it did
	}
	list := make([]api.ScrubFinding, len(found))
	for i, f := range found {
		list[i] = api.ScrubFinding{
			ID: f.ID, Run: f.Run, Kind: f.Kind, Digest: string(f.Digest), Size: f.Size, Object: f.Object, Detail: f.Detail,
			FoundAt: f.FoundAt, EndedAt: f.EndedAt, Outcome: f.Outcome,
		}
	}
	return list, nil
}
