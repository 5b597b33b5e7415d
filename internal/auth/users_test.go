package auth

import (
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/berthregistry/berth/internal/database"
)

var (
	countUsers    = database.SQL(`SELECT count(*) FROM users`)
	countAccounts = database.SQL(`SELECT count(*) FROM accounts WHERE kind = 'personal'`)
	countTokens   = database.SQL(`SELECT count(*) FROM tokens`)
	lockUser      = database.SQL(`UPDATE users SET locked_at = 1 WHERE id = $1`)
	spoilPassword = database.SQL(`UPDATE users SET password_hash = 'plain' WHERE id = $1`)
)

func TestAUserHasAnAccountAndAPassword(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		u, err := f.CreateUser(t.Context(), NewUser{Email: "Ada@Example.dev", Password: goodPass, Name: "Ada", Admin: true})
		f.must(err)
		if u.Email != "ada@example.dev" || !u.Admin || u.Locked || u.AccountID == uuid.Nil || u.ID.Version() != 7 ||
			!u.CreatedAt.Equal(f.clock.Now().Truncate(time.Microsecond)) {
			t.Errorf("%+v", u)
		}
		got, err := f.VerifyPassword(t.Context(), "ADA@example.DEV", goodPass)
		f.must(err)
		if got != u {
			t.Errorf("%+v, want %+v", got, u)
		}
		if f.count(countAccounts) != 1 {
			t.Error("no account")
		}
	})
}

func TestAnEmailAddressBelongsToOneUser(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.user("ada@example.dev")
		if _, err := f.CreateUser(t.Context(), NewUser{Email: "ADA@example.dev"}); !errors.Is(err, ErrExists) {
			t.Errorf("error %v", err)
		}
		if f.count(countAccounts) != 1 {
			t.Error("an account without a user is left")
		}
	})
}

func TestInvalidUsers(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		for name, u := range map[string]NewUser{
			"no address":     {},
			"no domain":      {Email: "ada"},
			"display name":   {Email: "Ada <ada@example.dev>"},
			"two":            {Email: "ada@example.dev, bob@example.dev"},
			"comment":        {Email: "ada@example.dev (Ada)"},
			"quoted":         {Email: `"ada"@example.dev`},
			"space":          {Email: " ada@example.dev"},
			"new line":       {Email: "ada@example.dev\n"},
			"not ASCII":      {Email: "ädä@example.dev"},
			"homograph":      {Email: "ada@exаmple.dev"},
			"long":           {Email: strings.Repeat("a", 250) + "@example.dev"},
			"short password": {Email: "ada@example.dev", Password: "1234567"},
			"long password":  {Email: "ada@example.dev", Password: strings.Repeat("x", 513)},
			"not UTF-8":      {Email: "ada@example.dev", Password: "\xff\xfe\xfd\xfc\xfb\xfa\xf9\xf8"},
			"long name":      {Email: "ada@example.dev", Name: strings.Repeat("x", 201)},
			"control":        {Email: "ada@example.dev", Name: "Ada\x1b[2J"},
		} {
			if _, err := f.CreateUser(t.Context(), u); !errors.Is(err, ErrInvalidInput) {
				t.Errorf("%s: error %v", name, err)
			}
		}
		if f.count(countUsers)+f.count(countAccounts) != 0 {
			t.Error("something was created")
		}
	})
}

func TestPasswordsThatOpenNothing(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.user("ada@example.dev")
		_, err := f.CreateUser(t.Context(), NewUser{Email: "robot@example.dev"})
		f.must(err)
		locked := f.user("locked@example.dev")
		f.exec(lockUser, locked.ID)
		for name, c := range map[string]struct{ email, password string }{
			"wrong password":   {"ada@example.dev", goodPass + "x"},
			"empty password":   {"ada@example.dev", ""},
			"huge password":    {"ada@example.dev", strings.Repeat("x", 1<<20)},
			"unknown address":  {"eve@example.dev", goodPass},
			"malformed":        {"eve", goodPass},
			"without password": {"robot@example.dev", goodPass},
			"nor an empty one": {"robot@example.dev", ""},
			"locked":           {"locked@example.dev", goodPass},
		} {
			if u, err := f.VerifyPassword(t.Context(), c.email, c.password); !errors.Is(err, ErrInvalidCredential) || u != (User{}) {
				t.Errorf("%s: %v, error %v", name, u, err)
			}
		}
	})
}

func TestASpoiltHashIsNotAWrongPassword(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		u := f.user("ada@example.dev")
		f.exec(spoilPassword, u.ID)
		if _, err := f.VerifyPassword(t.Context(), u.Email, "plain"); err == nil || errors.Is(err, ErrInvalidCredential) {
			t.Errorf("error %v", err)
		}
	})
}

func TestTheFirstAdministrator(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		created, password, token, err := f.EnsureAdmin(t.Context(), Bootstrap{Email: "admin@localhost"})
		f.must(err)
		if !created {
			t.Fatal("not created")
		}
		u, err := f.VerifyPassword(t.Context(), "admin@localhost", password)
		f.must(err)
		c, err := f.VerifySecret(t.Context(), token)
		f.must(err)
		if !u.Admin || !c.Principal.Admin || c.Principal.ID != u.ID {
			t.Errorf("%+v, %+v", u, c)
		}
		created, password, token, err = f.EnsureAdmin(t.Context(), Bootstrap{Email: "other@localhost"})
		if created || password != "" || token != "" || err != nil {
			t.Errorf("again: %t, %q, %q, %v", created, password, token, err)
		}
	})
}

func TestTheFirstAdministratorAsConfigured(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		const chosen = "a-token-of-another-form"
		created, password, token, err := f.EnsureAdmin(t.Context(), Bootstrap{Email: "a@b.dev", Password: goodPass, Token: chosen})
		if !created || password != "" || token != "" || err != nil {
			t.Fatalf("%t, %q, %q, %v", created, password, token, err)
		}
		if _, err := f.VerifySecret(t.Context(), chosen); err != nil {
			t.Error(err)
		}
		if _, err := f.VerifyPassword(t.Context(), "a@b.dev", goodPass); err != nil {
			t.Error(err)
		}
	})
}

func TestTheFirstAdministratorIsRefusedWhole(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		for name, b := range map[string]Bootstrap{
			"address":        {Email: "nobody"},
			"password":       {Email: "a@b.dev", Password: "short"},
			"token":          {Email: "a@b.dev", Token: "short"},
			"mistyped token": {Email: "a@b.dev", Token: newSecret(personalPrefix) + "x"},
		} {
			if created, _, _, err := f.EnsureAdmin(t.Context(), b); created || !errors.Is(err, ErrInvalidInput) {
				t.Errorf("%s: %t, %v", name, created, err)
			}
		}
		if f.count(countUsers)+f.count(countAccounts)+f.count(countTokens) != 0 {
			t.Error("something was created")
		}
	})
}

// Nobody becomes an administrator on a server that has users.
func TestAServerWithUsersGetsNoAdministrator(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.user("ada@example.dev")
		if created, _, _, err := f.EnsureAdmin(t.Context(), Bootstrap{Email: "a@b.dev"}); created || err != nil {
			t.Error(created, err)
		}
	})
}

func TestReplicasThatStartAtOnceCreateOneAdministrator(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		var created atomic.Int64
		var wg sync.WaitGroup
		for i := range 10 {
			replica, email := f.replica(), string(rune('a'+i))+"@localhost" // the settings need not agree
			wg.Go(func() {
				ok, password, token, err := replica.EnsureAdmin(t.Context(), Bootstrap{Email: email})
				if err != nil {
					t.Error(err)
				}
				if ok {
					created.Add(1)
				}
				if ok != (password != "") || ok != (token != "") {
					t.Errorf("created %t, but password %q and token %q", ok, password, token)
				}
			})
		}
		wg.Wait()
		if created.Load() != 1 || f.count(countUsers) != 1 || f.count(countAccounts) != 1 || f.count(countTokens) != 1 {
			t.Errorf("%d created; %d users, %d accounts, %d tokens", created.Load(), f.count(countUsers), f.count(countAccounts),
				f.count(countTokens))
		}
	})
}
