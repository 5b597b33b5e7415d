package uploads

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/google/uuid"

	"github.com/berthregistry/berth/internal/database"
)

const (
	// janitorInterval is about how often a replica looks for sessions and objects whose time has come.
	janitorInterval = time.Minute
	// janitorBatch is how many of either it takes at a time.
	janitorBatch = 200
	// postponement is when objects that could not be removed are tried again.
	postponement = time.Hour
)

var (
	idleSessions = database.SQL(`
		SELECT id FROM upload_sessions WHERE last_activity_at < $1 AND lease_until < {instant} ORDER BY last_activity_at LIMIT {bigint:$2}`)
	deleteIdleSession = database.SQL(`
		DELETE FROM upload_sessions WHERE id = $1 AND last_activity_at < $2 AND lease_until < {now} RETURNING 1`)
	dueObjects = database.SQL(`
		SELECT object_key FROM doomed_objects WHERE delete_after < $1 ORDER BY delete_after LIMIT {bigint:$2}`)
	postponeObjects = database.SQL(`
		UPDATE doomed_objects SET delete_after = $2 WHERE object_key IN (SELECT each.value FROM {each:$1})`)
	forgetObjects = database.SQL(`
		DELETE FROM doomed_objects WHERE object_key IN (SELECT each.value FROM {each:$1})`)
)

// Run expires idle sessions and removes released objects until ctx ends. Any number of replicas may do so at once. It
// returns nil: what fails is logged and tried again.
func (s *Service) Run(ctx context.Context) error {
	for {
		if err := s.Tidy(ctx); err != nil && ctx.Err() == nil {
			s.Logger.WarnContext(ctx, "tidy up uploads", "error", err)
		}
		timer := time.NewTimer(janitorInterval/2 + rand.N(janitorInterval)) // spreads replicas out
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-timer.C:
		}
	}
}

// Tidy does one round of what Run does: everything that is due when it is called.
func (s *Service) Tidy(ctx context.Context) error {
	return errors.Join(s.expire(ctx), s.sweep(ctx))
}

// expire removes sessions that were idle for longer than their TTL, those that ended included, and releases bytes that
// became no blob.
func (s *Service) expire(ctx context.Context) error {
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
	b.Exec(doomLosers, id, s.doomAt())
	b.Exec(deleteLosers, id)
	err := s.DB.Run(ctx, b)
	if err != nil && !errors.Is(err, errStale) {
		return fmt.Errorf("expire upload session: %w", err)
	}
	return nil
}

// sweep removes the objects whose time has come. Removing one twice does no harm, so replicas need not agree.
func (s *Service) sweep(ctx context.Context) (failed error) {
	for {
		keys, err := s.due(ctx)
		if err != nil || len(keys) == 0 {
			return err
		}
		removed := s.remove(ctx, keys)
		b := &database.Batch{}
		if removed == nil {
			b.Exec(forgetObjects, database.Strings(keys))
		} else { // whatever stands in the way of some must not stop the rest
			b.Exec(postponeObjects, database.Strings(keys), database.ToMicros(s.Clock().Add(postponement)))
		}
		if err := s.DB.Run(ctx, b); err != nil {
			return errors.Join(removed, fmt.Errorf("forget released objects: %w", err))
		}
		failed = errors.Join(failed, removed)
		if len(keys) < janitorBatch {
			return failed
		}
	}
}

func (s *Service) remove(ctx context.Context, keys []string) error {
	if err := s.Store.Delete(ctx, keys...); err != nil {
		return fmt.Errorf("remove released objects: %w", err)
	}
	return nil
}

func (s *Service) due(ctx context.Context) ([]string, error) {
	rows, err := s.DB.Query(ctx, dueObjects, s.now(), int64(janitorBatch))
	if err != nil {
		return nil, fmt.Errorf("list released objects: %w", err)
	}
	defer rows.Close()
	var keys []string
	for rows.Next() {
		var key string
		if err := rows.Scan(&key); err != nil {
			return nil, fmt.Errorf("list released objects: %w", err)
		}
		keys = append(keys, key)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("list released objects: %w", err)
	}
	return keys, nil
}
