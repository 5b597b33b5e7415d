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
	yes, no     = true, false
	countAdmins = database.SQL(`SELECT count(*) FROM users WHERE admin AND locked_at IS NULL`)
)

func (f *fixture) admin(email string) User {
	f.t.Helper()
	u, err := f.CreateUser(f.t.Context(), NewUser{Email: email, Password: goodPass, Admin: true})
	f.must(err)
	return u
}

// byAdmin is the guard of an administrator's change, by a session.
func (f *fixture) byAdmin(id uuid.UUID) func(*database.Batch) {
	f.t.Helper()
	secret, _ := f.session(id)
	c, err := f.VerifyAPI(f.t.Context(), secret)
	f.must(err)
	return func(b *database.Batch) {
		c.Require(b)
		RequireAdmin(b, id)
	}
}

func TestUsersAreListed(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		var all []User
		for _, email := range []string{"ada@a.dev", "a_x@a.dev", "adam@b.dev", "bob@a.dev"} {
			all = append(all, f.user(email))
		}
		for name, c := range map[string]struct {
			filter UserFilter
			page   database.Page
			want   []int
		}{
			"all":           {UserFilter{}, firstPage, []int{0, 1, 2, 3}},
			"first":         {UserFilter{}, database.Page{Limit: 2}, []int{0, 1}},
			"next":          {UserFilter{}, database.Page{After: all[1].ID.String(), Limit: 2}, []int{2, 3}},
			"end":           {UserFilter{}, database.Page{After: all[3].ID.String(), Limit: 2}, nil},
			"prefix":        {UserFilter{Email: "ADA"}, firstPage, []int{0, 2}},
			"no wildcard":   {UserFilter{Email: "a_"}, firstPage, []int{1}},
			"not a percent": {UserFilter{Email: "%"}, firstPage, nil},
			"none":          {UserFilter{Email: "x'; --"}, firstPage, nil},
		} {
			got, err := f.Users(t.Context(), c.filter, c.page)
			f.must(err)
			if len(got) != len(c.want) {
				t.Errorf("%s: %+v", name, got)
				continue
			}
			for i, at := range c.want {
				if got[i] != all[at] {
					t.Errorf("%s: %+v, want %+v", name, got[i], all[at])
				}
			}
		}
		one, err := f.User(t.Context(), all[0].ID)
		if err != nil || one != all[0] || one.Version != 1 {
			t.Errorf("%+v, %v", one, err)
		}
		for name, err := range map[string]error{
			"id":        ignore(f.User(t.Context(), newID())),
			"address":   ignore(f.UserByEmail(t.Context(), "eve@a.dev")),
			"malformed": ignore(f.UserByEmail(t.Context(), "%")),
		} {
			if !errors.Is(err, ErrNotFound) {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
}

func TestAUserIsChanged(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		u := f.user("ada@example.dev")
		secret, _, err := f.CreateToken(t.Context(), NewToken{UserID: u.ID, Name: "t"})
		f.must(err)
		f.valid("before", secret, true)
		f.clock.advance(time.Second)
		name, long := "Countess", strings.Repeat("x", 201)
		got, err := f.ChangeUser(t.Context(), nil, u.ID, UserChange{Name: &name, Admin: &yes}, u.Version)
		f.must(err)
		want := u
		want.Name, want.Admin, want.Version, want.UpdatedAt = name, true, 2, u.UpdatedAt.Add(time.Second)
		if got != want {
			t.Errorf("%+v, want %+v", got, want)
		}
		if stored, err := f.User(t.Context(), u.ID); err != nil || stored != want {
			t.Errorf("stored %+v, %v", stored, err)
		}
		if c, err := f.VerifySecret(t.Context(), secret); err != nil || !c.Principal.Admin {
			t.Errorf("the token's owner is not an administrator at once: %+v, %v", c, err)
		}
		f.admin("other@example.dev")
		for what, c := range map[string]struct {
			id        uuid.UUID
			change    UserChange
			guard     func(*database.Batch)
			ifVersion int64
			want      error
		}{
			"old version": {u.ID, UserChange{Admin: &no}, nil, 1, ErrVersion},
			"unknown":     {newID(), UserChange{Admin: &no}, nil, 0, ErrNotFound},
			"unknown too": {newID(), UserChange{Name: &name}, nil, 1, ErrNotFound},
			"long name":   {u.ID, UserChange{Name: &long}, nil, 0, ErrInvalidInput},
			"password":    {u.ID, UserChange{Password: &[]string{"short"}[0]}, nil, 0, ErrInvalidInput},
			"guard":       {u.ID, UserChange{Locked: &yes}, refuse, 0, errOfTheGuard},
			"guard first": {newID(), UserChange{Name: &name}, refuse, 9, errOfTheGuard},
		} {
			if _, err := f.ChangeUser(t.Context(), c.guard, c.id, c.change, c.ifVersion); !errors.Is(err, c.want) {
				t.Errorf("%s: %v, want %v", what, err, c.want)
			}
		}
		if stored, err := f.User(t.Context(), u.ID); err != nil || stored != want {
			t.Errorf("after what was refused: %+v, %v", stored, err)
		}
	})
}

func TestTheLastAdministratorStays(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		last, locked := f.admin("last@example.dev"), f.admin("locked@example.dev")
		f.exec(lockUser, locked.ID)
		guard := f.byAdmin(last.ID)
		for name, change := range map[string]UserChange{
			"demote": {Admin: &no}, "lock": {Locked: &yes}, "both": {Admin: &no, Locked: &yes}, "as admin": {Admin: &yes, Locked: &yes},
		} {
			if _, err := f.ChangeUser(t.Context(), guard, last.ID, change, 0); !errors.Is(err, ErrLastAdmin) {
				t.Errorf("%s: %v", name, err)
			}
		}
		// A locked administrator is none to keep, and a user never was one.
		_, err := f.ChangeUser(t.Context(), guard, locked.ID, UserChange{Admin: &no}, 0)
		f.must(err)
		_, err = f.ChangeUser(t.Context(), guard, f.user("ada@example.dev").ID, UserChange{Locked: &yes}, 0)
		f.must(err)
		if n := f.count(countAdmins); n != 1 {
			t.Errorf("%d administrators", n)
		}
		if n := len(f.sessionsOf(last.ID)); n != 1 {
			t.Errorf("%d sessions of the last administrator: what is refused must end none", n)
		}
		// With another one it works.
		f.admin("other@example.dev")
		_, err = f.ChangeUser(t.Context(), guard, last.ID, UserChange{Admin: &no}, 0)
		f.must(err)
	})
}

// Administrators who demote or lock each other, and themselves, at once leave one.
func TestAdministratorsWhoDemoteEachOther(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		for round := range 8 {
			suffix := "@" + string(rune('a'+round)) + ".dev"
			a, b := f.admin("a"+suffix), f.admin("b"+suffix)
			guards := map[uuid.UUID]func(*database.Batch){a.ID: f.byAdmin(a.ID), b.ID: f.byAdmin(b.ID)}
			change := []UserChange{{Admin: &no}, {Locked: &yes}}[round%2]
			var done atomic.Int64
			var wg sync.WaitGroup
			for _, pair := range [][2]User{{a, b}, {b, a}, {a, a}, {b, b}} {
				replica := f.replica()
				wg.Go(func() {
					_, err := replica.ChangeUser(t.Context(), guards[pair[0].ID], pair[1].ID, change, 0)
					switch {
					case err == nil:
						done.Add(1)
					case !errors.Is(err, ErrLastAdmin) && !errors.Is(err, ErrNotAdmin) && !errors.Is(err, ErrRevoked):
						t.Error(err)
					}
				})
			}
			wg.Wait()
			if n := f.count(countAdmins); n != 1 || done.Load() == 0 {
				t.Fatalf("round %d: %d administrators, %d changes", round, n, done.Load())
			}
			f.exec(database.SQL(`UPDATE users SET admin = false`))
		}
	})
}

func TestAPasswordIsChanged(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		pat, token := f.token("ada@example.dev")
		eve := f.user("eve@example.dev")
		mine, session := f.session(token.UserID)
		old, _ := f.session(token.UserID)
		hers, _ := f.session(eve.ID)
		for _, s := range []string{mine, old, hers} {
			f.valid("before", s, true)
		}
		change := func(id uuid.UUID, current, next string) error {
			return f.ChangePassword(t.Context(), nil, id, current, next, session.ID)
		}
		_, err := f.CreateUser(t.Context(), NewUser{Email: "none@example.dev"})
		f.must(err)
		none, err := f.UserByEmail(t.Context(), "none@example.dev")
		f.must(err)
		for name, c := range map[string]struct{ err, want error }{
			"wrong":           {change(token.UserID, "wrong password", anotherGoodPwd), ErrInvalidCredential},
			"empty":           {change(token.UserID, "", anotherGoodPwd), ErrInvalidCredential},
			"huge":            {change(token.UserID, strings.Repeat("x", 1<<20), anotherGoodPwd), ErrInvalidCredential},
			"nobody":          {change(newID(), goodPass, anotherGoodPwd), ErrInvalidCredential},
			"has no password": {change(none.ID, "", anotherGoodPwd), ErrInvalidCredential},
			"short":           {change(token.UserID, goodPass, "short"), ErrInvalidInput},
		} {
			if !errors.Is(c.err, c.want) {
				t.Errorf("%s: %v, want %v", name, c.err, c.want)
			}
		}
		f.valid("after what was refused", old, true)
		f.must(change(token.UserID, goodPass, anotherGoodPwd))
		f.valid("the session that changed it", mine, true)
		f.valid("another session", old, false)
		f.valid("another user's session", hers, true)
		f.valid("a token", pat, true)
		if _, err := f.VerifyPassword(t.Context(), "ada@example.dev", goodPass); !errors.Is(err, ErrInvalidCredential) {
			t.Errorf("the old password: %v", err)
		}
		u, err := f.VerifyPassword(t.Context(), "ada@example.dev", anotherGoodPwd)
		if err != nil || u.Version != 2 {
			t.Errorf("the new password: %+v, %v", u, err)
		}
		f.exec(lockUser, token.UserID)
		if err := change(token.UserID, anotherGoodPwd, goodPass); !errors.Is(err, ErrInvalidCredential) {
			t.Errorf("locked: %v", err)
		}
	})
}

// Of two who change a password at once, both knowing the old one, the second no longer knows it.
func TestAPasswordIsChangedOnce(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		u := f.user("ada@example.dev")
		var changed atomic.Int64
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				err := f.ChangePassword(t.Context(), nil, u.ID, goodPass, anotherGoodPwd, uuid.Nil)
				if err == nil {
					changed.Add(1)
				} else if !errors.Is(err, ErrInvalidCredential) {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if changed.Load() != 1 {
			t.Errorf("changed %d times", changed.Load())
		}
	})
}

func TestAnAdministratorSetsAPassword(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		u := f.user("ada@example.dev")
		secret, _ := f.session(u.ID)
		f.valid("before", secret, true)
		next, none := anotherGoodPwd, ""
		_, err := f.ChangeUser(t.Context(), nil, u.ID, UserChange{Password: &next}, 0)
		f.must(err)
		f.valid("a session from before", secret, false)
		ada := f.admin("admin@example.dev") // one's own, by a session that ends with it
		_, err = f.ChangeUser(t.Context(), f.byAdmin(ada.ID), ada.ID, UserChange{Password: &next}, 0)
		f.must(err)
		if n := len(f.sessionsOf(ada.ID)); n != 0 {
			t.Errorf("%d sessions are left", n)
		}
		_, err = f.VerifyPassword(t.Context(), u.Email, next)
		f.must(err)
		_, err = f.ChangeUser(t.Context(), nil, u.ID, UserChange{Password: &none}, 0)
		f.must(err)
		for _, password := range []string{next, goodPass, none} {
			if _, err := f.VerifyPassword(t.Context(), u.Email, password); !errors.Is(err, ErrInvalidCredential) {
				t.Errorf("%q after its removal: %v", password, err)
			}
		}
	})
}
