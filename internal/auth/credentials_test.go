package auth

import (
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/berthregistry/berth/internal/database"
	"github.com/berthregistry/berth/internal/rbac"
)

var (
	setGrants  = database.SQL(`UPDATE tokens SET grants = $2 WHERE id = $1`)
	setExpiry  = database.SQL(`UPDATE tokens SET expires_at = $2 WHERE id = $1`)
	storedForm = database.SQL(`SELECT count(*) FROM tokens WHERE secret_hash = $1 AND hint = $2 AND name = $3`)
)

func TestAPersonalTokenIsItsOwner(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		u := f.user("ada@example.dev")
		secret, token, err := f.CreateToken(t.Context(), NewToken{Email: "ADA@example.dev", Name: "laptop"})
		f.must(err)
		if f.count(storedForm, hashSecret(secret).String(), secret[:14], "laptop") != 1 {
			t.Error("not stored as a hash, with its hint")
		}
		want := Credential{
			Principal: Principal{Kind: rbac.KindUser, ID: u.ID, AccountID: u.AccountID, Name: u.Email}, TokenID: token.ID,
		}
		c, err := f.VerifySecret(t.Context(), secret)
		if err != nil || c != want {
			t.Errorf("by secret: %+v, %v; want %+v", c, err, want)
		}
		c, err = f.Lookup(t.Context(), token.ID)
		if err != nil || c != want {
			t.Errorf("by id: %+v, %v; want %+v", c, err, want)
		}
		if got := c.Principal.String(); got != "user:"+u.ID.String() {
			t.Error(got)
		}
	})
}

func TestRobotsAndRunners(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		project := f.project()
		for _, role := range []rbac.Role{rbac.RoleDeveloper, rbac.RoleViewer} {
			secret, token, err := f.CreateRobot(t.Context(), NewRobot{ProjectID: project, Name: "ci", Role: role, CreatedBy: "test"})
			f.must(err)
			c, err := f.VerifySecret(t.Context(), secret)
			granted, _ := grantsOfRole(role)
			want := Credential{
				Principal: Principal{Kind: rbac.KindRobot, ID: token.ID, Name: "ci"}, TokenID: token.ID, ProjectID: project, Role: role,
				Grants: granted,
			}
			if err != nil || !cmp.Equal(c, want) || !strings.HasPrefix(secret, robotPrefix) {
				t.Errorf("%+v, %v; want %+v", c, err, want)
			}
		}
		for _, of := range []uuid.UUID{uuid.Nil, project} {
			secret, token, err := f.CreateRunner(t.Context(), NewRunner{ProjectID: of, Name: "metal", CreatedBy: "test"})
			f.must(err)
			c, err := f.VerifySecret(t.Context(), secret)
			want := Credential{
				Principal: Principal{Kind: rbac.KindRunner, ID: token.ID, Name: "metal"}, TokenID: token.ID, ProjectID: of,
			}
			if err != nil || c != want || !strings.HasPrefix(secret, runnerPrefix) {
				t.Errorf("%+v, %v; want %+v", c, err, want)
			}
		}
	})
}

func TestInvalidTokens(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.user("ada@example.dev")
		project := f.project()
		create := func(n NewToken) error {
			_, _, err := f.CreateToken(t.Context(), n)
			return err
		}
		robot := func(n NewRobot) error {
			_, _, err := f.CreateRobot(t.Context(), n)
			return err
		}
		const chosen = "chosen-by-the-operator"
		f.must(create(NewToken{Email: "ada@example.dev", Name: "first", Secret: chosen}))
		for name, c := range map[string]struct{ err, want error }{
			"no owner":       {create(NewToken{Email: "eve@example.dev", Name: "x"}), ErrNotFound},
			"malformed":      {create(NewToken{Email: "eve", Name: "x"}), ErrNotFound},
			"no name":        {create(NewToken{Email: "ada@example.dev"}), ErrInvalidInput},
			"long name":      {create(NewToken{Email: "ada@example.dev", Name: strings.Repeat("x", 201)}), ErrInvalidInput},
			"past":           {create(NewToken{Email: "ada@example.dev", Name: "x", ExpiresAt: f.clock.Now()}), ErrInvalidInput},
			"short secret":   {create(NewToken{Email: "ada@example.dev", Name: "x", Secret: "short"}), ErrInvalidInput},
			"same secret":    {create(NewToken{Email: "ada@example.dev", Name: "x", Secret: chosen}), ErrExists},
			"robot's role":   {robot(NewRobot{ProjectID: project, Name: "x", Role: rbac.RoleOwner}), ErrInvalidInput},
			"robot, no role": {robot(NewRobot{ProjectID: project, Name: "x"}), ErrInvalidInput},
			"no project":     {robot(NewRobot{ProjectID: newID(), Name: "x", Role: rbac.RoleViewer}), ErrNotFound},
			"nil project":    {robot(NewRobot{Name: "x", Role: rbac.RoleViewer}), ErrNotFound},
			"runner's":       {second(f.CreateRunner(t.Context(), NewRunner{Name: "x", ProjectID: newID()})), ErrNotFound},
		} {
			if !errors.Is(c.err, c.want) {
				t.Errorf("%s: %v, want %v", name, c.err, c.want)
			}
		}
		if n := f.count(countTokens); n != 1 {
			t.Errorf("%d tokens", n)
		}
	})
}

func second(_ string, _ Token, err error) error { return err }

// A restriction that this version does not understand must not be ignored.
func TestUnknownGrantsAreNotIgnored(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		_, personal := f.token("ada@example.dev")
		_, robot, err := f.CreateRobot(t.Context(), NewRobot{ProjectID: f.project(), Name: "ci", Role: rbac.RoleViewer})
		f.must(err)
		_, runner, err := f.CreateRunner(t.Context(), NewRunner{Name: "metal", CreatedBy: "test"})
		f.must(err)
		for _, c := range []struct {
			id     uuid.UUID
			grants string
			want   rbac.Role
			ok     bool
		}{
			{personal.ID, ``, rbac.RoleNone, true},
			{personal.ID, `{"role":"viewer"}`, rbac.RoleNone, false},
			{robot.ID, ``, rbac.RoleDeveloper, true},
			{robot.ID, `{"role":"viewer"}`, rbac.RoleViewer, true},
			{robot.ID, `{"actions":["push"],"repositories":["a/**"],"tags":["v*"]}`, rbac.RoleDeveloper, true},
			{robot.ID, `{"actions":["pull"]}`, rbac.RoleViewer, true},
			{robot.ID, `{"actions":["pull"],"role":"viewer"}`, rbac.RoleNone, false},
			{robot.ID, `{"actions":["delete"]}`, rbac.RoleNone, false},
			{robot.ID, `{"actions":["pull"],"projects":["018f2c7e-1111-7000-8000-000000000001"]}`, rbac.RoleNone, false},
			{robot.ID, `{"actions":["pull"],"tags":["{a,b}"]}`, rbac.RoleNone, false},
			{robot.ID, `null`, rbac.RoleNone, false},
			{personal.ID, `{"actions":["delete"],"projects":["018f2c7e-1111-7000-8000-000000000001"]}`, rbac.RoleNone, true},
			{runner.ID, `{"actions":["pull"]}`, rbac.RoleNone, false},
			{robot.ID, `{"role":"owner"}`, rbac.RoleNone, false},
			{robot.ID, `{"role":"developer","repositories":["a"]}`, rbac.RoleNone, false},
			{robot.ID, `{"role":"developer"}{}`, rbac.RoleNone, false},
			{robot.ID, `{}`, rbac.RoleNone, false},
			{robot.ID, `not JSON`, rbac.RoleNone, false},
		} {
			f.exec(setGrants, c.id, c.grants)
			f.clock.advance(DefaultCacheTTL)
			got, err := f.Lookup(t.Context(), c.id)
			if c.ok != (err == nil) || got.Role != c.want || err != nil && !errors.Is(err, ErrInvalidCredential) {
				t.Errorf("%q: role %q, error %v", c.grants, got.Role, err)
			}
		}
	})
}

func TestWrongSecrets(t *testing.T) {
	eachCounting(t, func(t *testing.T, f *fixture) {
		good, _ := f.token("ada@example.dev")
		for name, c := range map[string]struct {
			secret string
			trips  int64
		}{
			"none":                {"", 0},
			"password":            {goodPass, 0},
			"typo":                {good[:20] + "!" + good[21:], 0},
			"cut":                 {good[:len(good)-1], 0},
			"a megabyte":          {strings.Repeat("x", 1<<20), 0},
			"unknown":             {newSecret(personalPrefix), 1},
			"hash instead of it":  {hashSecret(good).String(), 1},
			"unknown, other form": {strings.Repeat("x", 20), 1},
		} {
			_, _ = f.VerifySecret(t.Context(), strings.Repeat("y", 20)) // prepares the statement
			trips := f.trips(func() {
				if _, err := f.VerifySecret(t.Context(), c.secret); !errors.Is(err, ErrInvalidCredential) {
					t.Errorf("%s: error %v", name, err)
				}
			})
			if trips != c.trips {
				t.Errorf("%s: %d round trips, want %d", name, trips, c.trips)
			}
		}
	})
}

func TestACredentialIsReadOnceWithinTheCachesLife(t *testing.T) {
	eachCounting(t, func(t *testing.T, f *fixture) {
		secret, token := f.token("ada@example.dev")
		verify := func() {
			_, err := f.VerifySecret(t.Context(), secret)
			f.must(err)
		}
		lookup := func() {
			_, err := f.Lookup(t.Context(), token.ID)
			f.must(err)
		}
		verify()
		lookup()
		for name, do := range map[string]func(){"VerifySecret": verify, "Lookup": lookup} {
			if n := f.trips(do); n != 0 {
				t.Errorf("%s: %d round trips when warm", name, n)
			}
		}
		f.clock.advance(DefaultCacheTTL)
		for name, do := range map[string]func(){"VerifySecret": verify, "Lookup": lookup} {
			if n := f.trips(do); n != 1 {
				t.Errorf("%s: %d round trips when cold", name, n)
			}
		}
	})
}

func TestAHerdReadsACredentialOnce(t *testing.T) {
	eachCounting(t, func(t *testing.T, f *fixture) {
		secret, _ := f.token("ada@example.dev")
		_, err := f.VerifySecret(t.Context(), secret)
		f.must(err)
		f.clock.advance(DefaultCacheTTL)
		trips := f.trips(func() {
			var wg sync.WaitGroup
			for range 100 {
				wg.Go(func() {
					if _, err := f.VerifySecret(t.Context(), secret); err != nil {
						t.Error(err)
					}
				})
			}
			wg.Wait()
		})
		if trips != 1 {
			t.Errorf("%d round trips", trips)
		}
	})
}

func TestRevocationIsSeen(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		secret, token := f.token("ada@example.dev")
		other := f.replica()
		check := func(name string, r *fixture, want bool) {
			t.Helper()
			_, bySecret := r.VerifySecret(t.Context(), secret)
			_, byID := r.Lookup(t.Context(), token.ID)
			for _, err := range []error{bySecret, byID} {
				if want != (err == nil) || err != nil && !errors.Is(err, ErrInvalidCredential) {
					t.Errorf("%s: error %v", name, err)
				}
			}
		}
		check("before, here", f, true)
		check("before, there", other, true)
		f.must(f.RevokeToken(t.Context(), token.ID))
		check("at once, here", f, false)
		check("at once, there", other, true)
		f.clock.advance(DefaultCacheTTL - 1)
		check("a moment before the end of the cache's life, there", other, true)
		f.clock.advance(1)
		check("at its end, there", other, false)
		f.must(f.RevokeToken(t.Context(), token.ID)) // again
		if err := f.RevokeToken(t.Context(), newID()); !errors.Is(err, ErrNotFound) {
			t.Errorf("unknown token: %v", err)
		}
	})
}

func TestALockedOwnersTokenIsInvalid(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		secret, token := f.token("ada@example.dev")
		_, err := f.VerifySecret(t.Context(), secret)
		f.must(err)
		f.exec(lockUser, token.UserID)
		f.clock.advance(DefaultCacheTTL)
		if _, err := f.VerifySecret(t.Context(), secret); !errors.Is(err, ErrInvalidCredential) {
			t.Errorf("error %v", err)
		}
	})
}

// An expiry is exact, whatever is cached.
func TestATokenExpiresInTime(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.user("ada@example.dev")
		expires := f.clock.Now().Add(time.Second)
		secret, token, err := f.CreateToken(t.Context(), NewToken{Email: "ada@example.dev", Name: "short", ExpiresAt: expires})
		f.must(err)
		f.clock.advance(time.Second - time.Microsecond)
		c, err := f.VerifySecret(t.Context(), secret)
		if err != nil || !c.ExpiresAt.Equal(expires) || !token.ExpiresAt.Equal(expires) {
			t.Errorf("%v, expires %s and %s, want %s", err, c.ExpiresAt, token.ExpiresAt, expires)
		}
		_, err = f.Lookup(t.Context(), token.ID)
		f.must(err)
		f.clock.advance(time.Microsecond)
		if _, err := f.VerifySecret(t.Context(), secret); !errors.Is(err, ErrInvalidCredential) {
			t.Errorf("by secret: %v", err)
		}
		if _, err := f.Lookup(t.Context(), token.ID); !errors.Is(err, ErrInvalidCredential) {
			t.Errorf("by id: %v", err)
		}
		f.exec(setExpiry, token.ID, database.ToMicros(f.clock.Now().Add(time.Hour)))
		f.clock.advance(DefaultCacheTTL)
		if _, err := f.Lookup(t.Context(), token.ID); err != nil {
			t.Errorf("prolonged: %v", err)
		}
	})
}

func TestPrincipalsAreStoredAs(t *testing.T) {
	id := uuid.MustParse("018f2c7e-1111-7000-8000-000000000001")
	if got := Anonymous().String(); got != "anonymous" {
		t.Error(got)
	}
	for want, p := range map[string]Principal{
		"anonymous":             {},
		"user:" + id.String():   {Kind: rbac.KindUser, ID: id},
		"robot:" + id.String():  {Kind: rbac.KindRobot, ID: id},
		"runner:" + id.String(): {Kind: rbac.KindRunner, ID: id},
	} {
		if got := p.String(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// What the database cannot answer is neither wrong nor missing.
func TestADatabaseThatIsDownIsNotAWrongCredential(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		secret, token := f.token("ada@example.dev")
		c, err := f.Lookup(t.Context(), token.ID)
		f.must(err)
		raw, _, _, err := f.IssueJWT(t.Context(), c, nil)
		f.must(err)
		kid, _, err := f.UploadKey(t.Context())
		f.must(err)
		cold := f.replica()
		f.must(f.db.Close())
		for name, err := range map[string]error{
			"VerifySecret":   ignore(cold.VerifySecret(t.Context(), secret)),
			"Lookup":         ignore(cold.Lookup(t.Context(), token.ID)),
			"VerifyJWT":      ignore(cold.VerifyJWT(t.Context(), raw)),
			"UploadKeyByID":  ignore(cold.UploadKeyByID(t.Context(), kid)),
			"VerifyPassword": ignore(cold.VerifyPassword(t.Context(), "ada@example.dev", goodPass)),
			"CreateUser":     ignore(cold.CreateUser(t.Context(), NewUser{Email: "bob@example.dev"})),
			"CreateToken":    second(cold.CreateToken(t.Context(), NewToken{Email: "ada@example.dev", Name: "x"})),
			"RevokeToken":    cold.RevokeToken(t.Context(), token.ID),
			"UploadKey":      func() error { _, _, err := cold.UploadKey(t.Context()); return err }(),
			"IssueJWT":       func() error { _, _, _, err := cold.IssueJWT(t.Context(), c, nil); return err }(),
			"EnsureAdmin":    func() error { _, _, _, err := cold.EnsureAdmin(t.Context(), Bootstrap{Email: "a@b.dev"}); return err }(),
		} {
			if !errors.Is(err, database.ErrUnavailable) {
				t.Errorf("%s: %v", name, err)
			}
			for _, wrong := range []error{ErrInvalidCredential, ErrInvalidToken, ErrNotFound, ErrExists, ErrUnknownKey} {
				if errors.Is(err, wrong) {
					t.Errorf("%s says %v", name, wrong)
				}
			}
		}
		if _, err := f.VerifyJWT(t.Context(), raw); !errors.Is(err, database.ErrUnavailable) {
			t.Errorf("with a token that was never verified here: %v", err)
		}
	})
}

func ignore[T any](_ T, err error) error { return err }
