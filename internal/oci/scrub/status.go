package scrub

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/berthregistry/berth/internal/audit"
	"github.com/berthregistry/berth/internal/database"
)

// Status is how scrubbing stands, over all replicas.
type Status struct {
	// Open is how many findings are open, counted up to 10,000.
	Open int64
	// Runs are the last scrubs, the newest first.
	Runs []Run
}

// Run is one scrub.
type Run struct {
	ID uuid.UUID
	// Kind is one of the Kind constants of scrubs.
	Kind     string
	Fraction float64
	// Rate is in bytes a second; 0: any number.
	Rate int64
	// FinishedAt is zero while it is under way, or waits for a process that goes on.
	StartedAt, UpdatedAt, FinishedAt time.Time
	// Active says that a process is at it.
	Active  bool
	Stage   string
	Figures Figures
	// Error is what stopped it, or made it wait, the last time.
	Error string
}

var lastRuns = database.SQL(`
	SELECT id, kind, fraction, rate, started_at, updated_at, finished_at,
		CASE WHEN lease_until >= {instant} AND finished_at IS NULL THEN 1 ELSE 0 END, stage, figures, error
	FROM scrub_runs ORDER BY id DESC LIMIT {limit:$1}`)

// Status tells how scrubbing stands, with up to a number of scrubs. Errors: the context's and the database's.
func (s *Scrubber) Status(ctx context.Context, runs int) (Status, error) {
	var status Status
	var err error
	if status.Open, err = s.Open(ctx); err != nil {
		return status, err
	}
	err = s.DB.Each(ctx, func(rows database.Rows) error {
		r, err := scanRun(rows)
		status.Runs = append(status.Runs, r)
		return err
	}, lastRuns, int64(runs))
	if err != nil {
		return status, fmt.Errorf("list scrubs: %w", err)
	}
	return status, nil
}

func scanRun(rows database.Rows) (Run, error) {
	var r Run
	var fraction, started, updated, active int64
	var finished *int64
	var figures string
	err := rows.Scan(&r.ID, &r.Kind, &fraction, &r.Rate, &started, &updated, &finished, &active, &r.Stage, &figures, &r.Error)
	if err != nil {
		return r, err //nolint:wrapcheck // by the caller
	}
	r.Fraction, r.Active = float64(fraction)/millionths, active == 1
	r.StartedAt, r.UpdatedAt = database.FromMicros(started), database.FromMicros(updated)
	if finished != nil {
		r.FinishedAt = database.FromMicros(*finished)
	}
	return r, json.Unmarshal([]byte(figures), &r.Figures) //nolint:wrapcheck // by the caller
}

// Request asks for a scrub as soon as a replica is free, after what the guard adds to its transaction. One that servers have
// open already is the one that is asked for. The rate is that of scheduled ones.
func (s *Scrubber) Request(ctx context.Context, fraction float64, guard func(*database.Batch)) error {
	b := &database.Batch{}
	if guard != nil {
		guard(b)
	}
	s.insert(b, KindRequested, fraction, s.Rate, byServers, s.now())
	audit.Append(ctx, b, audit.Entry{Action: audit.ScrubRun, Object: "scrub", Detail: map[string]any{"fraction": fraction}})
	if err := s.DB.Run(ctx, b); err != nil {
		return fmt.Errorf("request a scrub: %w", err)
	}
	select {
	case s.wake <- struct{}{}:
	default: // it is awake already, or about to be
	}
	return nil
}
