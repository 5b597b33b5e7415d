package database_test

import (
	"testing"
	"time"

	"github.com/berthregistry/berth/internal/database"
	"github.com/berthregistry/berth/internal/database/dbtest"
	"github.com/berthregistry/berth/internal/testenv"
)

// TestPostgresSaysNothing has the network between swallow everything: whatever is called ends, more calls than there
// are connections, and the pool is whole again afterwards.
func TestPostgresSaysNothing(t *testing.T) {
	source := testenv.Postgres(t)
	project := newProject(t, dbtest.Open(t, source))
	p, through := newProxy(t, source)
	db := openImpatient(t, with(t, through, "pool_max_conns", "2"))
	calls := map[string]func() error{
		"read":  func() error { return db.QueryRow(t.Context(), projectEpoch, project).Scan(new(int64)) },
		"write": func() error { return raise(t, db, project) },
		"gorm": func() error {
			return db.Gorm().WithContext(t.Context()).Exec("UPDATE projects SET epoch = 9 WHERE id = ?", project).Error
		},
		"ping": func() error { return db.Ping(t.Context()) },
	}
	for name, call := range calls { // also makes connections
		succeeds(t, name, call)
	}
	for name, call := range calls {
		failed := make(chan error, 3)
		p.held.Lock()
		for range cap(failed) {
			go func() { failed <- call() }()
		}
		var errs []error
		for range cap(failed) {
			errs = append(errs, <-failed)
		}
		p.held.Unlock()
		for _, err := range errs {
			wantIs(t, err, database.ErrUnavailable)
		}
		succeeds(t, name, call)
	}
}

// TestPostgresSaysNothingToABatch: whether the server commits what it was sent, nobody knows.
func TestPostgresSaysNothingToABatch(t *testing.T) {
	source := testenv.Postgres(t)
	project := newProject(t, dbtest.Open(t, source))
	p, through := newProxy(t, source)
	db := openImpatient(t, with(t, through, "pool_max_conns", "1"))
	succeeds(t, "write", func() error { return raise(t, db, project) }) // prepares the statement on the one connection
	p.held.Lock()
	err := raise(t, db, project)
	p.held.Unlock()
	wantIs(t, err, database.ErrUnclear)
}

// openImpatient opens a database that is to answer soon. A free connection is waited for as long as usual.
func openImpatient(t *testing.T, url string) (db *database.DB) {
	t.Helper()
	succeeds(t, "open", func() (err error) {
		db, err = database.Open(t.Context(), database.Config{URL: url, Timeout: 300 * time.Millisecond})
		return err
	})
	database.SetPatience(db, 5*time.Second)
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return db
}

// succeeds repeats a call for which a busy machine may need longer than these tests allow it.
func succeeds(t *testing.T, name string, call func() error) {
	t.Helper()
	late := time.Now().Add(time.Minute)
	err := call()
	for err != nil && time.Now().Before(late) {
		wantIs(t, err, database.ErrUnavailable)
		err = call()
	}
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
}

func raise(t *testing.T, db *database.DB, project any) error {
	t.Helper()
	var b database.Batch
	b.Exec(raiseEpoch, project)
	return db.Run(t.Context(), &b)
}
