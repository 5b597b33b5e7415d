package projects

import (
	"time"

	"github.com/google/uuid"

	"github.com/berthregistry/berth/internal/database"
	"github.com/berthregistry/berth/internal/rbac"
)

// expired reports whether the project is one that nobody claimed in time. It is gone, though its row may still be there.
func (p Project) expired(now time.Time) bool {
	return p.State == rbac.StateUnclaimed && !p.ExpiresAt.IsZero() && !now.Before(p.ExpiresAt)
}

var prolong = database.SQL(`
	UPDATE projects SET expires_at = $2 WHERE id = $1 AND state = 'unclaimed' AND expires_at < $3`)

// Prolong adds to b what a push does to the life of an unclaimed project: it begins anew. To keep the project's row from
// being written by every push, it does so only after a hundredth of that life. Add it before anything that locks the
// row for sharing, or two pushes could wait for each other.
func (s *Service) Prolong(b *database.Batch, projectID uuid.UUID) {
	now := s.now()
	until := now.Add(s.opts.UnclaimedTTL)
	b.Exec(prolong, projectID, database.ToMicros(until), database.ToMicros(until.Add(-s.opts.UnclaimedTTL/100)))
}
