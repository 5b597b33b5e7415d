package database_test

import (
	"testing"
	"time"

	"github.com/berthregistry/berth/internal/database"
	"github.com/berthregistry/berth/internal/database/dbtest"
	"github.com/berthregistry/berth/internal/testenv"
)

// TestPostgresSaysNothing has the network between swallow everything: whatever is called ends, more calls than there
// are connections, and the pool is whole again afterwards. What the server does with a batch nobody knows.
func TestPostgresSaysNothing(t *testing.T) {
	source := testenv.Postgres(t)
	project := newProject(t, dbtest.Open(t, source))
	p, through := newProxy(t, source)
	db, err := database.Open(t.Context(), database.Config{URL: with(t, through, "pool_max_conns", "2"), Timeout: 300 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	calls := map[string]func() error{
		"read":  func() error { return db.QueryRow(t.Context(), projectEpoch, project).Scan(new(int64)) },
		"write": func() error { return raise(t, db, project) },
		"gorm":  func() error { return db.Gorm().WithContext(t.Context()).Exec("UPDATE projects SET epoch = 9 WHERE id = ?", project).Error },
		"ping":  func() error { return db.Ping(t.Context()) },
	}
	for name, call := range calls { // also makes connections
		if err := call(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, call := range calls {
		p.held.Lock()
		var failed [3]chan error
		for i := range failed {
			failed[i] = make(chan error, 1)
			go func() { failed[i] <- call() }()
		}
		for i := range failed {
			wantIs(t, <-failed[i], database.ErrUnavailable)
		}
		p.held.Unlock()
		if err := call(); err != nil {
			t.Errorf("%s, when the network is back: %v", name, err)
		}
	}
	p.held.Lock()
	wantIs(t, raise(t, db, project), database.ErrUnclear)
	p.held.Unlock()
}

func raise(t *testing.T, db *database.DB, project any) error {
	t.Helper()
	var b database.Batch
	b.Exec(raiseEpoch, project)
	return db.Run(t.Context(), &b)
}
