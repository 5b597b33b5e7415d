package auth

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/berthregistry/berth/internal/database"
)

// mode is a replica with another mode of sign-up.
func (f *fixture) mode(m SignUpMode) *fixture {
	f.t.Helper()
	return newReplicaWith(f.t, f.db, f.clock, Options{SignUp: m})
}

func (f *fixture) invite(n NewInvite) (string, Invite) {
	f.t.Helper()
	n.CreatedBy = "test"
	secret, invite, err := f.CreateInvite(f.t.Context(), nil, n)
	f.must(err)
	return secret, invite
}

func newcomer(email string) NewUser {
	return NewUser{Email: email, Password: goodPass, Name: "New", Admin: true}
}

func TestSignUpIsClosedUnlessItIsOpened(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		secret, _ := f.invite(NewInvite{})
		for _, invite := range []string{"", secret} {
			if _, err := f.SignUp(t.Context(), newcomer("ada@example.dev"), invite); !errors.Is(err, ErrSignUpClosed) {
				t.Errorf("error %v", err)
			}
		}
		if f.count(countUsers) != 0 {
			t.Error("somebody signed up")
		}
		if _, err := NewService(f.db, Options{Issuer: "x", Service: "x", SignUp: "Open"}); err == nil {
			t.Error("an unknown mode")
		}
	})
}

func TestOpenSignUp(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		open := f.mode(SignUpOpen)
		u, err := open.SignUp(t.Context(), newcomer("Ada@Example.dev"), "")
		f.must(err)
		stored, err := f.VerifyPassword(t.Context(), "ada@example.dev", goodPass)
		f.must(err)
		if u != stored || u.Admin || u.AccountID == uuid.Nil || u.Email != "ada@example.dev" {
			t.Errorf("%+v, stored %+v", u, stored)
		}
		noPassword := newcomer("eve@example.dev")
		noPassword.Password = ""
		for name, c := range map[string]struct{ err, want error }{
			"taken":       {ignore(open.SignUp(t.Context(), newcomer("ADA@example.dev"), "")), ErrExists},
			"malformed":   {ignore(open.SignUp(t.Context(), newcomer("ada"), "")), ErrInvalidInput},
			"no password": {ignore(open.SignUp(t.Context(), noPassword, "")), ErrInvalidInput},
			"bad invite":  {ignore(open.SignUp(t.Context(), newcomer("eve@example.dev"), "berth_inv_x")), ErrInvite},
		} {
			if !errors.Is(c.err, c.want) {
				t.Errorf("%s: %v", name, c.err)
			}
		}
		if f.count(countUsers) != 1 || f.count(countAccounts) != 1 {
			t.Error("something was created")
		}
	})
}

func TestSignUpByInvite(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		byInvite := f.mode(SignUpInvite)
		signUp := func(email, invite string) error { return ignore(byInvite.SignUp(t.Context(), newcomer(email), invite)) }
		forAda, _ := f.invite(NewInvite{Email: "Ada@Example.dev"})
		forAnyone, anyone := f.invite(NewInvite{})
		short, _ := f.invite(NewInvite{ExpiresAt: f.clock.Now().Add(time.Minute)})
		revoked, gone := f.invite(NewInvite{})
		f.must(f.RevokeInvite(t.Context(), nil, gone.ID))
		f.must(f.RevokeInvite(t.Context(), nil, gone.ID)) // again
		f.must(signUp("ADA@example.dev", forAda))
		f.clock.advance(time.Minute)
		other, _ := f.invite(NewInvite{Email: "bob@example.dev"})
		var said string
		for name, invite := range map[string]string{
			"used": forAda, "expired": short, "revoked": revoked, "another's": other, "unknown": newSecret(invitePrefix),
		} {
			err := signUp("eve@example.dev", invite)
			if said == "" {
				said = fmt.Sprint(err)
			}
			if !errors.Is(err, ErrInvite) || err.Error() != said {
				t.Errorf("%s: %v, and another one %s", name, err, said)
			}
		}
		for name, invite := range map[string]string{"none": "", "malformed": "berth_inv_x", "token": newSecret(personalPrefix)} {
			if err := signUp("eve@example.dev", invite); !errors.Is(err, ErrInvite) {
				t.Errorf("%s: %v", name, err)
			}
		}
		// What fails for another reason leaves the invite.
		if err := signUp("ada@example.dev", forAnyone); !errors.Is(err, ErrExists) {
			t.Errorf("taken: %v", err)
		}
		if err := signUp("eve", forAnyone); !errors.Is(err, ErrInvalidInput) {
			t.Errorf("malformed address: %v", err)
		}
		f.must(signUp("eve@example.dev", forAnyone))
		if f.count(countUsers) != 2 || f.count(countAdmins) != 0 {
			t.Errorf("%d users, %d administrators", f.count(countUsers), f.count(countAdmins))
		}
		eve, err := f.UserByEmail(t.Context(), "eve@example.dev")
		f.must(err)
		invites, err := f.Invites(t.Context(), database.Page{After: "", Limit: 100})
		f.must(err)
		if len(invites) != 4 || invites[1].ID != anyone.ID || invites[1].UsedBy != eve.ID || invites[1].UsedAt.IsZero() {
			t.Errorf("%+v", invites)
		}
	})
}

func TestAnInviteIsUsedOnce(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		secret, _ := f.invite(NewInvite{})
		var in atomic.Int64
		var wg sync.WaitGroup
		for i := range 20 {
			replica := f.mode([]SignUpMode{SignUpInvite, SignUpOpen}[i%2])
			wg.Go(func() {
				_, err := replica.SignUp(t.Context(), newcomer(fmt.Sprintf("u%d@example.dev", i)), secret)
				if err == nil {
					in.Add(1)
				} else if !errors.Is(err, ErrInvite) {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if in.Load() != 1 || f.count(countUsers) != 1 || f.count(countAccounts) != 1 {
			t.Errorf("%d signed up; %d users", in.Load(), f.count(countUsers))
		}
	})
}

func TestInvites(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		_, first := f.invite(NewInvite{Email: "ADA@example.dev"})
		_, second := f.invite(NewInvite{})
		if first.Email != "ada@example.dev" || !first.ExpiresAt.Equal(f.clock.Now().Add(DefaultInviteTTL)) || len(first.Hint) != hintLength {
			t.Errorf("%+v", first)
		}
		list, err := f.Invites(t.Context(), database.Page{After: first.ID.String(), Limit: 1})
		if err != nil || len(list) != 1 || list[0] != second {
			t.Errorf("%+v, %v; want %+v", list, err, second)
		}
		create := func(n NewInvite) error { _, _, err := f.CreateInvite(t.Context(), nil, n); return err }
		for name, c := range map[string]struct{ err, want error }{
			"past":     {create(NewInvite{ExpiresAt: f.clock.Now()}), ErrInvalidInput},
			"address":  {create(NewInvite{Email: "ada"}), ErrInvalidInput},
			"unknown":  {f.RevokeInvite(t.Context(), nil, newID()), ErrNotFound},
			"guarded":  {f.RevokeInvite(t.Context(), refuse, first.ID), errOfTheGuard},
			"bad page": {ignore(f.Invites(t.Context(), database.Page{After: "x", Limit: 1})), ErrInvalidInput},
		} {
			if !errors.Is(c.err, c.want) {
				t.Errorf("%s: %v, want %v", name, c.err, c.want)
			}
		}
	})
}
