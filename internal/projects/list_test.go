package projects

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/berthregistry/berth/internal/database"
	"github.com/berthregistry/berth/internal/rbac"
)

func TestListsOfProjects(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		ctx, me, you := t.Context(), f.user(), f.user()
		f.ensure("expired", anonymous)
		f.clock.advance(DefaultUnclaimedTTL)
		a, b, c := f.ensure("aa", me), f.ensure("ab", me), f.ensure("ba", me)
		yours, open := f.ensure("abc", you), f.ensure("abd", anonymous)
		deleted, suspended := f.ensure("abe", me), f.ensure("abf", me)
		f.delete(deleted.ID)
		_, err := f.Suspend(ctx, nil, suspended.ID, "")
		f.must(err)
		f.exec(insertMember, yours.ID, me.UserID, "viewer")
		for _, test := range []struct {
			name      string
			filter    ListFilter
			mine, all []Project
		}{
			{"all", ListFilter{}, []Project{a, b, c, yours, suspended}, []Project{a, b, c, yours, open, suspended}},
			{"prefix", ListFilter{Prefix: "ab"}, []Project{b, yours, suspended}, []Project{b, yours, open, suspended}},
			{"exact prefix", ListFilter{Prefix: "abc"}, []Project{yours}, []Project{yours}},
			{"prefix that none has", ListFilter{Prefix: "x-"}, nil, nil},
			{"prefix that none can have", ListFilter{Prefix: "A\x00%"}, nil, nil},
			{"unclaimed", ListFilter{State: rbac.StateUnclaimed}, nil, []Project{open}},
			{"deleted", ListFilter{State: rbac.StateDeleted}, []Project{deleted}, []Project{deleted}},
			{"suspended", ListFilter{State: rbac.StateSuspended}, []Project{suspended}, []Project{suspended}},
			{"active with a prefix", ListFilter{State: rbac.StateActive, Prefix: "ab"}, []Project{b, yours}, []Project{b, yours}},
			{"unknown state", ListFilter{State: "odd"}, nil, nil},
		} {
			mine := all(t, func(page database.Page) ([]Membership, error) { return f.List(ctx, me.UserID, test.filter, page) },
				func(m Membership) string { return m.Project.ID.String() })
			got := []uuid.UUID{}
			for _, m := range mine {
				got = append(got, m.Project.ID)
				if want := f.role(m.Project.ID, me); m.Role != want || want == "" {
					t.Errorf("%s: %+v, want %q", test.name, m, want)
				}
			}
			if !slices.Equal(got, ids(test.mine)) {
				t.Errorf("%s: %v, want %v", test.name, got, ids(test.mine))
			}
			everything := all(t, func(page database.Page) ([]Project, error) { return f.ListAll(ctx, test.filter, page) },
				func(p Project) string { return p.ID.String() })
			if !slices.Equal(ids(everything), ids(test.all)) {
				t.Errorf("%s, of all: %v, want %v", test.name, ids(everything), ids(test.all))
			}
		}
		_, list := f.List(ctx, me.UserID, ListFilter{}, database.Page{After: "x", Limit: 1})
		_, listAll := f.ListAll(ctx, ListFilter{}, database.Page{After: "x", Limit: 1})
		if !errors.Is(list, ErrInvalidInput) || !errors.Is(listAll, ErrInvalidInput) {
			t.Error(list, listAll)
		}
	})
}

func ids(projects []Project) []uuid.UUID {
	found := []uuid.UUID{}
	for _, p := range projects {
		found = append(found, p.ID)
	}
	return found
}

func TestAListIsOneTrip(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		me, ctx := f.user(), t.Context()
		p := f.ensure("demo", me)
		f.registry(p).push("web", "1", nil, "v1")
		page := database.Page{Limit: 10}
		for name, list := range map[string]func() error{
			"List":         func() error { _, err := f.List(ctx, me.UserID, ListFilter{Prefix: "d"}, page); return err },
			"ListAll":      func() error { _, err := f.ListAll(ctx, ListFilter{}, page); return err },
			"Members":      func() error { _, err := f.Members(ctx, p.ID, page); return err },
			"RunnerGrants": func() error { _, err := f.RunnerGrants(ctx, p.ID, page); return err },
			"Repositories": func() error { _, err := f.Repositories(ctx, p.ID, page); return err },
			"Tags":         func() error { _, err := f.Tags(ctx, p.ID, "web", page); return err },
			"Manifests":    func() error { _, err := f.Manifests(ctx, p.ID, "web", page); return err },
			"Usage":        func() error { _, err := f.Usage(ctx, p.ID); return err },
		} {
			f.must(list())
			if n := f.trips(func() { f.must(list()) }); n != 1 {
				t.Errorf("%s: %d round trips", name, n)
			}
		}
	})
}

func TestUsageCountsABlobOnce(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		p := f.ensure("demo", f.user())
		r := f.registry(p)
		usage := func(want Usage) {
			t.Helper()
			if got, err := f.Usage(t.Context(), p.ID); err != nil || got != want {
				t.Errorf("%+v, %v; want %+v", got, err, want)
			}
		}
		usage(Usage{})
		layer := r.blob("a", "layer", 100)
		r.blob("b", "layer", 100)
		r.blob("b", "other", 1000)
		r.push("a", "12345", nil, "v1", "v2")
		r.push("b", "12345", nil, "v1")
		f.registry(f.ensure("elsewhere", f.user())).blob("a", "third", 10_000)
		usage(Usage{Repositories: 2, Tags: 3, Manifests: 2, Bytes: 1110})
		f.must(r.DeleteBlob(t.Context(), r.place("a"), layer, free{}))
		f.must(r.DeleteTag(t.Context(), r.place("a"), "v1", "test", free{}))
		usage(Usage{Repositories: 2, Tags: 2, Manifests: 2, Bytes: 1110})
		f.must(r.DeleteBlob(t.Context(), r.place("b"), layer, free{}))
		f.clock.advance(time.Second)
		usage(Usage{Repositories: 2, Tags: 2, Manifests: 2, Bytes: 1010})
	})
}
