package webhooks

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/berthregistry/berth/internal/database"
)

// tidyBatch is how many rows are removed at a time.
const tidyBatch = 1000

var (
	removeOld = database.SQL(`
		WITH old AS MATERIALIZED (
			SELECT seq FROM events_outbox WHERE finished_at <= $1 ORDER BY finished_at LIMIT {limit:$2} {skip})
		DELETE FROM events_outbox WHERE seq IN (SELECT seq FROM old) AND finished_at <= $1 RETURNING seq`)
	// A change that began before a webhook was disabled or deleted may append an event to it afterwards.
	waiting = database.SQL(`
		WITH RECURSIVE waiting(id) AS (
			SELECT (SELECT o.webhook_id FROM events_outbox o WHERE o.state = 'pending' ORDER BY o.webhook_id LIMIT 1)
			UNION ALL
			SELECT (SELECT o.webhook_id FROM events_outbox o WHERE o.state = 'pending' AND o.webhook_id > waiting.id
				ORDER BY o.webhook_id LIMIT 1)
			FROM waiting WHERE waiting.id IS NOT NULL)
		SELECT waiting.id FROM waiting
		WHERE waiting.id IS NOT NULL AND NOT EXISTS (SELECT 1 FROM webhooks w WHERE w.id = waiting.id AND w.enabled)`)
	removeOrphans = database.SQL(`
		DELETE FROM events_outbox WHERE webhook_id = $1 AND NOT EXISTS (SELECT 1 FROM webhooks w WHERE w.id = $1)`)

	sample = database.SQL(`SELECT count(*), coalesce(min(created_at), 0) FROM events_outbox WHERE state = 'pending'`)
)

// Tidy removes events that were delivered or given up long enough ago, and gives up those whose webhook is disabled or
// gone.
func (s *Service) Tidy(ctx context.Context) error {
	if err := s.dropStranded(ctx); err != nil {
		return err
	}
	for {
		n := 0
		b := &database.Batch{}
		b.Query(func(database.Rows) error {
			n++
			return nil
		}, removeOld, database.ToMicros(s.now().Add(-s.Retention)), int64(tidyBatch))
		if err := s.DB.Run(ctx, b); err != nil {
			return fmt.Errorf("remove old events: %w", err)
		}
		if n < tidyBatch {
			return nil
		}
	}
}

func (s *Service) dropStranded(ctx context.Context) error {
	var ids []uuid.UUID
	b := &database.Batch{}
	b.Query(func(r database.Rows) error {
		var id uuid.UUID
		err := r.Scan(&id)
		ids = append(ids, id)
		return err //nolint:wrapcheck // below
	}, waiting)
	if err := s.DB.Run(ctx, b); err != nil {
		return fmt.Errorf("find stranded events: %w", err)
	}
	for _, id := range ids {
		b := &database.Batch{}
		b.Exec(lockClaimed, id)
		b.Exec(removeOrphans, id)
		b.Exec(dropPending, id, s.micros())
		if err := s.DB.Run(ctx, b); err != nil {
			return fmt.Errorf("drop stranded events: %w", err)
		}
	}
	return nil
}

// Stats are figures of webhooks.
type Stats struct {
	// Delivered, Failed and Dead count since the start of this replica: events that were taken, attempts that failed, and
	// events that were given up after the last one.
	Delivered, Failed, Dead int64
	// Pending is how many events wait, on all replicas together, and OldestPending how long the oldest of them has.
	// Both are some seconds old.
	Pending       int64
	OldestPending time.Duration
}

type counts struct {
	delivered, failed, dead, pending, oldest atomic.Int64
}

func (c *counts) add(r *result, last bool) {
	switch {
	case r.cut:
	case r.delivered():
		c.delivered.Add(1)
	default:
		c.failed.Add(1)
		if last {
			c.dead.Add(1)
		}
	}
}

// Stats gives the figures of now.
func (s *Service) Stats() Stats {
	stats := Stats{
		Delivered: s.counts.delivered.Load(), Failed: s.counts.failed.Load(), Dead: s.counts.dead.Load(),
		Pending: s.counts.pending.Load(),
	}
	if oldest := s.counts.oldest.Load(); oldest != 0 {
		stats.OldestPending = s.now().Sub(database.FromMicros(oldest))
	}
	return stats
}

// Sample counts the events that wait, for Stats.
func (s *Service) Sample(ctx context.Context) error {
	var pending, oldest int64
	if err := s.DB.QueryRow(ctx, sample).Scan(&pending, &oldest); err != nil {
		return fmt.Errorf("count waiting events: %w", err)
	}
	s.counts.pending.Store(pending)
	s.counts.oldest.Store(oldest)
	return nil
}
