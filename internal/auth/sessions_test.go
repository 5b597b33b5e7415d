package auth

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/berthregistry/berth/internal/database"
	"github.com/berthregistry/berth/internal/rbac"
)

var (
	countSessions  = database.SQL(`SELECT count(*) FROM sessions`)
	storedSession  = database.SQL(`SELECT count(*) FROM sessions WHERE secret_hash = $1`)
	expireSession  = database.SQL(`UPDATE sessions SET expires_at = $2 WHERE id = $1`)
	firstPage      = database.Page{Limit: 100}
	errOfTheGuard  = errors.New("not allowed")
	refuse         = func(b *database.Batch) { b.Require(errOfTheGuard, requireNothing) }
	anotherGoodPwd = "another correct horse"
)

// session is a session of a user, by password.
func (f *fixture) session(userID uuid.UUID) (string, Session) {
	f.t.Helper()
	secret, session, err := f.OpenSession(f.t.Context(), NewSession{UserID: userID, UserAgent: "test", RemoteIP: "192.0.2.1"})
	f.must(err)
	return secret, session
}

// valid fails the test unless the secret is one, or none, for the product API.
func (f *fixture) valid(name, secret string, want bool) {
	f.t.Helper()
	_, err := f.VerifyAPI(f.t.Context(), secret)
	if want != (err == nil) || err != nil && !errors.Is(err, ErrInvalidCredential) {
		f.t.Errorf("%s: %v", name, err)
	}
}

func (f *fixture) sessionsOf(userID uuid.UUID) []Session {
	f.t.Helper()
	sessions, err := f.Sessions(f.t.Context(), userID, firstPage)
	f.must(err)
	return sessions
}

func TestASessionIsItsUser(t *testing.T) {
	eachCounting(t, func(t *testing.T, f *fixture) {
		u := f.user("ada@example.dev")
		secret, session := f.session(u.ID)
		c, err := f.VerifyAPI(t.Context(), secret)
		f.must(err)
		want := Credential{
			Principal: Principal{Kind: rbac.KindUser, ID: u.ID, AccountID: u.AccountID, Name: u.Email},
			SessionID: session.ID, ExpiresAt: f.clock.Now().Add(DefaultSessionTTL).Truncate(time.Microsecond),
		}
		if c != want || session.ExpiresAt != want.ExpiresAt {
			t.Errorf("%+v, want %+v", c, want)
		}
		if list := f.sessionsOf(u.ID); len(list) != 1 || list[0] != session || list[0].UserAgent != "test" || list[0].RemoteIP != "192.0.2.1" {
			t.Errorf("listed %+v, want %+v", list, session)
		}
		if f.count(storedSession, hashSecret(secret).String()) != 1 || f.count(storedSession, secret) != 0 {
			t.Error("the secret is not stored as its hash")
		}
		if n := f.trips(func() { f.valid("warm", secret, true) }); n != 0 {
			t.Errorf("%d round trips when warm", n)
		}
		f.must(f.required(c.Require))
	})
}

// What opens the product API for a while opens no registry, and the other way round nothing is confused.
func TestASessionIsNoRegistryToken(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		pat, _ := f.token("ada@example.dev")
		u, err := f.UserByEmail(t.Context(), "ADA@example.dev")
		f.must(err)
		secret, _ := f.session(u.ID)
		if _, err := f.VerifySecret(t.Context(), secret); !errors.Is(err, ErrInvalidCredential) {
			t.Errorf("VerifySecret: %v", err)
		}
		if _, err := f.VerifySession(t.Context(), pat); !errors.Is(err, ErrInvalidCredential) {
			t.Errorf("VerifySession: %v", err)
		}
		f.valid("token", pat, true)
		for name, wrong := range map[string]string{
			"none": "", "unknown": newSecret(sessionPrefix), "cut": secret[:len(secret)-1], "invite": newSecret(invitePrefix),
		} {
			f.valid(name, wrong, false)
		}
	})
}

func TestASessionEnds(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		u, eve := f.user("ada@example.dev"), f.user("eve@example.dev")
		secret, session := f.session(u.ID)
		c, err := f.VerifyAPI(t.Context(), secret)
		f.must(err)
		other := f.replica()
		other.valid("before, there", secret, true)
		for name, id := range map[string]uuid.UUID{"another user's": session.ID, "unknown": newID()} {
			if err := f.EndSession(t.Context(), nil, eve.ID, id); !errors.Is(err, ErrNotFound) {
				t.Errorf("%s: %v", name, err)
			}
		}
		f.valid("still", secret, true)
		f.must(f.EndSession(t.Context(), nil, u.ID, session.ID))
		f.must(f.EndSession(t.Context(), nil, u.ID, session.ID)) // again
		f.valid("at once, here", secret, false)
		if err := f.required(c.Require); !errors.Is(err, ErrRevoked) {
			t.Errorf("a guarded write: %v", err)
		}
		f.clock.advance(DefaultCacheTTL)
		other.valid("in time, there", secret, false)
		if n := len(f.sessionsOf(u.ID)); n != 0 {
			t.Errorf("%d sessions listed", n)
		}
	})
}

func TestASessionExpires(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		u := f.user("ada@example.dev")
		secret, session := f.session(u.ID)
		f.clock.advance(DefaultSessionTTL - time.Microsecond)
		f.valid("a moment before", secret, true)
		c, err := f.VerifyAPI(t.Context(), secret)
		f.must(err)
		f.clock.advance(time.Microsecond)
		f.valid("at the end", secret, false)
		f.must(f.required(c.Require)) // by the database's own time
		f.exec(expireSession, session.ID, database.ToMicros(time.Now().Add(-time.Second)))
		if err := f.required(c.Require); !errors.Is(err, ErrRevoked) {
			t.Errorf("a guarded write: %v", err)
		}
		f.session(u.ID)
		if n := f.count(countSessions); n != 1 {
			t.Errorf("%d sessions are stored, and one is open", n)
		}
	})
}

func TestALockedUsersCredentialsStop(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		pat, token := f.token("ada@example.dev")
		secret, _ := f.session(token.UserID)
		other := f.replica()
		var held []Credential
		for _, s := range []string{pat, secret} {
			other.valid("before", s, true)
			c, err := f.VerifyAPI(t.Context(), s)
			f.must(err)
			held = append(held, c)
		}
		yes := true
		_, err := f.ChangeUser(t.Context(), nil, token.UserID, UserChange{Locked: &yes}, 0)
		f.must(err)
		for _, c := range held {
			if err := f.required(c.Require); !errors.Is(err, ErrRevoked) {
				t.Errorf("a guarded write: %v", err)
			}
		}
		for _, s := range []string{pat, secret} {
			f.valid("at once, here", s, false)
		}
		if _, err := f.Lookup(t.Context(), token.ID); !errors.Is(err, ErrInvalidCredential) {
			t.Errorf("by id: %v", err)
		}
		f.clock.advance(DefaultCacheTTL)
		for _, s := range []string{pat, secret} {
			other.valid("in time, there", s, false)
		}
		if _, _, err := f.OpenSession(t.Context(), NewSession{UserID: token.UserID}); !errors.Is(err, ErrInvalidCredential) {
			t.Errorf("a new session: %v", err)
		}
		no := false
		_, err = f.ChangeUser(t.Context(), nil, token.UserID, UserChange{Locked: &no}, 0)
		f.must(err)
		f.valid("token, unlocked", pat, true)
		f.valid("session, unlocked", secret, false)
	})
}

func TestASessionEndsWithItsToken(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		u := f.user("ada@example.dev")
		expires := f.clock.Now().Add(time.Hour).Truncate(time.Microsecond)
		_, token, err := f.CreateToken(t.Context(), NewToken{UserID: u.ID, Name: "laptop", ExpiresAt: expires})
		f.must(err)
		secret, session, err := f.OpenSession(t.Context(), NewSession{UserID: u.ID, TokenID: token.ID})
		f.must(err)
		byPassword, _ := f.session(u.ID)
		if !session.ExpiresAt.Equal(expires) {
			t.Errorf("expires %s, its token %s", session.ExpiresAt, expires)
		}
		c, err := f.VerifyAPI(t.Context(), secret)
		f.must(err)
		other := f.replica()
		other.valid("before, there", secret, true)
		f.must(f.Revoke(t.Context(), nil, ByUser(u.ID), token.ID))
		f.valid("at once, here", secret, false)
		f.valid("the other session", byPassword, true)
		if err := f.required(c.Require); !errors.Is(err, ErrRevoked) {
			t.Errorf("a guarded write: %v", err)
		}
		f.clock.advance(DefaultCacheTTL)
		other.valid("in time, there", secret, false)
		if n := len(f.sessionsOf(u.ID)); n != 1 {
			t.Errorf("%d sessions listed", n)
		}
	})
}

func TestSessionsThatAreNotOpened(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		u, eve := f.user("ada@example.dev"), f.user("eve@example.dev")
		narrow := &Grants{Actions: []rbac.Action{rbac.Pull}}
		token := func(n NewToken) uuid.UUID {
			n.Name = "t"
			_, created, err := f.CreateToken(t.Context(), n)
			f.must(err)
			return created.ID
		}
		revoked := token(NewToken{UserID: u.ID})
		f.must(f.RevokeToken(t.Context(), revoked))
		_, robot, err := f.CreateRobot(t.Context(), NewRobot{ProjectID: f.project(), Name: "ci", Role: rbac.RoleViewer, CreatedBy: "t"})
		f.must(err)
		for name, n := range map[string]NewSession{
			"unknown user":     {UserID: newID()},
			"no user":          {},
			"stale password":   {UserID: u.ID, UserVersion: u.Version + 1},
			"another's token":  {UserID: u.ID, TokenID: token(NewToken{UserID: eve.ID})},
			"revoked token":    {UserID: u.ID, TokenID: revoked},
			"restricted token": {UserID: u.ID, TokenID: token(NewToken{UserID: u.ID, Grants: narrow})},
			"robot":            {UserID: u.ID, TokenID: robot.ID},
		} {
			if secret, _, err := f.OpenSession(t.Context(), n); !errors.Is(err, ErrInvalidCredential) || secret != "" {
				t.Errorf("%s: %q, %v", name, secret, err)
			}
		}
		if f.count(countSessions) != 0 {
			t.Error("a session is stored")
		}
		_, s, err := f.OpenSession(t.Context(), NewSession{
			UserID: u.ID, UserVersion: u.Version, UserAgent: "a\x00\x1b[2J\xff" + strings.Repeat("ä", 1000), RemoteIP: strings.Repeat("1", 100),
		})
		f.must(err)
		if !strings.HasPrefix(s.UserAgent, "a[2Jä") || len([]rune(s.UserAgent)) != maxUserAgent || len(s.RemoteIP) != maxRemoteIP {
			t.Errorf("%q, %q", s.UserAgent, s.RemoteIP)
		}
	})
}
