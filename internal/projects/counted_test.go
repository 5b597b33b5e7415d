package projects

import (
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/uuid"

	"github.com/berthregistry/berth/internal/database"
	"github.com/berthregistry/berth/internal/limits"
)

var (
	overrideProjects = database.SQL(`
		INSERT INTO limit_overrides (subject_id, subject_kind, name, value, created_by, created_at) VALUES ($1, 'user', 'projects', $2, 'test', 1)`)
	countLiveOf = database.SQL(`SELECT count(*) FROM projects WHERE account_id = $1 AND state <> 'deleted'`)
)

// TestARestorationIsCounted: what comes back needs a place among the projects of its account, as what is new does.
func TestARestorationIsCounted(t *testing.T) {
	eachWith(t, Options{UnclaimedPush: true, Limits: limits.Server{Projects: 1}}, func(t *testing.T, f *fixture) {
		ctx, owner := t.Context(), f.user()
		one, nobodys := f.ensure("one", owner), f.ensure("nobodys", anonymous)
		f.delete(one.ID)
		f.delete(nobodys.ID)
		f.ensure("two", owner)
		full := func(err error, numbers string) {
			t.Helper()
			if !errors.Is(err, limits.ErrExceeded) || !strings.Contains(err.Error(), numbers) {
				t.Errorf("%v, want %q", err, numbers)
			}
		}
		_, err := f.Restore(ctx, nil, one.ID, "")
		full(err, "there are 1, and 1 are allowed")
		_, err = f.Ensure(ctx, "three", owner)
		full(err, "there are 1, and 1 are allowed")
		f.restore(nobodys.ID, "") // of no account
		f.exec(overrideProjects, owner.UserID, 2)
		var done atomic.Int64
		var all sync.WaitGroup
		for _, act := range []func() error{
			func() error { _, err := f.Restore(ctx, nil, one.ID, ""); return err },
			func() error { _, err := f.replica().Ensure(ctx, "three", owner); return err },
			func() error { _, err := f.replica().Ensure(ctx, "a"+uuid.NewString()[:8], owner); return err },
		} {
			all.Go(func() {
				if err := act(); err == nil {
					done.Add(1)
				} else if !errors.Is(err, limits.ErrExceeded) {
					t.Error(err)
				}
			})
		}
		all.Wait()
		if n := f.count(countLiveOf, owner.AccountID); n != 2 || done.Load() != 1 {
			t.Errorf("%d projects, %d were made at once", n, done.Load())
		}
	})
}
