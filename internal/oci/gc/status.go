package gc

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/berthregistry/berth/internal/audit"
	"github.com/berthregistry/berth/internal/database"
)

// backlogLimit is as far as a backlog is counted.
const backlogLimit = 10_000

// Status is how collection stands, over all replicas.
type Status struct {
	// NextAt is when the next collection is due.
	NextAt time.Time
	// Requested says that somebody has asked for one that has not begun.
	Requested bool
	// Runs are the last collections, the newest first. One without FinishedAt is under way.
	Runs []Run
	// RemovedObjects and RemovedBytes were removed from storage, ever.
	RemovedObjects, RemovedBytes int64
	// Backlog is what waits.
	Backlog Backlog
}

// Run is one collection.
type Run struct {
	ID uuid.UUID
	// Kind is one of the Kind constants.
	Kind string
	// FinishedAt is zero while the run is under way.
	StartedAt, FinishedAt time.Time
	// Figures is what it has done so far.
	Figures Figures
	// Error is what kept it from doing all; empty: nothing did.
	Error string
}

// Backlog is what a collection would look at now. Each figure is at most 10,000: then there are that many or more.
type Backlog struct {
	// Manifests are past their time in the trash, Links past their promise, Blobs have lost a link.
	Manifests, Links, Blobs int64
	// Objects may be removed now, with ObjectBytes. Waiting ones may be later.
	Objects, ObjectBytes, Waiting int64
	// Days are to be looked through for orphans, Compactions to be made.
	Days, Compactions int64
}

var (
	// A request that was taken by a collection which is cut off waits again.
	schedule = database.SQL(`
		SELECT next_at, CASE WHEN requested OR (request_taken AND lease_until < {now}) THEN 1 ELSE 0 END, removed_objects, removed_bytes
		FROM collection_schedule WHERE id = 1`)
	lastRuns = database.SQL(`
		SELECT id, kind, started_at, finished_at, figures, error FROM collection_runs ORDER BY id DESC LIMIT {limit:$1}`)
	backlog = database.SQL(`
		SELECT (SELECT count(*) FROM (SELECT 1 FROM manifests WHERE purge_after <= $1 LIMIT {limit:$2}) AS few),
			(SELECT count(*) FROM (SELECT 1 FROM repository_blobs WHERE NOT held AND keep_until <= $1 LIMIT {limit:$2}) AS few),
			(SELECT count(*) FROM (SELECT 1 FROM blob_reviews ORDER BY created_at LIMIT {limit:$2}) AS few),
			(SELECT count(*) FROM (SELECT 1 FROM doomed_objects WHERE delete_after <= $1 LIMIT {limit:$2}) AS few),
			(SELECT CAST(coalesce(sum(size), 0) AS bigint) FROM (
				SELECT size FROM doomed_objects WHERE delete_after <= $1 ORDER BY delete_after LIMIT {limit:$2}) AS few),
			(SELECT count(*) FROM (SELECT 1 FROM doomed_objects WHERE delete_after > $1 LIMIT {limit:$2}) AS few),
			(SELECT count(*) FROM (SELECT 1 FROM swept_days WHERE done_at IS NULL LIMIT {limit:$2}) AS few),
			(SELECT count(*) FROM (SELECT 1 FROM blob_compactions WHERE chunks > $3 LIMIT {limit:$2}) AS few)`)
	request = database.SQL(`UPDATE collection_schedule SET requested = true WHERE id = 1`)
)

// Status tells how collection stands, with up to a number of runs.
func (c *Collector) Status(ctx context.Context, runs int) (Status, error) {
	var s Status
	var nextAt, requested int64
	if err := c.DB.QueryRow(ctx, schedule).Scan(&nextAt, &requested, &s.RemovedObjects, &s.RemovedBytes); err != nil {
		return s, fmt.Errorf("read the schedule: %w", err)
	}
	s.Requested = requested == 1
	s.NextAt = database.FromMicros(nextAt)
	err := c.DB.Each(ctx, func(rows database.Rows) error {
		r, err := scanRun(rows)
		s.Runs = append(s.Runs, r)
		return err
	}, lastRuns, int64(runs))
	if err != nil {
		return s, fmt.Errorf("list collections: %w", err)
	}
	compact := int64(c.CompactChunks)
	if compact < 0 {
		compact = 1 << 40
	}
	l := &s.Backlog
	err = c.DB.QueryRow(ctx, backlog, c.now(), int64(backlogLimit), compact).
		Scan(&l.Manifests, &l.Links, &l.Blobs, &l.Objects, &l.ObjectBytes, &l.Waiting, &l.Days, &l.Compactions)
	if err != nil {
		return s, fmt.Errorf("count what waits: %w", err)
	}
	return s, nil
}

func scanRun(rows database.Rows) (Run, error) {
	var r Run
	var started int64
	var finished *int64
	var figures string
	if err := rows.Scan(&r.ID, &r.Kind, &started, &finished, &figures, &r.Error); err != nil {
		return r, err //nolint:wrapcheck // by the caller
	}
	r.StartedAt = database.FromMicros(started)
	if finished != nil {
		r.FinishedAt = database.FromMicros(*finished)
	}
	return r, json.Unmarshal([]byte(figures), &r.Figures) //nolint:wrapcheck // by the caller
}

// Request asks for a collection as soon as a replica is free, after what the guard adds to its transaction.
func (c *Collector) Request(ctx context.Context, guard func(*database.Batch)) error {
	b := &database.Batch{}
	if guard != nil {
		guard(b)
	}
	b.Exec(request)
	audit.Append(ctx, b, audit.Entry{Action: audit.CollectionRun, Object: "collection"})
	if err := c.DB.Run(ctx, b); err != nil {
		return fmt.Errorf("request a collection: %w", err)
	}
	select {
	case c.wake <- struct{}{}:
	default: // it is awake already, or about to be
	}
	return nil
}
