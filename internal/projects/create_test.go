package projects

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/berthregistry/berth/internal/database"
	"github.com/berthregistry/berth/internal/rbac"
)

func TestAUsersFirstPush(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		by := f.user()
		p := f.ensure("demo", by)
		want := Project{
			ID: p.ID, Slug: "demo", State: rbac.StateActive, Visibility: rbac.Private, Epoch: 1, AccountID: by.AccountID,
			Version: 1, CreatedAt: f.clock.Now(), UpdatedAt: f.clock.Now(),
		}
		if p != want || p.ID.Version() != 7 {
			t.Errorf("%+v, want %+v", p, want)
		}
		if f.role(p.ID, by) != rbac.RoleOwner || f.count(countOwner, p.ID, by.UserID, by.Principal) != 1 {
			t.Error("not the owner")
		}
		if f.count(createdBy, p.ID, by.Principal, database.ToMicros(f.clock.Now())) != 1 {
			t.Error("creator and time are not stored")
		}
	})
}

func TestAnAnonymousFirstPush(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		p := f.ensure("demo", anonymous)
		want := Project{
			ID: p.ID, Slug: "demo", State: rbac.StateUnclaimed, Visibility: rbac.Private, Epoch: 1,
			Version: 1, CreatedAt: f.clock.Now(), UpdatedAt: f.clock.Now(),
			ExpiresAt: f.clock.Now().Add(DefaultUnclaimedTTL).Truncate(time.Microsecond),
		}
		if p != want {
			t.Errorf("%+v, want %+v", p, want)
		}
		if f.count(countMembers) != 0 {
			t.Error("somebody is a member")
		}
	})
}

func TestAFirstPushIsOneTransaction(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		by := f.user()
		f.ensure("prepares", by)
		before := f.db.Commits()
		if n := f.trips(func() { f.ensure("demo", by) }); n != 2 { // looks, then creates
			t.Errorf("%d round trips", n)
		}
		if n := f.db.Commits() - before; n != 1 {
			t.Errorf("%d commits", n)
		}
	})
}

func TestAProjectThatIsThereIsTheAnswer(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		p := f.ensure("demo", f.user())
		for name, by := range map[string]Creator{"anonymous": anonymous, "another user": f.user()} {
			if got := f.ensure("demo", by); got != p {
				t.Errorf("%s: %+v", name, got)
			}
			if got := f.ensure(p.ID.String(), by); got != p {
				t.Errorf("%s, by identifier: %+v", name, got)
			}
		}
		if f.count(countMembers) != 1 {
			t.Error("somebody became a member")
		}
	})
}

// TestParallelFirstPushes is 20 layers pushed at once, to two replicas, by different callers.
func TestParallelFirstPushes(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		replicas := []*fixture{f, f.replica()}
		owner := f.user()
		for name, callers := range map[string][]Creator{
			"one-user": {owner}, "anonymous-callers": {anonymous}, "both": {owner, anonymous}, "two-users": {owner, f.user()},
		} {
			before := f.count(countProjects)
			got := make([]Project, 20)
			var wg sync.WaitGroup
			for i := range got {
				by, replica := callers[i%len(callers)], replicas[i%2]
				wg.Go(func() {
					var err error
					if got[i], err = replica.Ensure(t.Context(), name, by); err != nil {
						t.Errorf("%s: %v", name, err)
					}
				})
			}
			wg.Wait()
			for _, p := range got {
				if p != got[0] || p.ID == uuid.Nil {
					t.Fatalf("%s: %+v and %+v", name, p, got[0])
				}
			}
			if n := f.count(countProjects) - before; n != 1 {
				t.Errorf("%s: %d projects", name, n)
			}
			if got[0].State == rbac.StateActive && f.count(countMembersOf, got[0].ID) != 1 {
				t.Errorf("%s: not one member", name)
			}
			if got[0].State == rbac.StateUnclaimed && f.count(countMembersOf, got[0].ID) != 0 {
				t.Errorf("%s: an unclaimed project has members", name)
			}
		}
	})
}

var countMembersOf = database.SQL(`SELECT count(*) FROM members WHERE project_id = $1`)

func TestWhoMayNotCreate(t *testing.T) {
	random := "ci-0123456789abcdef0123456789abcdef"
	for _, c := range []struct {
		name, slug string
		opts       Options
		by         Creator
		want       error
	}{
		{"unclaimed push is off", "demo", Options{}, anonymous, ErrCreateForbidden},
		{"and random does not help", random, Options{}, anonymous, ErrCreateForbidden},
		{"not random", "demo", Options{UnclaimedPush: true, UnclaimedSlugs: SlugsRandom}, anonymous, ErrCreateForbidden},
		{"unknown setting", "demo", Options{UnclaimedPush: true, UnclaimedSlugs: "evrything"}, anonymous, ErrCreateForbidden},
		{"random", random, Options{UnclaimedPush: true, UnclaimedSlugs: SlugsRandom}, anonymous, nil},
		{"nobody", "demo", Options{UnclaimedPush: true}, Creator{}, ErrCreateForbidden},
		{"no account", "demo", Options{UnclaimedPush: true}, Creator{Principal: "user:x", UserID: uuid.New()}, ErrCreateForbidden},
		{"reserved", "docs", Options{UnclaimedPush: true}, anonymous, ErrSlugReserved},
		{"malformed", "a..b", Options{UnclaimedPush: true}, anonymous, ErrSlugInvalid},
		{"too short", "a", Options{UnclaimedPush: true}, anonymous, ErrSlugInvalid},
		{"identifier", uuid.Must(uuid.NewV7()).String(), Options{UnclaimedPush: true}, anonymous, ErrNotFound},
		{"identifier in capitals", "0192F0C1-D2E3-7A4B-8C5D-6E7F80910111", Options{UnclaimedPush: true}, anonymous, ErrNotFound},
	} {
		t.Run(c.name, func(t *testing.T) {
			eachWith(t, c.opts, func(t *testing.T, f *fixture) {
				p, err := f.Ensure(t.Context(), c.slug, c.by)
				if !errors.Is(err, c.want) || (err == nil) != (p.ID != uuid.Nil) {
					t.Errorf("%+v, %v; want %v", p, err, c.want)
				}
				if n := f.count(countProjects); (n == 1) != (c.want == nil) {
					t.Errorf("%d projects", n)
				}
			})
		})
	}
}

// A user whose account is gone gets no half of a project.
func TestACreationIsWhole(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		for name, by := range map[string]Creator{
			"no such account": {Principal: "user:x", UserID: f.user().UserID, AccountID: uuid.New()},
			"no such user":    {Principal: "user:x", UserID: uuid.New(), AccountID: f.user().AccountID},
		} {
			if _, err := f.Ensure(t.Context(), "demo", by); !errors.Is(err, database.ErrForeignKey) {
				t.Errorf("%s: %v", name, err)
			}
		}
		if f.count(countProjects)+f.count(countMembers) != 0 {
			t.Error("something was created")
		}
	})
}

func TestTheSlugOfAnExpiredProjectIsFreeAtOnce(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		old := f.ensure("demo", anonymous)
		f.resolve("demo") // cached
		f.clock.advance(DefaultUnclaimedTTL)
		owner, created := f.user(), sync.Map{}
		var wg sync.WaitGroup
		for range 20 {
			wg.Go(func() {
				p, err := f.Ensure(t.Context(), "demo", owner)
				if err != nil {
					t.Error(err)
				}
				created.Store(p.ID, true)
			})
		}
		wg.Wait()
		p := f.resolve("demo")
		if _, ok := created.Load(p.ID); !ok || p.ID == old.ID || p.State != rbac.StateActive {
			t.Errorf("%+v", p)
		}
		if n := f.count(countProjects); n != 2 {
			t.Errorf("%d projects", n)
		}
		gone := f.resolve(old.ID.String())
		if gone.State != rbac.StateDeleted || gone.Epoch != old.Epoch+1 || gone.Slug != "" {
			t.Errorf("the expired one: %+v", gone)
		}
	})
}

// What was claimed in the last moment is nobody else's.
func TestAClaimedProjectKeepsItsSlug(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		p := f.ensure("demo", anonymous)
		f.exec(claimProject, p.ID, f.user().AccountID)
		f.clock.advance(DefaultUnclaimedTTL)
		if got := f.ensure("demo", f.user()); got.ID != p.ID {
			t.Errorf("%+v", got)
		}
	})
}

func TestAReservedSlugIsItsLastOwners(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		owner, reservedUntil := f.user(), f.clock.Now().Add(90*24*time.Hour)
		reserve := func(slug string, account uuid.NullUUID) {
			f.exec(reserveSlug, slug, uuid.Must(uuid.NewV7()), account, database.ToMicros(reservedUntil))
		}
		own := uuid.NullUUID{UUID: owner.AccountID, Valid: true}
		for _, slug := range []string{"one", "two", "three"} {
			reserve(slug, own)
		}
		reserve("nobodys", uuid.NullUUID{})
		refused := func(slug string, by Creator) {
			t.Helper()
			if p, err := f.Ensure(t.Context(), slug, by); !errors.Is(err, ErrSlugReserved) {
				t.Errorf("%s: %+v, %v", slug, p, err)
			}
		}
		refused("one", anonymous)
		refused("one", f.user())
		for _, by := range []Creator{anonymous, owner, f.user()} {
			refused("nobodys", by)
		}
		if f.count(countProjects)+f.count(countMembers) != 0 {
			t.Fatal("something was created")
		}
		if p := f.ensure("one", owner); p.AccountID != owner.AccountID {
			t.Errorf("%+v", p)
		}
		if n := f.count(countReserved); n != 3 {
			t.Errorf("%d reservations left", n)
		}
		f.clock.advance(reservedUntil.Sub(f.clock.Now()) - time.Microsecond)
		refused("two", anonymous)
		f.clock.advance(time.Microsecond)
		f.ensure("two", anonymous)
		f.ensure("three", f.user())
		f.ensure("nobodys", anonymous)
		if n := f.count(countReserved); n != 0 {
			t.Errorf("%d reservations left", n)
		}
	})
}

// A reservation that was forgotten when its slug was taken again must not lock anybody out of what is there.
func TestAStaleReservationDoesNotHideAProject(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		p := f.ensure("demo", f.user())
		until := database.ToMicros(f.clock.Now().Add(time.Hour))
		f.exec(reserveSlug, "demo", p.ID, uuid.NullUUID{UUID: f.user().AccountID, Valid: true}, until)
		got, err := f.create(t.Context(), NewProject{Slug: "demo", By: anonymous}, false)
		if err != nil || got != p {
			t.Errorf("%+v, %v", got, err)
		}
		if n := f.count(countReserved); n != 1 {
			t.Errorf("%d reservations", n)
		}
	})
}

// TestASlugThatIsFreedAndReservedAtOnce lets owners delete their projects while strangers wait for the names.
func TestASlugThatIsFreedAndReservedAtOnce(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		owner, stranger := f.user(), f.user()
		for i := range 10 {
			slug := fmt.Sprintf("demo-%d", i)
			p := f.ensure(slug, owner)
			until := database.ToMicros(f.clock.Now().Add(time.Hour))
			var wg sync.WaitGroup
			wg.Go(func() {
				var b database.Batch
				b.Exec(deleteProject, p.ID)
				b.Exec(reserveSlug, slug, p.ID, uuid.NullUUID{UUID: owner.AccountID, Valid: true}, until)
				if err := f.db.Run(t.Context(), &b); err != nil {
					t.Error(err)
				}
			})
			for range 5 {
				wg.Go(func() {
					got, err := f.create(t.Context(), NewProject{Slug: slug, By: stranger}, false)
					if err == nil && got.ID != p.ID {
						t.Errorf("a stranger took %s", slug)
					} else if err != nil && !errors.Is(err, ErrSlugReserved) {
						t.Error(err)
					}
				})
			}
			wg.Wait()
		}
	})
}

func TestCreateMakesANewProjectOnly(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		by := f.user()
		p, err := f.Create(t.Context(), NewProject{Slug: "demo", Visibility: rbac.Public, By: by})
		f.must(err)
		if p.Visibility != rbac.Public || p.State != rbac.StateActive || f.role(p.ID, by) != rbac.RoleOwner {
			t.Errorf("%+v", p)
		}
		for name, c := range map[string]struct {
			n    NewProject
			want error
		}{
			"taken":     {NewProject{Slug: "demo", By: by}, ErrSlugTaken},
			"reserved":  {NewProject{Slug: "api", By: by}, ErrSlugReserved},
			"malformed": {NewProject{Slug: "API", By: by}, ErrSlugInvalid},
			"anonymous": {NewProject{Slug: "demo2", By: anonymous}, ErrCreateForbidden},
		} {
			if got, err := f.Create(t.Context(), c.n); !errors.Is(err, c.want) || got != (Project{}) {
				t.Errorf("%s: %+v, %v", name, got, err)
			}
		}
		if n := f.count(countProjects); n != 1 {
			t.Errorf("%d projects", n)
		}
	})
}

func TestOneOfManyCreatesANewProject(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		by := f.user()
		var created, taken atomic.Int64
		var wg sync.WaitGroup
		for range 20 {
			wg.Go(func() {
				switch _, err := f.Create(t.Context(), NewProject{Slug: "demo", By: by}); {
				case err == nil:
					created.Add(1)
				case errors.Is(err, ErrSlugTaken):
					taken.Add(1)
				default:
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if created.Load() != 1 || taken.Load() != 19 {
			t.Errorf("%d created, %d taken", created.Load(), taken.Load())
		}
	})
}

func TestANewProjectIsSeenAtOnce(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		by := f.user()
		for i := range 20 {
			slug := fmt.Sprintf("demo-%d", i)
			var wg sync.WaitGroup
			for range 5 { // keeps asking while the project is made
				wg.Go(func() {
					for {
						if _, err := f.Resolve(t.Context(), slug); err == nil {
							return
						} else if !errors.Is(err, ErrNotFound) {
							t.Error(err)
							return
						}
					}
				})
			}
			p, err := f.Ensure(t.Context(), slug, by)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := f.Resolve(t.Context(), slug); got != p || err != nil {
				t.Errorf("%+v, %v", got, err)
			}
			wg.Wait()
		}
	})
}
