package projects

import (
	"sync"
	"testing"

	"github.com/berthregistry/berth/internal/audit"
	"github.com/berthregistry/berth/internal/database"
)

func (f *fixture) audited(action string) []audit.Record {
	f.t.Helper()
	found, err := audit.NewLog(f.db).Oldest(f.t.Context(), audit.Filter{Action: action}, database.Page{Limit: 1000})
	f.must(err)
	return found
}

// TestExpiryLeavesOneEntry: of the server itself, whether the janitor comes or somebody takes the slug first, and of any number
// of either at once.
func TestExpiryLeavesOneEntry(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		swept, taken := f.ensure("swept", anonymous), f.ensure("taken", anonymous)
		f.clock.advance(DefaultUnclaimedTTL)
		user := f.user()
		var all sync.WaitGroup
		for range 4 {
			all.Go(func() {
				if _, err := f.replica().Ensure(t.Context(), "taken", user); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		for range 4 {
			all.Go(func() { f.replica().tidy() })
		}
		all.Wait()
		expired := f.audited(audit.ProjectExpire)
		if len(expired) != 2 || expired[0].Project != taken.ID || expired[1].Project != swept.ID {
			t.Errorf("%+v, want %s and %s", expired, taken.ID, swept.ID)
		}
		for _, e := range expired {
			if e.Actor != audit.ActorSystem || e.Outcome != audit.OutcomeDone {
				t.Errorf("%+v", e)
			}
		}
		if created := f.audited(audit.ProjectCreate); len(created) != 3 {
			t.Errorf("%d creations, of which 4 were of one project: %+v", len(created), created)
		}
	})
}
