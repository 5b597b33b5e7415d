package auth

import (
	"log/slog"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/berthregistry/berth/internal/database"
	"github.com/berthregistry/berth/internal/database/dbtest"
	"github.com/berthregistry/berth/internal/limits"
)

var (
	remainingTokens = database.SQL(`SELECT count(*) FROM tokens`)
	openSessions    = database.SQL(`SELECT count(*) FROM sessions WHERE revoked_at IS NULL`)
	remainingRows   = database.SQL(`SELECT (SELECT count(*) FROM sessions) + (SELECT count(*) FROM invites) + (SELECT count(*) FROM runner_grants)`)
	grantRunner     = database.SQL(`
		INSERT INTO runner_grants (project_id, token_id, created_by, created_at) VALUES ($1, $2, 'test', 1)`)
)

// TestOldCredentialsAreRemoved: what ended long ago goes, with the grants of runners; what is valid stays.
func TestOldCredentialsAreRemoved(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, f *fixture) {
		ctx := t.Context()
		_, kept := f.token("ada@example.dev")
		_, revoked, err := f.CreateToken(ctx, NewToken{UserID: kept.UserID, Name: "revoked"})
		f.must(err)
		_, runner, err := f.CreateRunner(ctx, NewRunner{Name: "rack", ExpiresAt: f.clock.Now().Add(time.Hour), CreatedBy: "test"})
		f.must(err)
		f.exec(grantRunner, f.project(), runner.ID)
		_, _, err = f.OpenSession(ctx, NewSession{UserID: kept.UserID})
		f.must(err)
		_, _, err = f.CreateInvite(ctx, nil, NewInvite{CreatedBy: "test"})
		f.must(err)
		f.must(f.Revoke(ctx, nil, ByUser(kept.UserID), revoked.ID))

		janitor := f.Janitor(slog.New(slog.DiscardHandler))
		f.clock.advance(DefaultRetention - time.Hour)
		f.must(janitor.Tidy(ctx))
		if tokens, others := f.count(remainingTokens), f.count(remainingRows); tokens != 3 || others != 3 {
			t.Errorf("before their time: %d tokens, %d others", tokens, others)
		}
		f.clock.advance(10 * 24 * time.Hour)
		f.must(janitor.Tidy(ctx))
		if tokens, others := f.count(remainingTokens), f.count(remainingRows); tokens != 1 || others != 0 {
			t.Errorf("%d tokens and %d others are left", tokens, others)
		}
	})
}

// TestTheOldestSessionEndsForOneMore, on this replica at once.
func TestTheOldestSessionEndsForOneMore(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		f := newReplicaWith(t, db, newClock(), Options{Limits: limits.Server{Sessions: 2}})
		user, other := f.user("ada@example.dev").ID, f.user("bob@example.dev").ID
		open := func(user uuid.UUID) string {
			secret, _, err := f.OpenSession(t.Context(), NewSession{UserID: user})
			f.must(err)
			_, err = f.VerifySession(t.Context(), secret)
			f.must(err)
			return secret
		}
		open(other)
		first, second, third := open(user), open(user), open(user)
		if _, err := f.VerifySession(t.Context(), first); err == nil {
			t.Error("the first one goes on")
		}
		for _, secret := range []string{second, third} {
			if _, err := f.VerifySession(t.Context(), secret); err != nil {
				t.Error(err)
			}
		}
		if n := f.count(openSessions); n != 3 {
			t.Errorf("%d sessions", n)
		}
	})
}
