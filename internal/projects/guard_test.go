package projects

import (
	"errors"
	"testing"

	"github.com/google/uuid"

	"github.com/berthregistry/berth/internal/database"
	"github.com/berthregistry/berth/internal/rbac"
)

func TestRequireStateSeesEveryChange(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		p := f.ensure("demo", f.user())
		require := func(id uuid.UUID, epoch int64, state rbac.State) error {
			var b database.Batch
			RequireState(&b, id, epoch, state)
			return f.db.Run(t.Context(), &b)
		}
		f.must(require(p.ID, p.Epoch, p.State))
		for name, err := range map[string]error{
			"project": require(uuid.Must(uuid.NewV7()), p.Epoch, p.State),
			"epoch":   require(p.ID, p.Epoch+1, p.State),
			"state":   require(p.ID, p.Epoch, rbac.StateUnclaimed),
		} {
			if !errors.Is(err, ErrChanged) {
				t.Errorf("another %s: %v", name, err)
			}
		}
	})
}

func TestRequireRoleTakesOnlyWhatIsAllowed(t *testing.T) {
	roles := []rbac.Role{rbac.RoleNone, rbac.RoleViewer, rbac.RoleDeveloper, rbac.RoleMaintainer, rbac.RoleOwner}
	each(t, func(t *testing.T, f *fixture) {
		p := f.ensure("demo", f.user())
		for _, has := range roles {
			by := f.user()
			if has != rbac.RoleNone {
				f.exec(insertMember, p.ID, by.UserID, string(has))
			}
			for _, wants := range roles {
				var b database.Batch
				RequireRole(&b, p.ID, by.UserID, func(r rbac.Role) bool { return r == wants })
				err := f.db.Run(t.Context(), &b)
				if ok := has == wants || wants == rbac.RoleNone; ok != (err == nil) || !ok && !errors.Is(err, ErrRole) {
					t.Errorf("%q where %q is wanted: %v", has, wants, err)
				}
			}
		}
	})
}
