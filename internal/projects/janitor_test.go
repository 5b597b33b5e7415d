package projects

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"github.com/berthregistry/berth/internal/database"
	"github.com/berthregistry/berth/internal/database/dbtest"
	"github.com/berthregistry/berth/internal/rbac"
)

func (f *fixture) tidy() {
	f.t.Helper()
	f.must(f.Janitor(slog.New(slog.DiscardHandler)).Tidy(f.t.Context()))
}

func TestTheJanitorDeletesWhatExpired(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		old := f.ensure("old", anonymous)
		claimed := f.ensure("claimed", anonymous)
		f.claim(claimed, f.user(), false)
		f.ensure("active", f.user())
		f.clock.advance(time.Second)
		fresh := f.ensure("fresh", anonymous)
		f.clock.advance(DefaultUnclaimedTTL - time.Second - time.Microsecond)
		f.tidy()
		if got := f.resolve("old"); got != old {
			t.Errorf("too early: %+v", got)
		}
		f.clock.advance(time.Microsecond)
		f.tidy()
		want := old
		want.State, want.Slug, want.Epoch, want.Version = rbac.StateDeleted, "", old.Epoch+1, old.Version+1
		want.UpdatedAt, want.DeletedAt, want.PurgeAfter, want.ExpiresAt = f.clock.Now(), f.clock.Now(), f.clock.Now(), time.Time{}
		if got := f.resolve(old.ID.String()); got != want {
			t.Errorf("%+v, want %+v", got, want)
		}
		if _, err := f.Restore(t.Context(), nil, old.ID, "old"); !errors.Is(err, ErrNotFound) {
			t.Errorf("restored: %v", err)
		}
		if got := f.ensure("old", anonymous); got.ID == old.ID {
			t.Error("the slug is not free")
		}
		f.claimed(t, fresh)
		f.claimed(t, claimed)
		if f.count(countReserved) != 0 {
			t.Error("a slug is reserved")
		}
	})
}

func TestTheJanitorTakesAllThatIsDue(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		const n = 2*janitorBatch + 1
		var b database.Batch
		for i := range n {
			b.Exec(insertUnclaimed, uuid.Must(uuid.NewV7()), fmt.Sprintf("project%d", i), database.ToMicros(f.clock.Now()))
		}
		f.must(f.db.Run(t.Context(), &b))
		var wg sync.WaitGroup
		for _, replica := range []*fixture{f, f.replica(), f.replica()} {
			wg.Go(replica.tidy)
		}
		wg.Wait()
		f.tidy() // what one replica left to another is gone, too
		if got := f.count(countDeleted); got != n {
			t.Errorf("%d of %d", got, n)
		}
		if got := f.count(countEpochs); got != n {
			t.Errorf("epochs rose %d times for %d projects", got, n)
		}
	})
}

var (
	insertUnclaimed = database.SQL(`
		INSERT INTO projects (id, slug, state, created_by, created_at, updated_at, expires_at, epoch)
		VALUES ($1, $2, 'unclaimed', 'anonymous', 1, 1, $3, 0)`)
	countDeleted = database.SQL(`SELECT count(*) FROM projects WHERE state = 'deleted' AND slug IS NULL`)
	countEpochs  = database.SQL(`SELECT CAST(sum(epoch) AS bigint) FROM projects`)
)

// TestAPushAndTheJanitorFollowEachOther at the moment of expiry: the push is whole and the project lives on, or the
// project is gone and the push has failed.
func TestAPushAndTheJanitorFollowEachOther(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		replica, survived := f.replica(), 0
		for i := range 30 {
			p := f.ensure(fmt.Sprintf("project%d", i), anonymous)
			f.clock.advance(DefaultUnclaimedTTL)
			var pushed error
			begin := make(chan struct{})
			var wg sync.WaitGroup
			wg.Go(func() {
				<-begin
				var b database.Batch
				f.Prolong(&b, p.ID)
				RequireState(&b, p.ID, p.Epoch, p.State)
				pushed = f.db.Run(t.Context(), &b)
			})
			wg.Go(func() { <-begin; replica.tidy() })
			close(begin)
			wg.Wait()
			got, err := f.Get(t.Context(), p.ID.String())
			switch {
			case err == nil && pushed == nil && got.State == rbac.StateUnclaimed && got.Slug == p.Slug && got.Epoch == p.Epoch:
				survived++
			case err == nil && errors.Is(pushed, ErrChanged) && got.State == rbac.StateDeleted && got.Epoch == p.Epoch+1:
			default:
				t.Errorf("round %d: pushed %v, then %+v, %v", i, pushed, got, err)
			}
		}
		t.Logf("%d of 30 projects survived", survived)
	})
}

// TestTheJanitorLeavesALockedProject to whoever holds it.
func TestTheJanitorLeavesALockedProject(t *testing.T) {
	db := dbtest.Postgres(t)
	f := newFixture(t, db, Options{UnclaimedPush: true})
	held, other := f.ensure("held", anonymous), f.ensure("other", anonymous)
	f.clock.advance(DefaultUnclaimedTTL)
	tx := db.Gorm().WithContext(t.Context()).Begin()
	f.must(tx.Error)
	f.must(tx.Exec(`UPDATE projects SET expires_at = expires_at + 1 WHERE id = ?`, held.ID).Error)
	f.tidy()
	f.must(tx.Commit().Error)
	got, err := f.Get(t.Context(), other.ID.String())
	if err != nil || got.State != rbac.StateDeleted || f.count(countDeleted) != 1 {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestTheJanitorEndsReservations(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		owner := f.user()
		p, unclaimed := f.ensure("demo", owner), f.ensure("unclaimed", anonymous)
		f.change(p.ID, Change{Slug: to("renamed")})
		f.delete(unclaimed.ID)
		f.tidy()
		if n := f.count(countReserved); n != 2 { // one for the owner, one for a restoration
			t.Errorf("%d reservations", n)
		}
		f.clock.advance(DefaultTrashTTL)
		f.tidy()
		if n := f.count(countReserved); n != 1 {
			t.Errorf("%d reservations after the recovery period", n)
		}
		f.clock.advance(reservation)
		f.tidy()
		if n := f.count(countReserved); n != 0 {
			t.Errorf("%d reservations in the end", n)
		}
	})
}

func TestTheJanitorGoesOnUntilItIsStopped(t *testing.T) {
	db := dbtest.SQLite(t)
	f := newFixture(t, db, Options{UnclaimedPush: true})
	f.must(db.Close()) // every round fails
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		rounds := &counter{}
		done := make(chan error, 1)
		go func() { done <- f.Janitor(slog.New(rounds)).Run(ctx) }()
		time.Sleep(10 * janitorInterval)
		cancel()
		if err := <-done; err != nil || rounds.n < 6 {
			t.Errorf("%v after %d rounds", err, rounds.n)
		}
	})
}

// counter is a log that counts its lines.
type counter struct{ n int }

func (*counter) Enabled(context.Context, slog.Level) bool    { return true }
func (c *counter) Handle(context.Context, slog.Record) error { c.n++; return nil }
func (c *counter) WithAttrs([]slog.Attr) slog.Handler        { return c }
func (c *counter) WithGroup(string) slog.Handler             { return c }
