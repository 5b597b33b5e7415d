package uploads

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/berthregistry/berth/internal/database"
	"github.com/berthregistry/berth/internal/rounds"
)

const (
	// expiryInterval is about how often a replica looks for sessions whose time has come.
	expiryInterval = time.Minute
	// janitorBatch is how many it takes at a time.
	janitorBatch = 200
)

var (
	idleSessions = database.SQL(`
		SELECT id FROM upload_sessions WHERE last_activity_at < $1 AND lease_until < {instant} ORDER BY last_activity_at LIMIT {limit:$2}`)
	deleteIdleSession = database.SQL(`
		DELETE FROM upload_sessions WHERE id = $1 AND last_activity_at < $2 AND lease_until < {now} RETURNING 1`)
)

// Run expires idle sessions until ctx ends. Any number of replicas may do so at once. What they release is removed by
// the collector. It returns nil: what fails is logged and tried again.
func (s *Service) Run(ctx context.Context) error {
	rounds.Every(ctx, s.ExpiryInterval, func(ctx context.Context) {
		if err := s.Expire(ctx); err != nil && ctx.Err() == nil {
			s.Logger.WarnContext(ctx, "expire uploads", "error", err)
		}
	})
	return nil
}

// Expire removes sessions that were idle for longer than their TTL, those that ended included, and releases bytes that
// became no blob: everything that is due when it is called. Errors: the context's and the database's.
func (s *Service) Expire(ctx context.Context) error {
	before := database.ToMicros(s.Clock().Add(-s.TTL))
	for {
		ids, err := s.idle(ctx, before)
		if err != nil {
			return err
		}
		for _, id := range ids {
			if err := s.expireSession(ctx, id, before); err != nil {
				return err
			}
		}
		if len(ids) < janitorBatch {
			return nil
		}
	}
}

func (s *Service) idle(ctx context.Context, before int64) ([]uuid.UUID, error) {
	rows, err := s.DB.Query(ctx, idleSessions, before, int64(janitorBatch))
	if err != nil {
		return nil, fmt.Errorf("list idle upload sessions: %w", err)
	}
	defer rows.Close()
	var ids []uuid.UUID
	for rows.Next() {
		var id uuid.UUID
		if err := rows.Scan(&id); err != nil {
			return nil, fmt.Errorf("list idle upload sessions: %w", err)
		}
		ids = append(ids, id)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("list idle upload sessions: %w", err)
	}
	return ids, nil
}

func (s *Service) expireSession(ctx context.Context, id uuid.UUID, before int64) error {
	b := &database.Batch{}
	b.Require(errStale, deleteIdleSession, id, before)
	b.Exec(doomLosers, id, s.discardAt())
	b.Exec(deleteLosers, id)
	err := s.DB.Run(ctx, b)
	if err != nil && !errors.Is(err, errStale) {
		return fmt.Errorf("expire upload session: %w", err)
	}
	return nil
}
