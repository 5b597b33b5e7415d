package projects

import (
	"errors"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/berthregistry/berth/internal/database"
	"github.com/berthregistry/berth/internal/rbac"
)

func (f *fixture) delete(id uuid.UUID) Project {
	f.t.Helper()
	p, err := f.Delete(f.t.Context(), nil, id, 0)
	f.must(err)
	return p
}

func (f *fixture) restore(id uuid.UUID, slug string) Project {
	f.t.Helper()
	p, err := f.Restore(f.t.Context(), nil, id, slug)
	f.must(err)
	return p
}

func TestADeletedProjectCanBeRestored(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		owner := f.user()
		p := f.ensure("demo", owner)
		f.change(p.ID, Change{Slug: to("between")})
		p = f.change(p.ID, Change{Slug: to("final")})
		f.clock.advance(time.Second)
		want := p
		want.State, want.Slug, want.Epoch, want.Version = rbac.StateDeleted, "", p.Epoch+1, p.Version+1
		want.UpdatedAt, want.DeletedAt, want.PurgeAfter = f.clock.Now(), f.clock.Now(), f.clock.Now().Add(DefaultTrashTTL)
		if got := f.delete(p.ID); got != want {
			t.Errorf("%+v, want %+v", got, want)
		}
		if _, err := f.Resolve(t.Context(), "final"); !errors.Is(err, ErrNotFound) {
			t.Error(err)
		}
		if _, err := f.Get(t.Context(), "final"); !errors.Is(err, ErrNotFound) {
			t.Error(err)
		}
		if got, err := f.Get(t.Context(), p.ID.String()); err != nil || got != want {
			t.Errorf("%+v, %v", got, err)
		}
		if _, err := f.Create(t.Context(), NewProject{Slug: "final", By: f.user()}); !errors.Is(err, ErrSlugReserved) {
			t.Errorf("its slug: %v", err)
		}
		if _, err := f.Delete(t.Context(), nil, p.ID, 0); !errors.Is(err, ErrNotFound) {
			t.Errorf("deleted again: %v", err)
		}
		f.clock.advance(DefaultTrashTTL - time.Microsecond)
		p.Epoch, p.Version, p.UpdatedAt = p.Epoch+2, p.Version+2, f.clock.Now()
		if got := f.restore(p.ID, ""); got != p {
			t.Errorf("%+v, want %+v", got, p)
		}
		f.claimed(t, p)
		if f.role(p.ID, owner) != rbac.RoleOwner {
			t.Error("no owner")
		}
		if _, err := f.Restore(t.Context(), nil, p.ID, ""); !errors.Is(err, ErrNotFound) {
			t.Errorf("restored again: %v", err)
		}
	})
}

func TestWhatCannotBeRestored(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		owner := f.user()
		p, late, live := f.ensure("demo", owner), f.ensure("late", owner), f.ensure("live", f.user())
		f.delete(late.ID)
		f.clock.advance(DefaultTrashTTL)
		f.delete(p.ID)
		f.ensure("demo", owner) // its account takes it again
		for name, c := range map[string]struct {
			id   uuid.UUID
			slug string
			want error
		}{
			"absent":           {uuid.Must(uuid.NewV7()), "", ErrNotFound},
			"live":             {live.ID, "", ErrNotFound},
			"too late":         {late.ID, "", ErrNotFound},
			"slug taken":       {p.ID, "", ErrSlugTaken},
			"the same, named":  {p.ID, "demo", ErrSlugTaken},
			"another's":        {p.ID, "live", ErrSlugTaken},
			"slug of bad form": {p.ID, "a..b", ErrSlugInvalid},
		} {
			if got, err := f.Restore(t.Context(), nil, c.id, c.slug); !errors.Is(err, c.want) {
				t.Errorf("%s: %+v, %v", name, got, err)
			}
		}
		if got := f.restore(p.ID, "demo2"); got.Slug != "demo2" || got.State != rbac.StateActive {
			t.Errorf("%+v", got)
		}
	})
}

func TestAnUnclaimedProjectThatIsDeletedFreesItsSlugAtOnce(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		p, other := f.ensure("demo", anonymous), f.ensure("other", anonymous)
		f.delete(p.ID)
		f.delete(other.ID)
		if got := f.ensure("demo", f.user()); got.ID == p.ID {
			t.Error("the same")
		}
		if _, err := f.Restore(t.Context(), nil, p.ID, ""); !errors.Is(err, ErrSlugTaken) {
			t.Error(err)
		}
		got := f.restore(other.ID, "")
		if got.Slug != "other" || got.State != rbac.StateUnclaimed || !got.ExpiresAt.Equal(f.clock.Now().Add(DefaultUnclaimedTTL)) {
			t.Errorf("%+v", got)
		}
	})
}

func TestASuspensionOutlivesADeletion(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		for name, by := range map[string]Creator{"claimed": f.user(), "unclaimed": anonymous} {
			p := f.ensure(name, by)
			f.resolve(name)
			got, err := f.Suspend(t.Context(), nil, p.ID, "spam")
			if err != nil || got.State != rbac.StateSuspended || got.SuspendedReason != "spam" || got.Epoch != p.Epoch+1 ||
				!got.SuspendedAt.Equal(f.clock.Now()) || got.Version != p.Version+1 || f.resolve(name) != got {
				t.Errorf("%s: %+v, %v", name, got, err)
			}
			if _, err := f.Suspend(t.Context(), nil, p.ID, "again"); !errors.Is(err, ErrState) {
				t.Errorf("%s: %v", name, err)
			}
			f.delete(p.ID)
			if got := f.restore(p.ID, ""); got.State != rbac.StateSuspended || got.SuspendedReason != "spam" {
				t.Errorf("%s, restored: %+v", name, got)
			}
			f.clock.advance(2 * DefaultUnclaimedTTL)
			got, err = f.Resume(t.Context(), nil, p.ID)
			if err != nil || got.State != p.State || got.SuspendedReason != "" || got.Epoch != p.Epoch+4 || !got.SuspendedAt.IsZero() ||
				got.ExpiresAt.IsZero() != p.ExpiresAt.IsZero() || f.resolve(name) != got {
				t.Errorf("%s, resumed: %+v, %v", name, got, err)
			}
			if _, err := f.Resume(t.Context(), nil, p.ID); !errors.Is(err, ErrState) {
				t.Errorf("%s: %v", name, err)
			}
		}
		_, suspend := f.Suspend(t.Context(), nil, uuid.New(), "")
		_, resume := f.Resume(t.Context(), nil, uuid.New())
		if !errors.Is(suspend, ErrNotFound) || !errors.Is(resume, ErrNotFound) {
			t.Error(suspend, resume)
		}
	})
}

// A guard that no longer holds leaves everything as it is.
func TestEveryChangeIsGuarded(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		owner, member := f.user(), f.user()
		p := f.ensure("demo", owner)
		f.exec(insertMember, p.ID, member.UserID, "viewer")
		suspended, deleted := f.ensure("suspended", owner), f.ensure("deleted", owner)
		f.exec(suspendProject, suspended.ID, "")
		f.delete(deleted.ID)
		runner, newcomer := f.token("runner", p.ID), email(f.user())
		ctx, guard := t.Context(), GuardFunc(func(b *database.Batch) { RequireState(b, p.ID, p.Epoch+1, p.State) })
		for name, change := range map[string]func() error{
			"Change":        func() error { _, err := f.Change(ctx, guard, p.ID, Change{Slug: to("new")}, 0); return err },
			"Delete":        func() error { _, err := f.Delete(ctx, guard, p.ID, 0); return err },
			"Restore":       func() error { _, err := f.Restore(ctx, guard, deleted.ID, ""); return err },
			"Suspend":       func() error { _, err := f.Suspend(ctx, guard, p.ID, ""); return err },
			"Resume":        func() error { _, err := f.Resume(ctx, guard, suspended.ID); return err },
			"AddMember":     func() error { _, err := f.AddMember(ctx, guard, p.ID, newcomer, "viewer", "test"); return err },
			"ChangeMember":  func() error { _, err := f.ChangeMember(ctx, guard, p.ID, member.UserID, "owner", 0); return err },
			"RemoveMember":  func() error { return f.RemoveMember(ctx, guard, p.ID, member.UserID) },
			"GrantRunner":   func() error { _, err := f.GrantRunner(ctx, guard, p.ID, runner, nil, "test"); return err },
			"UngrantRunner": func() error { return f.UngrantRunner(ctx, guard, p.ID, runner) },
		} {
			if err := change(); !errors.Is(err, ErrChanged) {
				t.Errorf("%s: %v", name, err)
			}
		}
		if f.resolve("demo") != p || f.count(countMembersOf, p.ID) != 2 || f.count(countGrants, p.ID) != 0 ||
			f.role(p.ID, member) != rbac.RoleViewer {
			t.Error("something has changed")
		}
	})
}

func TestEveryChangeIsOneTransaction(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		owner, member := f.user(), f.user()
		p := f.ensure("demo", owner)
		runner, ctx := f.token("runner", p.ID), t.Context()
		changes := func(u Project) map[string]int64 {
			trips := map[string]int64{}
			for _, c := range []struct {
				name string
				do   func() error
			}{
				{"Claim", func() error {
					_, err := f.Claim(ctx, nil, ClaimRequest{ProjectID: u.ID, Owner: owner, DiscardContent: true})
					return err
				}},
				{"Change", func() error {
					_, err := f.Change(ctx, nil, p.ID, Change{Slug: to("a" + uuid.NewString()[:8])}, 0)
					return err
				}},
				{"AddMember", func() error { _, err := f.AddMember(ctx, nil, p.ID, email(member), "viewer", "test"); return err }},
				{"ChangeMember", func() error { _, err := f.ChangeMember(ctx, nil, p.ID, member.UserID, "owner", 0); return err }},
				{"RemoveMember", func() error { return f.RemoveMember(ctx, nil, p.ID, member.UserID) }},
				{"GrantRunner", func() error { _, err := f.GrantRunner(ctx, nil, p.ID, runner, []string{"a", ""}, "test"); return err }},
				{"UngrantRunner", func() error { return f.UngrantRunner(ctx, nil, p.ID, runner) }},
				{"Suspend", func() error { _, err := f.Suspend(ctx, nil, p.ID, ""); return err }},
				{"Resume", func() error { _, err := f.Resume(ctx, nil, p.ID); return err }},
				{"Delete", func() error { _, err := f.Delete(ctx, nil, p.ID, 0); return err }},
				{"Restore", func() error { _, err := f.Restore(ctx, nil, p.ID, ""); return err }},
			} {
				f.clock.advance(time.Second)
				trips[c.name] = f.trips(func() { f.must(c.do()) })
			}
			return trips
		}
		changes(f.ensure("one", anonymous)) // prepares the statements
		for name, n := range changes(f.ensure("two", anonymous)) {
			if n != 1 {
				t.Errorf("%s: %d round trips", name, n)
			}
		}
	})
}

// email is that of a fixture's user.
func email(by Creator) string { return by.UserID.String() + "@example.dev" }
