package content

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/berthregistry/berth/internal/database"
)

const (
	// pullSample is how exact the time of a last pull is: within it, no pull of the same manifest is written again.
	pullSample = time.Hour
	// pullInterval is how long a pull stays in memory before it is written.
	pullInterval = 20 * time.Second
	// maxPulls bounds what is in memory, and the statements of one transaction. More manifests than these, first pulled
	// within one interval, are noted at their next pull.
	maxPulls = 2000
	// lastFlush is how long a stopping server tries to write what it has in memory.
	lastFlush = 5 * time.Second
)

// pulls is when manifests were last pulled, as far as it is not written yet. The zero value is ready.
type pulls struct {
	mu    sync.Mutex
	noted map[manifestKey]int64
}

// note keeps the later time, if there is room.
func (p *pulls) note(key manifestKey, at int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	before, known := p.noted[key]
	if !known && len(p.noted) >= maxPulls || before >= at {
		return
	}
	if p.noted == nil {
		p.noted = make(map[manifestKey]int64)
	}
	p.noted[key] = at
}

func (p *pulls) take() map[manifestKey]int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	taken := p.noted
	p.noted = nil
	return taken
}

// Pulled notes that a manifest was pulled, for last_pulled_at of it and of its repository. It asks the database nothing:
// Run writes what is noted, and nothing is noted within an hour of what the manifest's row said.
func (s *Store) Pulled(m Manifest) {
	now := s.Clock()
	if m.lastPulled > database.ToMicros(now.Add(-pullSample)) {
		return
	}
	s.pulls.note(manifestKey{m.Repository, m.Digest}, database.ToMicros(now))
}

var (
	touchRepository = database.SQL(`
		UPDATE repositories SET last_pulled_at = $2 WHERE id = $1 AND coalesce(last_pulled_at, 0) < $3`)
	touchManifest = database.SQL(`
		UPDATE manifests SET last_pulled_at = $3 WHERE repository_id = $1 AND digest = $2 AND coalesce(last_pulled_at, 0) < $4`)
)

// FlushPulls writes what Pulled noted, in one transaction. Another replica may have written the same. What an error kept
// from being written is noted again. Errors: the context's and the database's.
func (s *Store) FlushPulls(ctx context.Context) error {
	taken := s.pulls.take()
	if len(taken) == 0 {
		return nil
	}
	if err := s.DB.Run(ctx, pullBatch(taken)); err != nil {
		for key, at := range taken {
			s.pulls.note(key, at)
		}
		return fmt.Errorf("write last pulls: %w", err)
	}
	return nil
}

// pullBatch touches rows in the order in which every transaction locks them: repositories, then manifests, and either
// in one order on all replicas.
func pullBatch(taken map[manifestKey]int64) *database.Batch {
	keys := make([]manifestKey, 0, len(taken))
	repositories := make(map[uuid.UUID]int64)
	for key, at := range taken {
		keys = append(keys, key)
		repositories[key.repository] = max(at, repositories[key.repository])
	}
	slices.SortFunc(keys, func(a, b manifestKey) int {
		if c := bytes.Compare(a.repository[:], b.repository[:]); c != 0 {
			return c
		}
		return strings.Compare(string(a.digest), string(b.digest))
	})
	b := &database.Batch{}
	for i, key := range keys {
		if i == 0 || keys[i-1].repository != key.repository {
			at := repositories[key.repository]
			b.Exec(touchRepository, key.repository, at, at-pullSample.Microseconds())
		}
	}
	for _, key := range keys {
		at := taken[key]
		b.Exec(touchManifest, key.repository, string(key.digest), at, at-pullSample.Microseconds())
	}
	return b
}

// Run writes when manifests were last pulled, until ctx ends and once more then. It returns nil: what fails is logged
// and tried again.
func (s *Store) Run(ctx context.Context) error {
	flushEvery(ctx, pullInterval, func(ctx context.Context) {
		if err := s.FlushPulls(ctx); err != nil && ctx.Err() == nil {
			s.Logger.WarnContext(ctx, "write last pulls", "error", err)
		}
	})
	return nil
}

// flushEvery calls flush at an interval, and a last time after ctx has ended.
func flushEvery(ctx context.Context, interval time.Duration, flush func(context.Context)) {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for ctx.Err() == nil {
		select {
		case <-ticker.C:
			flush(ctx)
		case <-ctx.Done():
		}
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastFlush)
	defer cancel()
	flush(last)
}
