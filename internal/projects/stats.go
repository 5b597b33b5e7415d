package projects

import (
	"errors"
	"sync/atomic"

	"github.com/berthregistry/berth/internal/recent"
)

// Stats counts what became of claims through this replica since the start.
type Stats struct {
	Claimed     uint64 // claims that won
	ClaimsLost  uint64 // claims of a project that somebody else had claimed
	ClaimErrors uint64 // all others that failed
	// The answers of the database that are remembered.
	Projects, Roles, Grants recent.Stats
}

// claims counts claims by their outcome.
type claims struct{ won, lost, failed atomic.Uint64 }

func (c *claims) count(err error) {
	switch {
	case err == nil:
		c.won.Add(1)
	case errors.Is(err, ErrClaimed):
		c.lost.Add(1)
	default:
		c.failed.Add(1)
	}
}

// Stats tells how claims went, and of how much use the memory is.
func (s *Service) Stats() Stats {
	return Stats{
		Claimed: s.claims.won.Load(), ClaimsLost: s.claims.lost.Load(), ClaimErrors: s.claims.failed.Load(),
		Projects: s.projects.cache.Stats(), Roles: s.roles.cache.Stats(), Grants: s.grants.cache.Stats(),
	}
}
