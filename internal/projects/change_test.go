package projects

import (
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/berthregistry/berth/internal/database"
	"github.com/berthregistry/berth/internal/rbac"
)

func (f *fixture) change(id uuid.UUID, c Change) Project {
	f.t.Helper()
	p, err := f.Change(f.t.Context(), nil, id, c, 0)
	f.must(err)
	return p
}

func to[T any](v T) *T { return &v }

func TestAChangeChangesWhatIsNamed(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		p := f.ensure("demo", f.user())
		f.clock.advance(time.Second)
		for _, c := range []struct {
			change Change
			apply  func()
		}{
			{Change{Visibility: to(rbac.Public)}, func() { p.Visibility = rbac.Public }},
			{Change{Description: to("what it is")}, func() { p.Description = "what it is" }},
			{Change{Slug: to("renamed")}, func() { p.Slug, p.Epoch = "renamed", p.Epoch+1 }},
			{Change{Slug: to("demo"), Visibility: to(rbac.Private), Description: to("")}, func() {
				p.Slug, p.Visibility, p.Description, p.Epoch = "demo", rbac.Private, "", p.Epoch+1
			}},
		} {
			c.apply()
			p.Version, p.UpdatedAt = p.Version+1, f.clock.Now()
			if got := f.change(p.ID, c.change); got != p {
				t.Errorf("%+v, want %+v", got, p)
			}
			if got := f.resolve(p.Slug); got != p {
				t.Errorf("resolved: %+v, want %+v", got, p)
			}
		}
		if got := f.change(p.ID, Change{}); got != p {
			t.Errorf("no change: %+v", got)
		}
	})
}

func TestAChangeNeedsTheVersionThatWasSeen(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		p := f.ensure("demo", f.user())
		for i := range 3 {
			version := p.Version + int64(i)
			if _, err := f.Change(t.Context(), nil, p.ID, Change{Description: to("x")}, version); err != nil {
				t.Error(err)
			}
			for _, change := range []Change{{Description: to("y")}, {Slug: to("taken")}, {}} {
				if _, err := f.Change(t.Context(), nil, p.ID, change, version); !errors.Is(err, ErrVersion) {
					t.Errorf("version %d again: %v", version, err)
				}
			}
			if _, err := f.Delete(t.Context(), nil, p.ID, version); !errors.Is(err, ErrVersion) {
				t.Errorf("deleted: %v", err)
			}
		}
		if got := f.resolve("demo"); got.Description != "x" || got.Version != p.Version+3 {
			t.Errorf("%+v", got)
		}
		f.claimed(t, p)
	})
}

// claimed checks that the slug is still the project's.
func (f *fixture) claimed(t *testing.T, p Project) {
	t.Helper()
	if got := f.resolve(p.Slug); got.ID != p.ID {
		t.Errorf("%s is %s", p.Slug, got.ID)
	}
}

func TestWhatCannotBeChanged(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		owner := f.user()
		p, other := f.ensure("demo", owner), f.ensure("other", owner)
		deleted := f.ensure("deleted", owner)
		f.exec(deleteProject, deleted.ID)
		f.exec(reserveSlug, "reserved", uuid.New(), uuid.NullUUID{UUID: f.user().AccountID, Valid: true}, database.ToMicros(f.clock.Now().Add(time.Hour)))
		refused := errors.New("refused")
		for name, c := range map[string]struct {
			id     uuid.UUID
			change Change
			guard  Guard
			want   error
		}{
			"absent":               {uuid.Must(uuid.NewV7()), Change{Description: to("x")}, nil, ErrNotFound},
			"deleted":              {deleted.ID, Change{Description: to("x")}, nil, ErrNotFound},
			"slug in use":          {p.ID, Change{Slug: to(other.Slug), Description: to("x")}, nil, ErrSlugTaken},
			"slug of another":      {p.ID, Change{Slug: to("reserved"), Description: to("x")}, nil, ErrSlugReserved},
			"slug of the server":   {p.ID, Change{Slug: to("admin")}, nil, ErrSlugReserved},
			"slug of bad form":     {p.ID, Change{Slug: to("a..b")}, nil, ErrSlugInvalid},
			"slug like an id":      {p.ID, Change{Slug: to(uuid.NewString())}, nil, ErrSlugInvalid},
			"unknown visibility":   {p.ID, Change{Visibility: to(rbac.Visibility("secret"))}, nil, ErrInvalidInput},
			"too long description": {p.ID, Change{Description: to(strings.Repeat("ä", 1001))}, nil, ErrInvalidInput},
			"no text":              {p.ID, Change{Description: to("a\x00b")}, nil, ErrInvalidInput},
			"against the guard":    {p.ID, Change{Slug: to("fresh")}, GuardFunc(func(b *database.Batch) { b.Require(refused, never) }), refused},
		} {
			if got, err := f.Change(t.Context(), c.guard, c.id, c.change, 0); !errors.Is(err, c.want) || got != (Project{}) {
				t.Errorf("%s: %+v, %v", name, got, err)
			}
		}
		if got := f.resolve("demo"); got != p || f.count(countReserved) != 1 {
			t.Errorf("something has changed: %+v", got)
		}
	})
}

func TestARenamedProjectKeepsItsOldSlugFor90Days(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		owner, stranger := f.user(), f.user()
		p := f.ensure("demo", owner)
		f.change(p.ID, Change{Slug: to("renamed")})
		if _, err := f.Resolve(t.Context(), "demo"); !errors.Is(err, ErrNotFound) {
			t.Errorf("the old slug: %v", err)
		}
		theirs := f.ensure("theirs", stranger)
		take := func() error {
			_, create := f.Create(t.Context(), NewProject{Slug: "demo", By: stranger})
			_, rename := f.Change(t.Context(), nil, theirs.ID, Change{Slug: to("demo")}, 0)
			if (create == nil) == (rename == nil) && create == nil {
				t.Error("both have it")
			}
			return errors.Join(create, rename)
		}
		f.clock.advance(90*24*time.Hour - time.Microsecond)
		if err := take(); !errors.Is(err, ErrSlugReserved) {
			t.Errorf("before 90 days: %v", err)
		}
		f.change(p.ID, Change{Slug: to("demo")}) // its own
		f.change(p.ID, Change{Slug: to("renamed")})
		f.change(f.ensure("second", owner).ID, Change{Slug: to("demo")}) // and its account's
		f.change(f.resolve("demo").ID, Change{Slug: to("second")})
		f.clock.advance(90 * 24 * time.Hour)
		if err := take(); errors.Is(err, ErrSlugReserved) {
			t.Errorf("after 90 days: %v", err)
		}
		if f.resolve("demo").AccountID != stranger.AccountID {
			t.Error("not taken")
		}
	})
}

func TestARenameTakesTheSlugOfAnExpiredProject(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		old, p := f.ensure("wanted", anonymous), f.ensure("demo", f.user())
		if _, err := f.Change(t.Context(), nil, p.ID, Change{Slug: to("wanted")}, 0); !errors.Is(err, ErrSlugTaken) {
			t.Errorf("%v", err)
		}
		f.clock.advance(DefaultUnclaimedTTL)
		f.change(p.ID, Change{Slug: to("wanted")})
		if f.resolve("wanted").ID != p.ID || f.resolve(old.ID.String()).State != rbac.StateDeleted {
			t.Error("not taken")
		}
	})
}

// TestTwoRenamesThatSwap at once: none can have the other's slug, and neither waits for ever nor fails otherwise.
func TestTwoRenamesThatSwap(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		owner, replica := f.user(), f.replica()
		a, b := f.ensure("first", owner), f.ensure("second", owner)
		for range 20 {
			errs := [2]error{}
			begin := make(chan struct{})
			var wg sync.WaitGroup
			wg.Go(func() { <-begin; _, errs[0] = f.Change(t.Context(), nil, a.ID, Change{Slug: to("second")}, 0) })
			wg.Go(func() { <-begin; _, errs[1] = replica.Change(t.Context(), nil, b.ID, Change{Slug: to("first")}, 0) })
			close(begin)
			wg.Wait()
			if !errors.Is(errs[0], ErrSlugTaken) || !errors.Is(errs[1], ErrSlugTaken) {
				t.Fatal(errs)
			}
		}
	})
}

func TestOneOfManyRenamesToASlugWins(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		var ids [10]uuid.UUID
		for i := range ids {
			ids[i] = f.ensure("project"+string(rune('a'+i)), f.user()).ID
		}
		var errs [10]error
		var wg sync.WaitGroup
		for i, id := range ids {
			wg.Go(func() { _, errs[i] = f.Change(t.Context(), nil, id, Change{Slug: to("wanted")}, 0) })
		}
		wg.Wait()
		won := 0
		for i, err := range errs {
			switch {
			case err == nil:
				won++
				if f.resolve("wanted").ID != ids[i] {
					t.Error("another has it")
				}
			case !errors.Is(err, ErrSlugTaken):
				t.Error(err)
			}
		}
		if won != 1 {
			t.Errorf("%d have won", won)
		}
	})
}
