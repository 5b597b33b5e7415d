package projects

import (
	"errors"
	"slices"
	"testing"

	"github.com/google/uuid"

	"github.com/berthregistry/berth/internal/database"
)

func TestRunnerGrants(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		ctx := t.Context()
		p, other := f.ensure("demo", f.user()), f.ensure("other", f.user())
		own, server, third := f.token("runner", p.ID), f.token("runner", uuid.Nil), f.token("runner", uuid.Nil)
		grant := func(id uuid.UUID, paths []string) RunnerGrant {
			t.Helper()
			g, err := f.GrantRunner(ctx, nil, p.ID, id, paths, "user:1")
			f.must(err)
			if g.TokenID != id || g.Name != "ci" || g.CreatedBy != "user:1" || !g.CreatedAt.Equal(f.clock.Now()) {
				t.Errorf("%+v", g)
			}
			return g
		}
		if g := grant(own, nil); g.Repositories != nil {
			t.Errorf("%+v", g)
		}
		if g := grant(server, []string{"web/app", "", "web/app"}); !slices.Equal(g.Repositories, []string{"", "web/app"}) {
			t.Errorf("%+v", g)
		}
		if g := grant(own, []string{"only"}); !slices.Equal(g.Repositories, []string{"only"}) { // replaces the one before
			t.Errorf("%+v", g)
		}
		grant(third, nil)
		list := func(page database.Page) ([]RunnerGrant, error) { return f.RunnerGrants(ctx, p.ID, page) }
		granted := all(t, list, func(g RunnerGrant) string { return g.TokenID.String() })
		if len(granted) != 3 || granted[0].TokenID != own || len(granted[0].Repositories) != 1 || len(granted[1].Repositories) != 2 ||
			granted[2].Repositories != nil {
			t.Errorf("%+v", granted)
		}
		if g, err := f.RunnerGrants(ctx, other.ID, database.Page{Limit: 10}); err != nil || len(g) != 0 {
			t.Errorf("of another project: %+v, %v", g, err)
		}
		f.exec(revokeToken, third)
		if g := all(t, list, func(g RunnerGrant) string { return g.TokenID.String() }); len(g) != 2 {
			t.Errorf("with a revoked one: %+v", g)
		}
		f.must(f.UngrantRunner(ctx, nil, p.ID, server))
		for _, id := range []uuid.UUID{server, uuid.New()} {
			if err := f.UngrantRunner(ctx, nil, p.ID, id); !errors.Is(err, ErrNoGrant) {
				t.Error(err)
			}
		}
		if f.count(countGrants, p.ID) != 2 {
			t.Error("another grant is gone")
		}
	})
}

var (
	revokeToken = database.SQL(`UPDATE tokens SET revoked_at = 1 WHERE id = $1`)
	expireToken = database.SQL(`UPDATE tokens SET expires_at = 1 WHERE id = $1`)
)

func TestWhatCannotBeGranted(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		p, other, deleted := f.ensure("demo", f.user()), f.ensure("other", f.user()), f.ensure("deleted", f.user())
		f.delete(deleted.ID)
		runner, revoked, expired := f.token("runner", p.ID), f.token("runner", p.ID), f.token("runner", p.ID)
		f.exec(revokeToken, revoked)
		f.exec(expireToken, expired)
		for name, c := range map[string]struct {
			project, token uuid.UUID
			paths          []string
			want           error
		}{
			"unknown":           {p.ID, uuid.New(), nil, ErrNoSuchRunner},
			"another project's": {p.ID, f.token("runner", other.ID), nil, ErrNoSuchRunner},
			"robot":             {p.ID, f.token("robot", p.ID), nil, ErrNoSuchRunner},
			"revoked":           {p.ID, revoked, nil, ErrNoSuchRunner},
			"expired":           {p.ID, expired, nil, ErrNoSuchRunner},
			"in no project":     {uuid.New(), runner, nil, ErrNotFound},
			"in a deleted one":  {deleted.ID, f.token("runner", uuid.Nil), nil, ErrNotFound},
			"nothing":           {p.ID, runner, []string{}, ErrInvalidInput},
			"malformed path":    {p.ID, runner, []string{"ok", "../x"}, ErrInvalidInput},
			"path with a slash": {p.ID, runner, []string{"web/"}, ErrInvalidInput},
			"too many":          {p.ID, runner, make([]string, 101), ErrInvalidInput},
		} {
			if _, err := f.GrantRunner(t.Context(), nil, c.project, c.token, c.paths, "test"); !errors.Is(err, c.want) {
				t.Errorf("%s: %v", name, err)
			}
		}
		if f.count(countGrants, p.ID) != 0 {
			t.Error("something was granted")
		}
	})
}
