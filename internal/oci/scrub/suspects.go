package scrub

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/google/uuid"
	"github.com/opencontainers/go-digest"

	"github.com/berthregistry/berth/internal/database"
)

const (
	// mostSuspects bounds the blobs that wait to be looked at, and those that are remembered not to look at them twice.
	mostSuspects = 256
	// mostConvicted is how many suspects a replica quarantines in an hour: where more are missing, it is the storage as a
	// whole, and somebody has to look.
	mostConvicted = 20
)

var blobByDigest = database.SQL(`SELECT id FROM blobs WHERE digest = $1`)

// Suspect says that a pull has come upon a blob whose object is not there, or too short. It never waits: the blob is looked
// at in the background, once between two polls, and forgotten where many wait already; the next pull tells again.
func (s *Scrubber) Suspect(d digest.Digest) {
	if !s.Enabled {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, known := s.suspected[d]; known || len(s.suspected) >= mostSuspects {
		return
	}
	select {
	case s.suspects <- d:
		s.suspected[d] = struct{}{}
	default:
	}
}

// forgetSuspects lets suspects be looked at again.
func (s *Scrubber) forgetSuspects() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.suspected)
}

func (s *Scrubber) lookAtSuspects(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case d := <-s.suspects:
			if err := s.lookAtSuspect(ctx, d); err != nil && ctx.Err() == nil {
				s.Logger.WarnContext(ctx, "look at a blob that a pull came upon",
					slog.String("digest", string(d)), slog.String("error", err.Error()))
			}
		}
	}
}

// lookAtSuspect asks only whether the objects are there, with their lengths: what a pull can have seen.
func (s *Scrubber) lookAtSuspect(ctx context.Context, d digest.Digest) error {
	var id uuid.UUID
	err := s.DB.QueryRow(ctx, blobByDigest, string(d)).Scan(&id)
	if errors.Is(err, database.ErrNoRows) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look up: %w", err)
	}
	r := s.reader(s.Rate, func(context.Context, int) error { return nil })
	r.probe = true
	b, found, result, err := r.look(ctx, id)
	if err != nil {
		return err
	}
	s.count(func(stats *Stats) { stats.Suspects++ })
	if result != damaged {
		return nil
	}
	if !s.mayConvict() {
		return errTooMany
	}
	same, err := s.condemn(ctx, b, found, uuid.Nil)
	if same && err == nil {
		figures := found.figure()
		figures.Blobs = 1
		s.count(func(stats *Stats) { stats.Total.add(figures) })
	}
	return err
}

var errTooMany = errors.New("too many blobs in an hour: look at the storage, then run berth scrub")

// mayConvict counts quarantines of an hour.
func (s *Scrubber) mayConvict() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if now := s.Clock(); now.Sub(s.hour) >= time.Hour {
		s.hour, s.convicted = now, 0
	}
	if s.convicted >= mostConvicted {
		return false
	}
	s.convicted++
	return true
}

// figure is the damage as a figure.
func (d *damage) figure() Figures {
	if d.kind == KindMissing {
		return Figures{Missing: 1}
	}
	return Figures{Damaged: 1}
}
