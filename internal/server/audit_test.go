package server_test

import (
	"testing"

	"github.com/berthregistry/berth/internal/audit"
	"github.com/berthregistry/berth/internal/database"
	"github.com/berthregistry/berth/internal/server"
)

// TestWhatOperatorsDoIsAudited: each sub-command leaves one entry, of the operator.
func TestWhatOperatorsDoIsAudited(t *testing.T) {
	t.Parallel()
	cfg := settings(t.TempDir())
	if _, err := server.Migrate(t.Context(), cfg.Database, server.Options{}); err != nil {
		t.Fatal(err)
	}
	id, err := server.CreateUser(t.Context(), cfg.Database, server.NewUser{Email: "ci@example.com"}, server.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := server.CreateToken(t.Context(), cfg.Database, server.NewToken{Email: "ci@example.com", Name: "ci"}, server.Options{}); err != nil {
		t.Fatal(err)
	}
	db, err := database.Open(t.Context(), database.Config{URL: cfg.Database.URL.Reveal()})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	found, err := audit.NewLog(db).Oldest(t.Context(), audit.Filter{}, database.Page{Limit: 10})
	if err != nil || len(found) != 2 {
		t.Fatalf("%+v, %v", found, err)
	}
	for i, action := range []string{audit.UserCreate, audit.TokenCreate} {
		if found[i].Action != action || found[i].Actor != audit.ActorOperator {
			t.Errorf("%+v", found[i])
		}
	}
	if found[0].Object != id {
		t.Errorf("%+v", found[0])
	}
}
