package server_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/berthregistry/berth/internal/config"
	"github.com/berthregistry/berth/internal/server"
)

func TestUsersAndTokensAreMadeBesideARunningServer(t *testing.T) {
	t.Parallel()
	cfg := settings(t.TempDir())
	if applied, err := server.Migrate(t.Context(), cfg.Database, server.Options{}); err != nil || applied == 0 {
		t.Fatalf("first migration: %d, %v", applied, err)
	}
	if applied, err := server.Migrate(t.Context(), cfg.Database, server.Options{}); err != nil || applied != 0 {
		t.Fatalf("second migration: %d, %v", applied, err)
	}
	user := server.NewUser{Email: "ci@example.com", Password: "long enough a password", Admin: true}
	if id, err := server.CreateUser(t.Context(), cfg.Database, user, server.Options{}); err != nil || len(id) != 36 {
		t.Fatalf("user %q, %v", id, err)
	}
	if _, err := server.CreateUser(t.Context(), cfg.Database, user, server.Options{}); err == nil || strings.Contains(err.Error(), "long enough") {
		t.Errorf("the same user again: %v", err)
	}

	i := start(t, cfg)
	if strings.Contains(i.stdout.String(), "first start") {
		t.Errorf("an administrator was made although there is a user:\n%s", i.stdout)
	}
	works := func(life time.Duration, now time.Time) int {
		t.Helper()
		secret, err := server.CreateToken(t.Context(), cfg.Database, server.NewToken{Email: user.Email, Name: "ci", Life: life},
			server.Options{Clock: func() time.Time { return now }})
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(secret.String(), "berth_pat_") || !strings.HasPrefix(secret.Reveal(), "berth_pat_") {
			t.Errorf("secret %s", secret)
		}
		status, _, _ := i.ask(t, i.Endpoints.PublicURL+"/v2/", secret.Reveal())
		return status
	}
	if status := works(0, time.Now()); status != http.StatusOK {
		t.Errorf("a token for ever: %d", status)
	}
	if status := works(time.Hour, time.Now()); status != http.StatusOK {
		t.Errorf("a token for an hour: %d", status)
	}
	if status := works(time.Hour, time.Now().Add(-2*time.Hour)); status != http.StatusUnauthorized {
		t.Errorf("an expired token: %d", status)
	}
	if _, err := server.CreateToken(t.Context(), cfg.Database, server.NewToken{Email: "nobody@example.com", Name: "x"}, server.Options{}); err == nil {
		t.Error("a token for nobody")
	}
}

func TestAdministrationWithoutADatabase(t *testing.T) {
	t.Parallel()
	bad := config.Database{URL: "sqlite:/dev/null/berth.db"}
	if _, err := server.Migrate(t.Context(), bad, server.Options{}); err == nil || !strings.Contains(err.Error(), "BERTH_DATABASE_URL") {
		t.Errorf("Migrate: %v", err)
	}
	if _, err := server.CreateUser(t.Context(), bad, server.NewUser{Email: "a@b.c"}, server.Options{}); err == nil {
		t.Error("CreateUser succeeded")
	}
}
