package auth

import (
	"context"
	"database/sql"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"github.com/berthregistry/berth/internal/database"
)

func TestLastUsesAreSampled(t *testing.T) {
	eachCounting(t, func(t *testing.T, f *fixture) {
		pat, token := f.token("ada@example.dev")
		secret, session := f.session(token.UserID)
		seen := func() (byToken, bySession time.Time) {
			t.Helper()
			got, err := f.Token(t.Context(), ByUser(token.UserID), token.ID)
			f.must(err)
			sessions := f.sessionsOf(token.UserID)
			if len(sessions) != 1 || sessions[0].ID != session.ID {
				t.Fatalf("%+v", sessions)
			}
			return got.LastUsedAt, sessions[0].LastUsedAt
		}
		use := func() {
			f.valid("token", pat, true)
			f.valid("session", secret, true)
		}
		write := func() int64 { return f.trips(func() { f.must(f.writeUses(t.Context())) }) }
		if n := write(); n != 0 {
			t.Errorf("%d round trips for nothing", n)
		}
		use()
		if a, b := seen(); !a.IsZero() || !b.IsZero() {
			t.Errorf("used %s and %s before it was written", a, b)
		}
		first := f.clock.Now().Truncate(time.Microsecond)
		f.must(f.writeUses(t.Context()))
		if a, b := seen(); !a.Equal(first) || !b.Equal(first) {
			t.Errorf("used %s and %s, want %s", a, b, first)
		}
		f.clock.advance(lastUseAge)
		use()
		if n := write(); n != 0 {
			t.Errorf("%d round trips for a use that is known", n)
		}
		f.clock.advance(DefaultCacheTTL)
		use()
		f.must(f.writeUses(t.Context()))
		if a, b := seen(); !a.Equal(f.clock.Now().Truncate(time.Microsecond)) || !b.Equal(a) {
			t.Errorf("used %s and %s", a, b)
		}
	})
}

func TestUsesAreBounded(t *testing.T) {
	u := newUses(time.Now)
	for range 3 * maxUses {
		u.token(newID(), sql.Null[int64]{})
		u.session(newID(), sql.Null[int64]{})
	}
	if tokens, sessions := u.take(); len(tokens) != maxUses || len(sessions) != maxUses {
		t.Errorf("%d and %d noted", len(tokens), len(sessions))
	}
	if tokens, sessions := u.take(); len(tokens)+len(sessions) != 0 {
		t.Error("noted twice")
	}
}

// A use is not worth waiting for a transaction that holds the token, nor is the transaction made to wait.
func TestARowInUseIsSkipped(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		_, token := f.token("ada@example.dev")
		f.used.token(token.ID, sql.Null[int64]{})
		f.used.token(uuid.Nil, sql.Null[int64]{}) // gone
		held := make(chan struct{})
		release := make(chan struct{})
		done := make(chan error, 1)
		if f.db.Dialect() == database.Postgres {
			go func() { done <- f.holdToken(token.ID, held, release) }()
			<-held
		} else {
			close(release)
			done <- nil
		}
		f.must(f.writeUses(t.Context()))
		if f.db.Dialect() == database.Postgres {
			close(release)
		}
		f.must(<-done)
	})
}

// holdToken shares a token as a guard does, until it is released.
func (f *fixture) holdToken(id uuid.UUID, held, release chan struct{}) error {
	tx := f.db.Gorm().WithContext(f.t.Context()).Begin()
	defer tx.Rollback()
	var one int
	if err := tx.Raw("SELECT 1 FROM tokens WHERE id = ? FOR SHARE", id).Row().Scan(&one); err != nil {
		return err
	}
	close(held)
	<-release
	return nil
}

func TestTheWorkerWritesUntilItsEnd(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		pat, token := f.token("ada@example.dev")
		f.valid("token", pat, true)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		f.must(f.LastUses().Run(ctx))
		got, err := f.Token(t.Context(), ByUser(token.UserID), token.ID)
		if err != nil || got.LastUsedAt.IsZero() {
			t.Errorf("%+v, %v", got, err)
		}
	})
}

func TestTheWorkerGoesOnWhenTheDatabaseIsDown(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.must(f.db.Close())
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error, 1)
			go func() { done <- f.LastUses().Run(ctx) }()
			for range 3 {
				f.used.token(newID(), sql.Null[int64]{})
				time.Sleep(lastUseEvery)
				synctest.Wait()
				if tokens, _ := f.used.take(); len(tokens) != 0 {
					t.Error("not tried")
				}
			}
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
		})
	})
}
