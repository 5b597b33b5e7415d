package audit_test

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/berthregistry/berth/internal/audit"
	"github.com/berthregistry/berth/internal/database"
	"github.com/berthregistry/berth/internal/database/dbtest"
	"github.com/berthregistry/berth/internal/testenv"
)

func TestMain(m *testing.M) { testenv.Main(m) }

func each(t *testing.T, f func(t *testing.T, db *database.DB)) {
	t.Helper()
	t.Run(database.SQLite, func(t *testing.T) { t.Parallel(); f(t, dbtest.SQLite(t)) })
	t.Run(database.Postgres, func(t *testing.T) { t.Parallel(); f(t, dbtest.Postgres(t)) })
}

func all(t *testing.T, db *database.DB) []audit.Record {
	t.Helper()
	found, err := audit.NewLog(db).Oldest(t.Context(), audit.Filter{}, database.Page{Limit: 1000})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func write(t *testing.T, db *database.DB, n int) {
	t.Helper()
	b := &database.Batch{}
	for range n {
		audit.Append(t.Context(), b, audit.Entry{Action: audit.TokenCreate, Object: "x\x00\xff" + strings.Repeat("é", 600)})
	}
	if err := db.Run(t.Context(), b); err != nil {
		t.Fatal(err)
	}
}

// TestEntriesAreNeverChanged: the database itself refuses to.
func TestEntriesAreNeverChanged(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, db *database.DB) {
		write(t, db, 1)
		b := &database.Batch{}
		b.Exec(database.SQL(`UPDATE audit_log SET actor = 'somebody else'`))
		if err := db.Run(t.Context(), b); err == nil || !strings.Contains(err.Error(), "append-only") {
			t.Errorf("error %v", err)
		}
		if found := all(t, db); len(found) != 1 || found[0].Actor != audit.ActorSystem || len(found[0].Object) > 512 {
			t.Errorf("%+v", found)
		}
	})
}

// TestOldEntriesAreRemoved: by age, more than one batch of them, on two replicas at once; 0 keeps them for ever.
func TestOldEntriesAreRemoved(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, db *database.DB) {
		write(t, db, 2100)
		keep := func(life time.Duration, ahead time.Duration) {
			t.Helper()
			k := audit.NewKeeper(db, life, func() time.Time { return time.Now().Add(ahead) }, slog.New(slog.DiscardHandler))
			done := make(chan error, 2)
			for range 2 {
				go func() { done <- k.Tidy(context.WithoutCancel(t.Context())) }()
			}
			for range 2 {
				if err := <-done; err != nil {
					t.Error(err)
				}
			}
		}
		keep(0, 1000*time.Hour)
		keep(time.Hour, 0)
		if n := len(all(t, db)); n != 1000 {
			t.Errorf("%d entries on a page of what should all be there", n)
		}
		keep(time.Hour, 2*time.Hour)
		if n := len(all(t, db)); n != 0 {
			t.Errorf("%d old entries stayed", n)
		}
	})
}

// TestTheRecorderDrains: what waits, and the counts of a minute that has only begun, are written when the server stops; a slug
// is turned into the project's ID.
func TestTheRecorderDrains(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, db *database.DB) {
		id := uuid.Must(uuid.NewV7())
		b := &database.Batch{}
		b.Exec(database.SQL(`INSERT INTO projects (id, slug, state, visibility, created_by, created_at, updated_at)
			VALUES ($1, 'demo', 'unclaimed', 'private', 'anonymous', 1, 1)`), id)
		if err := db.Run(t.Context(), b); err != nil {
			t.Fatal(err)
		}
		r := audit.NewRecorder(audit.RecorderConfig{DB: db, First: 3})
		for range 10 {
			r.Refused(audit.Refusal{
				Origin: audit.Origin{Actor: "anonymous", RemoteIP: "192.0.2.1"}, Action: audit.BlobPull, Segment: "demo", Reason: "no",
			})
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := r.Run(ctx); err != nil {
			t.Fatal(err)
		}
		found := all(t, db)
		if len(found) != 4 || r.Stats() != (audit.Stats{Queued: 3, Written: 4, Sampled: 7}) {
			t.Fatalf("%+v, %+v", found, r.Stats())
		}
		for i, want := range []string{`{"reason":"no"}`, `{"reason":"no"}`, `{"reason":"no"}`, `{"reason":"no","count":7}`} {
			if e := found[i]; string(e.Detail) != want || e.Project != id || e.Outcome != audit.OutcomeRefused {
				t.Errorf("%+v %s", e, e.Detail)
			}
		}
		var none *audit.Recorder
		none.Refused(audit.Refusal{}) // records nothing
	})
}
