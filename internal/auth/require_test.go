package auth

import (
	"errors"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/berthregistry/berth/internal/database"
	"github.com/berthregistry/berth/internal/rbac"
)

var makeAdmin = database.SQL(`UPDATE users SET admin = $2 WHERE id = $1`)

// required runs a batch of nothing but a guard.
func (f *fixture) required(guard func(*database.Batch)) error {
	f.t.Helper()
	var b database.Batch
	guard(&b)
	return f.db.Run(f.t.Context(), &b)
}

func TestACredentialIsRequiredAsItIsNow(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		credentials := map[string]Credential{}
		keep := func(kind, secret string) {
			c, err := f.VerifySecret(t.Context(), secret)
			f.must(err)
			credentials[kind] = c
		}
		personal, _ := f.token("ada@example.dev")
		robot, _, err := f.CreateRobot(t.Context(), NewRobot{ProjectID: f.project(), Name: "ci", Role: rbac.RoleViewer, CreatedBy: "t"})
		f.must(err)
		runner, _, err := f.CreateRunner(t.Context(), NewRunner{Name: "metal", CreatedBy: "t"})
		f.must(err)
		keep("personal", personal)
		keep("robot", robot)
		keep("runner", runner)
		for kind, c := range credentials {
			f.must(f.required(c.Require))
			f.exec(setExpiry, c.TokenID, database.ToMicros(time.Now().Add(-time.Second)))
			if err := f.required(c.Require); !errors.Is(err, ErrRevoked) {
				t.Errorf("%s, expired: %v", kind, err)
			}
			f.exec(setExpiry, c.TokenID, database.ToMicros(time.Now().Add(time.Hour)))
			f.must(f.required(c.Require))
			if kind == "personal" {
				f.exec(lockUser, c.Principal.ID)
			} else {
				f.must(f.RevokeToken(t.Context(), c.TokenID))
			}
			if err := f.required(c.Require); !errors.Is(err, ErrRevoked) {
				t.Errorf("%s, ended: %v", kind, err)
			}
		}
		robotAsRunner := credentials["robot"]
		robotAsRunner.Principal.Kind = rbac.KindRunner
		for name, c := range map[string]Credential{
			"zero": {}, "another kind": robotAsRunner, "unknown": {Principal: Principal{Kind: rbac.KindUser, ID: newID()}, TokenID: newID()},
		} {
			if err := f.required(c.Require); !errors.Is(err, ErrRevoked) {
				t.Errorf("%s: %v", name, err)
			}
		}
		f.must(f.required(Credential{Principal: Anonymous()}.Require))
	})
}

func TestAnAdministratorIsRequired(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		u := f.user("ada@example.dev")
		require := func(id uuid.UUID) error { return f.required(func(b *database.Batch) { RequireAdmin(b, id) }) }
		if err := require(u.ID); !errors.Is(err, ErrNotAdmin) {
			t.Errorf("a user: %v", err)
		}
		f.exec(makeAdmin, u.ID, true)
		f.must(require(u.ID))
		f.exec(lockUser, u.ID)
		if err := require(u.ID); !errors.Is(err, ErrNotAdmin) {
			t.Errorf("locked: %v", err)
		}
		if err := require(uuid.Nil); !errors.Is(err, ErrNotAdmin) {
			t.Errorf("nobody: %v", err)
		}
	})
}
