package auth

import (
	"context"
	"database/sql"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/berthregistry/berth/internal/database"
)

const (
	lastUseAge   = 5 * time.Minute  // a last use that is younger is not written anew
	lastUseEvery = 20 * time.Second // how often uses are written
	lastUseFlush = 5 * time.Second  // how long the last write may take when the server stops
	maxUses      = 1_000            // noted between two writes; more are not noted
)

// uses notes which tokens and sessions were used, until they are written together: no request waits for that.
type uses struct {
	now func() time.Time

	mu       sync.Mutex
	tokens   map[uuid.UUID]struct{}
	sessions map[uuid.UUID]struct{}
}

func newUses(now func() time.Time) *uses {
	return &uses{now: now, tokens: map[uuid.UUID]struct{}{}, sessions: map[uuid.UUID]struct{}{}}
}

// token notes the use of a token that was last used then, as far as is known.
func (u *uses) token(id uuid.UUID, last sql.Null[int64]) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.note(u.tokens, id, last)
}

// session notes the use of a session as token does.
func (u *uses) session(id uuid.UUID, last sql.Null[int64]) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.note(u.sessions, id, last)
}

func (u *uses) note(into map[uuid.UUID]struct{}, id uuid.UUID, last sql.Null[int64]) {
	old := !last.Valid || u.now().Sub(database.FromMicros(last.V)) > lastUseAge
	if old && len(into) < maxUses {
		into[id] = struct{}{}
	}
}

// take gives what was noted and forgets it.
func (u *uses) take() (tokens, sessions map[uuid.UUID]struct{}) {
	u.mu.Lock()
	defer u.mu.Unlock()
	tokens, sessions = u.tokens, u.sessions
	u.tokens, u.sessions = map[uuid.UUID]struct{}{}, map[uuid.UUID]struct{}{}
	return tokens, sessions
}

// A row that a transaction holds is skipped, for neither should wait for the other; its next use is noted again.
var (
	touchToken   = database.SQL(`UPDATE tokens SET last_used_at = $2 WHERE id = (SELECT id FROM tokens WHERE id = $1 {skip})`)
	touchSession = database.SQL(`UPDATE sessions SET last_used_at = $2 WHERE id = (SELECT id FROM sessions WHERE id = $1 {skip})`)
)

// LastUses is the work of writing when tokens and sessions were used last.
type LastUses struct{ service *Service }

// LastUses is work to run beside the service.
func (s *Service) LastUses() LastUses { return LastUses{service: s} }

// Run writes what was noted a few times a minute, and once more at the end, until ctx is done. It returns nil: what cannot
// be written is a sample, and the next use is noted again.
func (l LastUses) Run(ctx context.Context) error {
	ticker := time.NewTicker(lastUseEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			_ = l.service.writeUses(ctx)
		case <-ctx.Done():
			l.service.writeLastUses(ctx)
			return nil
		}
	}
}

// writeLastUses writes what was noted although ctx is done.
func (s *Service) writeLastUses(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastUseFlush)
	defer cancel()
	_ = s.writeUses(ctx)
}

// writeUses writes what was noted in one exchange, none if there is nothing.
func (s *Service) writeUses(ctx context.Context) error {
	tokens, sessions := s.used.take()
	now := database.ToMicros(s.now())
	var b database.Batch
	for id := range tokens {
		b.Exec(touchToken, id, now)
	}
	for id := range sessions {
		b.Exec(touchSession, id, now)
	}
	return s.db.Run(ctx, &b)
}
