package auth

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/berthregistry/berth/internal/database"
	"github.com/berthregistry/berth/internal/rbac"
)

// owners are all kinds of owners, each with one token.
func (f *fixture) owners() map[string]ownedToken {
	f.t.Helper()
	owned := map[string]ownedToken{}
	for _, who := range []string{"ada", "eve"} {
		user, project := f.user(who+"@example.dev"), f.project()
		secret, token, err := f.CreateToken(f.t.Context(), NewToken{UserID: user.ID, Name: who})
		f.must(err)
		owned[who+"'s token"] = ownedToken{ByUser(user.ID), secret, token}
		secret, token, err = f.CreateRobot(f.t.Context(), NewRobot{ProjectID: project, Name: who, Role: rbac.RoleViewer, CreatedBy: "t"})
		f.must(err)
		owned[who+"'s robot"] = ownedToken{ByProject(TokenRobot, project), secret, token}
		secret, token, err = f.CreateRunner(f.t.Context(), NewRunner{ProjectID: project, Name: who, CreatedBy: "t"})
		f.must(err)
		owned[who+"'s runner"] = ownedToken{ByProject(TokenRunner, project), secret, token}
	}
	secret, token, err := f.CreateRunner(f.t.Context(), NewRunner{Name: "metal", CreatedBy: "t"})
	f.must(err)
	owned["the server's runner"] = ownedToken{ByServer(), secret, token}
	return owned
}

type ownedToken struct {
	owner  Owner
	secret string
	token  Token
}

func TestATokenIsItsOwnersOnly(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		owned := f.owners()
		for name, mine := range owned {
			got, err := f.Token(t.Context(), mine.owner, mine.token.ID)
			if err != nil || !cmp.Equal(got, mine.token) {
				t.Errorf("%s: %+v, %v; want %+v", name, got, err, mine.token)
			}
			if list, err := f.owned(t.Context(), mine.owner, firstPage); err != nil || !cmp.Equal(list, []Token{mine.token}) {
				t.Errorf("%s: listed %+v, %v", name, list, err)
			}
			others := map[string]Owner{"nobody": {}, "a user without any": ByUser(newID()), "nil": ByUser(uuid.Nil)}
			for other, o := range owned {
				others[other] = o.owner
			}
			delete(others, name)
			for other, owner := range others {
				_, err := f.Token(t.Context(), owner, mine.token.ID)
				revoked := f.Revoke(t.Context(), nil, owner, mine.token.ID)
				unknown := f.Revoke(t.Context(), nil, owner, newID())
				if !errors.Is(err, ErrNotFound) || !errors.Is(revoked, ErrNotFound) || revoked.Error() != unknown.Error() {
					t.Errorf("%s to %s: %v, %v; an unknown one: %v", name, other, err, revoked, unknown)
				}
			}
		}
		for name, mine := range owned {
			f.valid(name, mine.secret, true)
			f.must(f.Revoke(t.Context(), nil, mine.owner, mine.token.ID))
			f.must(f.Revoke(t.Context(), nil, mine.owner, mine.token.ID)) // again
			f.valid(name+", revoked", mine.secret, false)
			got, err := f.Token(t.Context(), mine.owner, mine.token.ID)
			f.must(err)
			if got.RevokedAt.IsZero() {
				t.Errorf("%s: not shown as revoked", name)
			}
			if list, err := f.owned(t.Context(), mine.owner, firstPage); err != nil || len(list) != 0 {
				t.Errorf("%s, revoked: listed %+v, %v", name, list, err)
			}
		}
	})
}

func TestListsOfTokens(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		user, project := f.user("ada@example.dev").ID, f.project()
		var tokens, robots, runners, servers []uuid.UUID
		for range 5 {
			_, token, err := f.CreateToken(t.Context(), NewToken{UserID: user, Name: "t"})
			f.must(err)
			_, robot, err := f.CreateRobot(t.Context(), NewRobot{ProjectID: project, Name: "t", Role: rbac.RoleViewer, CreatedBy: "t"})
			f.must(err)
			_, runner, err := f.CreateRunner(t.Context(), NewRunner{ProjectID: project, Name: "t", CreatedBy: "t"})
			f.must(err)
			_, server, err := f.CreateRunner(t.Context(), NewRunner{Name: "t", CreatedBy: "t"})
			f.must(err)
			tokens, robots = append(tokens, token.ID), append(robots, robot.ID)
			runners, servers = append(runners, runner.ID), append(servers, server.ID)
		}
		ctx := t.Context()
		for name, c := range map[string]struct {
			list func(database.Page) ([]Token, error)
			want []uuid.UUID
		}{
			"tokens":  {func(p database.Page) ([]Token, error) { return f.Tokens(ctx, user, p) }, tokens},
			"robots":  {func(p database.Page) ([]Token, error) { return f.Robots(ctx, project, p) }, robots},
			"runners": {func(p database.Page) ([]Token, error) { return f.Runners(ctx, project, p) }, runners},
			"server":  {func(p database.Page) ([]Token, error) { return f.Runners(ctx, uuid.Nil, p) }, servers},
		} {
			var got []uuid.UUID
			for page := (database.Page{Limit: 2}); ; {
				part, err := c.list(page)
				f.must(err)
				if len(part) > 2 {
					t.Fatalf("%s: %d in a page", name, len(part))
				}
				if len(part) == 0 {
					break
				}
				for _, token := range part {
					got = append(got, token.ID)
				}
				page.After = got[len(got)-1].String()
			}
			if !cmp.Equal(got, c.want) {
				t.Errorf("%s: %v, want %v", name, got, c.want)
			}
			if _, err := c.list(database.Page{After: "' OR 1=1", Limit: 1}); !errors.Is(err, ErrInvalidInput) {
				t.Errorf("%s: a bad key: %v", name, err)
			}
		}
	})
}

func TestTokensAreCreatedUnderAGuard(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		u, project := f.user("ada@example.dev"), f.project()
		_, robot, err := f.CreateRobot(t.Context(), NewRobot{ProjectID: project, Name: "ci", Role: rbac.RoleViewer, CreatedBy: "t"})
		f.must(err)
		for name, err := range map[string]error{
			"token":  second(f.CreateToken(t.Context(), NewToken{UserID: u.ID, Name: "x", Guard: refuse})),
			"robot":  second(f.CreateRobot(t.Context(), NewRobot{ProjectID: project, Name: "x", Role: rbac.RoleViewer, Guard: refuse})),
			"runner": second(f.CreateRunner(t.Context(), NewRunner{Name: "x", Guard: refuse})),
			"revoke": f.Revoke(t.Context(), refuse, ByProject(TokenRobot, project), robot.ID),
			"user":   ignore(f.CreateUser(t.Context(), NewUser{Email: "eve@example.dev", Guard: refuse})),
			"invite": func() error { _, _, err := f.CreateInvite(t.Context(), refuse, NewInvite{CreatedBy: "t"}); return err }(),
		} {
			if !errors.Is(err, errOfTheGuard) {
				t.Errorf("%s: %v", name, err)
			}
		}
		got, err := f.Token(t.Context(), ByProject(TokenRobot, project), robot.ID)
		f.must(err)
		if !got.RevokedAt.IsZero() || f.count(countTokens) != 1 || f.count(countUsers) != 1 || f.count(countAccounts) != 1 {
			t.Error("something was done")
		}
	})
}

// What a token says of itself is listed; what opens it is not, in no column of any table.
func TestATokenShowsAllButItsSecret(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		u := f.user("ada@example.dev")
		want := Token{
			Kind: TokenPersonal, UserID: u.ID, Name: "narrow", CreatedBy: "user:" + u.ID.String(),
			Grants:    &Grants{Actions: []rbac.Action{rbac.Delete}, Projects: []uuid.UUID{newID()}, Tags: []string{"v*"}},
			CreatedAt: f.clock.Now(), ExpiresAt: f.clock.Now().Add(time.Hour),
		}
		secret, token, err := f.CreateToken(t.Context(), NewToken{
			UserID: u.ID, Name: "narrow", Grants: want.Grants, ExpiresAt: want.ExpiresAt,
		})
		f.must(err)
		want.ID, want.Hint = token.ID, secret[:hintLength]
		if !cmp.Equal(token, want) {
			t.Error(cmp.Diff(want, token))
		}
		if _, _, err := f.CreateToken(t.Context(), NewToken{UserID: u.ID, Name: "x", Grants: &Grants{}}); !errors.Is(err, ErrInvalidInput) {
			t.Errorf("bad grants: %v", err)
		}
		if _, _, err := f.CreateToken(t.Context(), NewToken{UserID: newID(), Name: "x"}); !errors.Is(err, ErrNotFound) {
			t.Errorf("unknown owner: %v", err)
		}
		session, _ := f.session(u.ID)
		invite, _, err := f.CreateInvite(t.Context(), nil, NewInvite{CreatedBy: "t"})
		f.must(err)
		for _, table := range []string{"tokens", "sessions", "invites", "users"} {
			var rows []map[string]any
			f.must(f.db.Gorm().Table(table).Find(&rows).Error)
			if len(rows) == 0 {
				t.Errorf("nothing in %s", table)
			}
			for _, row := range rows {
				for column, value := range row {
					text, _ := value.(string)
					for _, s := range []string{secret, session, invite, goodPass} {
						if strings.Contains(text, s) {
							t.Errorf("a secret is readable in %s.%s", table, column)
						}
					}
				}
			}
		}
	})
}
