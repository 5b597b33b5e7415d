package database_test

import (
	"context"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"gorm.io/gorm"

	"github.com/berthregistry/berth/internal/database"
	"github.com/berthregistry/berth/internal/database/dbtest"
)

func TestSQLiteFiles(t *testing.T) {
	noLeaks(t)
	dir := filepath.Join(t.TempDir(), "new", "with space, 100% & #?:")
	path := filepath.Join(dir[:len(dir)-2]+":", "berth.db") // no question mark, which begins options
	db, err := database.Open(t.Context(), database.Config{URL: "sqlite:" + path})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	newProject(t, db)
	for file, want := range map[string]os.FileMode{filepath.Dir(path): 0o700, path: 0o600, path + "-wal": 0o600, path + "-shm": 0o600} {
		info, err := os.Stat(file)
		if err != nil {
			t.Fatal(err)
		}
		if got := info.Mode().Perm(); got != want {
			t.Errorf("%s has mode %o, want %o", file, got, want)
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	// SQLite removes them when the last connection is really closed.
	for _, file := range []string{path + "-wal", path + "-shm"} {
		if _, err := os.Stat(file); !os.IsNotExist(err) {
			t.Errorf("%s is still there: %v", file, err)
		}
	}
}

func TestSQLiteThatMustExist(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	existing := database.Config{URL: "sqlite:" + filepath.Join(dir, "berth.db"), MustExist: true}
	open := func(cfg database.Config) error {
		db, err := database.Open(t.Context(), cfg)
		if err == nil {
			err = db.Close()
		}
		return err
	}
	wantIs(t, open(existing), database.ErrNoDatabase)
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("%s was made: %v", dir, err)
	}
	if err := open(database.Config{URL: existing.URL}); err != nil {
		t.Fatal(err)
	}
	if err := open(existing); err != nil {
		t.Error(err)
	}
	// What is there and no file is another fault.
	err := open(database.Config{URL: "sqlite:" + dir, MustExist: true})
	if err == nil {
		t.Error("a folder was opened")
	}
	wantIsNot(t, err, database.ErrNoDatabase)
}

func TestSQLitePragmas(t *testing.T) {
	db := dbtest.SQLite(t)
	for pragma, want := range map[string]string{
		"journal_mode": "wal", "synchronous": "2", "foreign_keys": "1", "busy_timeout": "10000",
	} {
		stmt := database.SQL("PRAGMA " + pragma)
		var reader, writer string
		if err := db.QueryRow(t.Context(), stmt).Scan(&reader); err != nil {
			t.Fatal(err)
		}
		run(t, db, func(b *database.Batch) {
			b.Query(func(r database.Rows) error { return r.Scan(&writer) }, stmt)
		})
		if reader != want || writer != want {
			t.Errorf("%s is %s for readers and %s for the writer, want %s", pragma, reader, writer, want)
		}
	}
}

func TestSQLiteReadsCannotWrite(t *testing.T) {
	db := dbtest.SQLite(t)
	project := newProject(t, db)
	if err := db.QueryRow(t.Context(), raiseEpoch, project).Scan(new(int64)); err == nil {
		t.Error("a read wrote")
	}
	if got := epochOf(t, db, project); got != 1 {
		t.Errorf("epoch is %d", got)
	}
}

// A caller that gives up while the writer is busy takes its batch along.
func TestSQLiteWaitingBatchIsDropped(t *testing.T) {
	noLeaks(t)
	db := dbtest.SQLite(t)
	project := newProject(t, db)
	const callers = 20
	errs := make(chan error, callers)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	err := db.Gorm().Transaction(func(tx *gorm.DB) error { // holds the writer
		if err := tx.Exec("UPDATE projects SET epoch = epoch + 10 WHERE id = ?", project).Error; err != nil {
			return err
		}
		for range callers {
			go func() {
				var b database.Batch
				b.Exec(raiseEpoch, project)
				errs <- db.Run(ctx, &b)
			}()
		}
		cancel()
		for range callers {
			wantIs(t, <-errs, context.Canceled)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	run(t, db, func(b *database.Batch) { b.Require(errUnmet, raiseEpoch, project) })
	if got := epochOf(t, db, project); got != 12 {
		t.Errorf("epoch is %d", got)
	}
}

// While the writer is held, batches gather: what is then committed at once must still fail or succeed one by one.
func TestSQLiteGroup(t *testing.T) {
	db := dbtest.SQLite(t)
	project := newProject(t, db)
	const callers = 600 // more than one group
	results := make(chan error, callers)
	var started sync.WaitGroup
	err := db.Gorm().Transaction(func(*gorm.DB) error {
		started.Add(callers)
		for i := range callers {
			go func() {
				var b database.Batch
				b.Exec(raiseEpoch, project)
				if i%3 == 0 {
					b.Require(errUnmet, raiseEpochFrom, project, -1)
				}
				started.Done()
				results <- db.Run(t.Context(), &b)
			}()
		}
		started.Wait()
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	failed := 0
	for range callers {
		if err := <-results; err != nil {
			wantIs(t, err, errUnmet)
			failed++
		}
	}
	if got := epochOf(t, db, project); failed != callers/3 || got != 1+callers-callers/3 {
		t.Errorf("%d failed and the epoch is %d", failed, got)
	}
}

// A full disk fails what does not fit, whole batches at a time, and the writer recovers when there is space again.
func TestSQLiteFull(t *testing.T) {
	db := dbtest.SQLite(t)
	project := newProject(t, db)
	if err := db.Gorm().Exec("PRAGMA max_page_count = 1").Error; err != nil { // as large as it is
		t.Fatal(err)
	}
	insert := database.SQL(`INSERT INTO audit_log (id, at, actor, remote_ip, user_agent, request_id, action, outcome,
			project_id, repository, object, detail)
		VALUES (hex(randomblob(16)), 1, 'test', '', '', '', 'test', 'done', $1, '', '', hex(randomblob(10000)))`)
	const callers = 50
	errs := make([]error, callers)
	var wg sync.WaitGroup
	for i := range callers {
		wg.Go(func() {
			var b database.Batch
			b.Exec(raiseEpoch, project)
			b.Exec(insert, project)
			errs[i] = db.Run(t.Context(), &b)
		})
	}
	wg.Wait()
	done := 0 // what fits into pages that were free
	for _, err := range errs {
		if err == nil {
			done++
			continue
		}
		wantIs(t, err, database.ErrUnavailable)
		wantIsNot(t, err, database.ErrUnclear)
	}
	if got := epochOf(t, db, project); done == callers || got != 1+int64(done) {
		t.Errorf("epoch is %d after %d batches of %d", got, done, callers)
	}
	if err := db.Gorm().Exec("PRAGMA max_page_count = 1000000").Error; err != nil {
		t.Fatal(err)
	}
	run(t, db, func(b *database.Batch) {
		b.Exec(insert, project)
		b.Require(errUnmet, raiseEpoch, project)
	})
}

// Two processes on one file are slow, but right.
func TestSQLiteTwoProcesses(t *testing.T) {
	path := "sqlite:" + filepath.Join(t.TempDir(), "berth.db")
	first, second := dbtest.Open(t, path), dbtest.Open(t, path)
	project := newProject(t, first)
	const rounds = 20
	var wg sync.WaitGroup
	for _, db := range []*database.DB{first, second} {
		for range 3 {
			wg.Go(func() {
				for range rounds {
					var b database.Batch
					b.Require(errUnmet, raiseEpoch, project)
					if err := db.Run(t.Context(), &b); err != nil {
						t.Error(err)
					}
				}
			})
		}
	}
	wg.Wait()
	if got := epochOf(t, second, project); got != 1+6*rounds {
		t.Errorf("epoch is %d", got)
	}
}

// Rows that are open while more is written show one state, and end when their caller's context does.
func TestSQLiteOpenRows(t *testing.T) {
	db := dbtest.SQLite(t)
	for range 3 {
		newProject(t, db)
	}
	ctx, cancel := context.WithCancel(t.Context())
	rows, err := db.Query(ctx, database.SQL(`SELECT id FROM projects`))
	if err != nil || !rows.Next() {
		t.Fatal(err)
	}
	project := newProject(t, db)
	epochOf(t, db, project)
	cancel()
	if rows.Next() {
		t.Error("there is a row after the end of the context")
	}
	wantIs(t, rows.Err(), context.Canceled)
	rows.Close()
}
