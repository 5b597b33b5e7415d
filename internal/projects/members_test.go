package projects

import (
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/berthregistry/berth/internal/database"
	"github.com/berthregistry/berth/internal/rbac"
)

// all reads a list page by page, two items each.
func all[T any](t *testing.T, list func(database.Page) ([]T, error), key func(T) string) []T {
	t.Helper()
	var found []T
	page := database.Page{Limit: 2}
	for {
		items, err := list(page)
		if err != nil || len(items) > 2 || items == nil {
			t.Fatal(items, err)
		}
		found = append(found, items...)
		if len(items) < 2 {
			return found
		}
		page.After = key(items[1])
	}
}

func TestMembers(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		owner, ctx := f.user(), t.Context()
		p, other := f.ensure("demo", owner), f.ensure("other", f.user())
		f.clock.advance(time.Second)
		want := map[uuid.UUID]rbac.Role{owner.UserID: rbac.RoleOwner}
		for _, role := range []rbac.Role{rbac.RoleViewer, rbac.RoleDeveloper, rbac.RoleMaintainer, rbac.RoleOwner} {
			user := f.user()
			f.role(p.ID, user)
			m, err := f.AddMember(ctx, nil, p.ID, strings.ToUpper(email(user)), role, owner.Principal)
			if err != nil || m != (Member{
				UserID: user.UserID, Email: email(user), Role: role, Version: 1, CreatedBy: owner.Principal,
				CreatedAt: f.clock.Now(), UpdatedAt: f.clock.Now(),
			}) {
				t.Errorf("%+v, %v", m, err)
			}
			if f.role(p.ID, user) != role {
				t.Error("does not work at once")
			}
			want[user.UserID] = role
		}
		list := func(page database.Page) ([]Member, error) { return f.Members(ctx, p.ID, page) }
		members := all(t, list, func(m Member) string { return m.UserID.String() })
		for _, m := range members {
			if want[m.UserID] != m.Role {
				t.Errorf("%+v", m)
			}
		}
		if len(members) != 5 || !slices.IsSortedFunc(members, func(a, b Member) int { return strings.Compare(a.UserID.String(), b.UserID.String()) }) {
			t.Errorf("%+v", members)
		}
		if m, err := f.Members(ctx, other.ID, database.Page{Limit: 10}); err != nil || len(m) != 1 {
			t.Errorf("of another project: %+v, %v", m, err)
		}
		if _, err := f.Members(ctx, p.ID, database.Page{After: "x", Limit: 10}); !errors.Is(err, ErrInvalidInput) {
			t.Error(err)
		}
	})
}

func TestAMemberIsChangedAndRemoved(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		ctx, p, user := t.Context(), f.ensure("demo", f.user()), f.user()
		added, err := f.AddMember(ctx, nil, p.ID, email(user), rbac.RoleViewer, "test")
		f.must(err)
		f.role(p.ID, user)
		f.clock.advance(time.Second)
		added.Role, added.Version, added.UpdatedAt = rbac.RoleOwner, 2, f.clock.Now()
		if m, err := f.ChangeMember(ctx, nil, p.ID, user.UserID, rbac.RoleOwner, 1); err != nil || m != added {
			t.Errorf("%+v, %v", m, err)
		}
		if m, err := f.Member(ctx, p.ID, user.UserID); err != nil || m != added || f.role(p.ID, user) != rbac.RoleOwner {
			t.Errorf("%+v, %v", m, err)
		}
		if _, err := f.ChangeMember(ctx, nil, p.ID, user.UserID, rbac.RoleViewer, 1); !errors.Is(err, ErrVersion) {
			t.Error(err)
		}
		f.must(f.RemoveMember(ctx, nil, p.ID, user.UserID))
		if f.role(p.ID, user) != rbac.RoleNone {
			t.Error("still a member")
		}
		_, change := f.ChangeMember(ctx, nil, p.ID, user.UserID, rbac.RoleViewer, 0)
		_, get := f.Member(ctx, p.ID, user.UserID)
		for _, err := range []error{f.RemoveMember(ctx, nil, p.ID, user.UserID), change, get} {
			if !errors.Is(err, ErrNoMember) {
				t.Error(err)
			}
		}
	})
}

func TestWhoCannotBeAdded(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		owner, user := f.user(), f.user()
		p, deleted := f.ensure("demo", owner), f.ensure("deleted", owner)
		f.delete(deleted.ID)
		for name, c := range map[string]struct {
			id    uuid.UUID
			email string
			role  rbac.Role
			want  error
		}{
			"unknown user":      {p.ID, "nobody@example.dev", rbac.RoleViewer, ErrNoSuchUser},
			"no e-mail":         {p.ID, "", rbac.RoleViewer, ErrNoSuchUser},
			"malformed e-mail":  {p.ID, "a\x00b", rbac.RoleViewer, ErrInvalidInput},
			"member":            {p.ID, email(owner), rbac.RoleViewer, ErrMemberExists},
			"unknown role":      {p.ID, email(user), "root", ErrInvalidInput},
			"no role":           {p.ID, email(user), rbac.RoleNone, ErrInvalidInput},
			"to a deleted one":  {deleted.ID, email(user), rbac.RoleViewer, ErrNotFound},
			"to an unknown one": {uuid.New(), email(user), rbac.RoleViewer, ErrNotFound},
		} {
			if _, err := f.AddMember(t.Context(), nil, c.id, c.email, c.role, "test"); !errors.Is(err, c.want) {
				t.Errorf("%s: %v", name, err)
			}
		}
		if f.role(p.ID, owner) != rbac.RoleOwner || f.count(countMembersOf, p.ID) != 1 {
			t.Error("something has changed")
		}
	})
}

func TestTheLastOwnerStays(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		ctx, owner, maintainer := t.Context(), f.user(), f.user()
		p := f.ensure("demo", owner)
		f.ensure("other", maintainer) // an owner elsewhere does not count
		f.exec(insertMember, p.ID, maintainer.UserID, "maintainer")
		_, demoted := f.ChangeMember(ctx, nil, p.ID, owner.UserID, rbac.RoleMaintainer, 0)
		for _, err := range []error{demoted, f.RemoveMember(ctx, nil, p.ID, owner.UserID)} {
			if !errors.Is(err, ErrLastOwner) {
				t.Error(err)
			}
		}
		if _, err := f.ChangeMember(ctx, nil, p.ID, owner.UserID, rbac.RoleOwner, 0); err != nil {
			t.Errorf("stays an owner: %v", err)
		}
		f.must(f.RemoveMember(ctx, nil, p.ID, maintainer.UserID))
	})
}

// TestTwoOwnersWhoRemoveEachOther at once, each guarded by being an owner: one is left, whatever the order.
func TestTwoOwnersWhoRemoveEachOther(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		replica := f.replica()
		for i := range 20 {
			owners := [2]Creator{f.user(), f.user()}
			p := f.ensure("demo"+uuid.NewString()[:8], owners[0])
			f.exec(insertMember, p.ID, owners[1].UserID, "owner")
			var errs [2]error
			begin := make(chan struct{})
			var wg sync.WaitGroup
			for me, s := range []*fixture{f, replica} {
				wg.Go(func() {
					<-begin
					guard := GuardFunc(func(b *database.Batch) {
						RequireState(b, p.ID, p.Epoch, p.State)
						if i%4 < 2 {
							RequireRole(b, p.ID, owners[me].UserID, func(r rbac.Role) bool { return r == rbac.RoleOwner })
						}
					})
					if i%2 == 0 {
						errs[me] = s.RemoveMember(t.Context(), guard, p.ID, owners[1-me].UserID)
					} else {
						_, errs[me] = s.ChangeMember(t.Context(), guard, p.ID, owners[1-me].UserID, rbac.RoleViewer, 0)
					}
				})
			}
			close(begin)
			wg.Wait()
			if (errs[0] == nil) == (errs[1] == nil) {
				t.Fatalf("round %d: %v", i, errs)
			}
			for _, err := range errs {
				if err != nil && !errors.Is(err, ErrLastOwner) && !errors.Is(err, ErrRole) {
					t.Error(err)
				}
			}
			if n := f.count(countOwners, p.ID); n != 1 {
				t.Fatalf("round %d: %d owners", i, n)
			}
		}
	})
}

var countOwners = database.SQL(`SELECT count(*) FROM members WHERE project_id = $1 AND role = 'owner'`)
