package projects

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/berthregistry/berth/internal/database"
	"github.com/berthregistry/berth/internal/database/dbtest"
	"github.com/berthregistry/berth/internal/rbac"
)

func TestAProjectHasTwoNames(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		p := f.ensure("demo", f.user())
		for _, segment := range []string{"demo", p.ID.String()} {
			if got := f.resolve(segment); got != p {
				t.Errorf("%s: %+v, want %+v", segment, got, p)
			}
		}
	})
}

func TestWhatIsNotThere(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.ensure("demo", f.user())
		for segment, trips := range map[string]int64{
			"missing": 1, uuid.Must(uuid.NewV7()).String(): 1, "docs": 1,
			"": 0, "Demo": 0, "a..b": 0, "demo/app": 0, uuid.Nil.String(): 0, strings.Repeat("x", 1<<20): 0,
		} {
			_, _ = f.Resolve(t.Context(), "prepares")
			_, _ = f.Resolve(t.Context(), uuid.Must(uuid.NewV7()).String())
			if n := f.trips(func() {
				if p, err := f.Resolve(t.Context(), segment); !errors.Is(err, ErrNotFound) || p != (Project{}) {
					t.Errorf("%.40q: %v, %v", segment, p, err)
				}
			}); n != trips {
				t.Errorf("%.40q: %d round trips, want %d", segment, n, trips)
			}
		}
	})
}

func TestAbsenceIsNotRemembered(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		owner := f.user()
		if _, err := f.Resolve(t.Context(), "demo"); !errors.Is(err, ErrNotFound) {
			t.Fatal(err)
		}
		p := f.replica().ensure("demo", owner)
		if got := f.resolve("demo"); got != p {
			t.Errorf("%+v", got)
		}
		viewer := f.user()
		if got := f.role(p.ID, viewer); got != rbac.RoleNone {
			t.Errorf("role %q", got)
		}
		f.exec(insertMember, p.ID, viewer.UserID, "viewer")
		if got := f.role(p.ID, viewer); got != rbac.RoleViewer {
			t.Errorf("role %q", got)
		}
	})
}

func TestAnswersAreReadOnceWithinTheCachesLife(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		owner := f.user()
		p := f.ensure("demo", owner)
		asks := map[string]func(){
			"by slug": func() { f.resolve("demo") }, "by identifier": func() { f.resolve(p.ID.String()) },
			"role": func() { f.role(p.ID, owner) },
		}
		for _, ask := range asks { // prepares the statements
			ask()
		}
		for name, ask := range asks {
			if n := f.trips(ask); n != 0 {
				t.Errorf("%s: %d round trips when warm", name, n)
			}
		}
		f.clock.advance(DefaultCacheTTL)
		for name, ask := range asks {
			if n := f.trips(ask); n != 1 {
				t.Errorf("%s: %d round trips when cold", name, n)
			}
		}
	})
}

func TestAHerdAsksOnce(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		p := f.ensure("demo", f.user())
		f.resolve("demo")
		f.clock.advance(DefaultCacheTTL)
		if n := f.trips(func() {
			var wg sync.WaitGroup
			for range 100 {
				wg.Go(func() {
					if got, err := f.Resolve(t.Context(), "demo"); got != p || err != nil {
						t.Error(got, err)
					}
				})
			}
			wg.Wait()
		}); n != 1 {
			t.Errorf("%d round trips", n)
		}
	})
}

func TestAChangeIsSeen(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		owner := f.user()
		p := f.ensure("demo", owner)
		there := f.replica()
		ask := func(r *fixture) (Project, rbac.Role) { return r.resolve("demo"), r.role(p.ID, owner) }
		ask(f)
		ask(there)
		f.exec(suspendProject, p.ID, "abuse")
		f.exec(deleteMember, p.ID, owner.UserID)
		f.Forget(p.ID)
		changed := p
		changed.State, changed.Epoch, changed.SuspendedReason = rbac.StateSuspended, p.Epoch+1, "abuse"
		if got, role := ask(f); got != changed || role != rbac.RoleNone {
			t.Errorf("at once, here: %+v, %q", got, role)
		}
		f.clock.advance(DefaultCacheTTL - 1)
		if got, role := ask(there); got != p || role != rbac.RoleOwner {
			t.Errorf("within the cache's life, there: %+v, %q", got, role)
		}
		f.clock.advance(1)
		if got, role := ask(there); got != changed || role != rbac.RoleNone {
			t.Errorf("at its end, there: %+v, %q", got, role)
		}
	})
}

// Forget must also reach an answer that was asked for before the change and arrives after it.
func TestForgetReachesAnAnswerThatIsOnItsWay(t *testing.T) {
	f := &forgets{}
	m := newMemory[string, int](f, Options{CacheTTL: time.Hour, Clock: time.Now})
	id, other := uuid.UUID{15: 1}, uuid.UUID{15: 2}
	asked := 0
	get := func(during func()) {
		t.Helper()
		got, err := m.get(t.Context(), "key", func(context.Context) (int, uuid.UUID, error) {
			asked++
			answer := asked
			during()
			return answer, id, nil
		}, nil)
		if err != nil || got != asked {
			t.Fatalf("answer %d, %v; asked %d times", got, err, asked)
		}
	}
	nothing := func() {}
	changes := 1
	get(func() {
		if changes > 0 {
			changes--
			f.add(id)
		}
	})
	if asked != 2 {
		t.Errorf("asked %d times: the answer from before the change was used", asked)
	}
	f.add(other)
	if get(nothing); asked != 2 {
		t.Error("another project's change dropped the answer")
	}
	f.add(id)
	if get(nothing); asked != 3 {
		t.Error("the answer from before the change was kept")
	}
}

func TestOtherProjectsAreNotForgotten(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		owner := f.user()
		p := f.ensure("demo", owner)
		f.resolve("demo")
		other := p.ID
		other[15]++
		f.Forget(other)
		if n := f.trips(func() { f.resolve("demo") }); n != 0 {
			t.Errorf("%d round trips", n)
		}
	})
}

func TestADeletedProjectIsFoundByItsIdentifierOnly(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		p := f.ensure("demo", f.user())
		f.exec(deleteProject, p.ID)
		if _, err := f.Resolve(t.Context(), "demo"); !errors.Is(err, ErrNotFound) {
			t.Error(err)
		}
		if got := f.resolve(p.ID.String()); got.State != rbac.StateDeleted || got.Slug != "" {
			t.Errorf("%+v", got)
		}
	})
}

func TestAnUnclaimedProjectExpiresInTime(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		p := f.ensure("demo", anonymous)
		f.clock.advance(DefaultUnclaimedTTL - time.Microsecond)
		f.resolve("demo")
		f.resolve(p.ID.String())
		f.clock.advance(time.Microsecond)
		for _, segment := range []string{"demo", p.ID.String()} {
			if _, err := f.Resolve(t.Context(), segment); !errors.Is(err, ErrNotFound) {
				t.Errorf("%s: %v", segment, err)
			}
		}
	})
}

func TestAPushProlongsAnUnclaimedProject(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		p := f.ensure("demo", anonymous)
		push := func() {
			var b database.Batch
			f.Prolong(&b, p.ID)
			f.must(f.db.Run(t.Context(), &b))
		}
		f.clock.advance(DefaultUnclaimedTTL / 100) // not yet worth a write
		push()
		if got := f.resolve("demo"); got != p {
			t.Errorf("%+v, want %+v", got, p)
		}
		f.clock.advance(DefaultUnclaimedTTL - DefaultUnclaimedTTL/100 - time.Second)
		f.resolve("demo") // cached as about to expire
		push()
		f.clock.advance(time.Second)
		if got := f.resolve("demo"); !got.ExpiresAt.Equal(f.clock.Now().Add(DefaultUnclaimedTTL - time.Second)) {
			t.Errorf("expires %s", got.ExpiresAt)
		}
	})
}

func TestAClaimedProjectDoesNotExpire(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		p := f.ensure("demo", anonymous)
		f.exec(claimProject, p.ID, f.user().AccountID)
		var b database.Batch
		f.Prolong(&b, p.ID)
		f.must(f.db.Run(t.Context(), &b))
		f.clock.advance(100 * DefaultUnclaimedTTL)
		if got := f.resolve("demo"); got.State != rbac.StateActive || !got.ExpiresAt.IsZero() || got.Epoch != p.Epoch+1 {
			t.Errorf("%+v", got)
		}
	})
}

func TestEveryRoleIsRead(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		p := f.ensure("demo", f.user())
		for _, want := range []rbac.Role{rbac.RoleViewer, rbac.RoleDeveloper, rbac.RoleMaintainer, rbac.RoleOwner} {
			member := f.user()
			f.exec(insertMember, p.ID, member.UserID, string(want))
			if got := f.role(p.ID, member); got != want {
				t.Errorf("%q, want %q", got, want)
			}
			if got := f.role(f.ensure("other", f.user()).ID, member); got != rbac.RoleNone {
				t.Errorf("%q in another project", got)
			}
		}
	})
}

// What the database cannot answer is not missing.
func TestADatabaseThatIsDownIsNotAnAbsence(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		owner := f.user()
		p := f.ensure("demo", owner)
		f.must(f.db.Close())
		_, resolve := f.Resolve(t.Context(), "demo2")
		_, byID := f.Resolve(t.Context(), p.ID.String())
		_, role := f.Role(t.Context(), p.ID, owner.UserID)
		_, ensure := f.Ensure(t.Context(), "demo2", owner)
		_, create := f.Create(t.Context(), NewProject{Slug: "demo2", By: owner})
		for name, err := range map[string]error{"Resolve": resolve, "by id": byID, "Role": role, "Ensure": ensure, "Create": create} {
			if !errors.Is(err, database.ErrUnavailable) || errors.Is(err, ErrNotFound) {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
}

func BenchmarkResolve(b *testing.B) {
	dbtest.EachBenchmark(b, func(b *testing.B, db *database.DB) {
		f := newFixture(b, db, Options{})
		owner := f.user()
		p := f.ensure("demo", owner)
		b.Run("warm", func(b *testing.B) {
			for b.Loop() {
				f.resolve("demo")
			}
		})
		b.Run("cold", func(b *testing.B) {
			for b.Loop() {
				f.Forget(p.ID)
				f.resolve("demo")
			}
		})
	})
}
