package database_test

import (
	"database/sql"
	"io/fs"
	"path/filepath"
	"sync"
	"testing"

	_ "github.com/jackc/pgx/v5/stdlib"

	"github.com/berthregistry/berth/internal/database"
	"github.com/berthregistry/berth/internal/testenv"
	"github.com/berthregistry/berth/migrations"
)

// eachURL runs f with the URL of an empty database of each dialect, and its name for database/sql.
func eachURL(t *testing.T, f func(t *testing.T, url, driver, source string)) {
	t.Helper()
	t.Run(database.SQLite, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "berth.db")
		f(t, "sqlite:"+path, "sqlite", path)
	})
	t.Run(database.Postgres, func(t *testing.T) {
		url := testenv.Postgres(t)
		f(t, url, "pgx", url)
	})
}

func open(tb testing.TB, url string) *database.DB {
	tb.Helper()
	db, err := database.Open(tb.Context(), database.Config{URL: url})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := db.Close(); err != nil {
			tb.Error(err)
		}
	})
	return db
}

func migrationCount(tb testing.TB, dialect string) int {
	tb.Helper()
	files, err := fs.Glob(migrations.FS, dialect+"/*.sql")
	if err != nil || len(files) == 0 {
		tb.Fatal("no migrations", err)
	}
	return len(files)
}

func TestMigrateDialectsAlike(t *testing.T) {
	if a, b := migrationCount(t, database.SQLite), migrationCount(t, database.Postgres); a != b {
		t.Errorf("%d migrations of SQLite, %d of PostgreSQL", a, b)
	}
}

func TestMigrateTwice(t *testing.T) {
	eachURL(t, func(t *testing.T, url, _, _ string) {
		noLeaks(t)
		db := open(t, url)
		for _, want := range []int{migrationCount(t, db.Dialect()), 0} {
			if applied, err := db.Migrate(t.Context()); err != nil || applied != want {
				t.Errorf("applied %d, want %d: %v", applied, want, err)
			}
		}
		newProject(t, db)
	})
}

// Replicas that start at once on an empty database: one migrates, all go on.
func TestMigrateReplicasAtOnce(t *testing.T) {
	eachURL(t, func(t *testing.T, url, _, _ string) {
		const replicas = 4
		dbs := make([]*database.DB, replicas)
		for i := range dbs {
			dbs[i] = open(t, url)
		}
		applied := make([]int, replicas)
		var wg sync.WaitGroup
		for i, db := range dbs {
			wg.Go(func() {
				var err error
				if applied[i], err = db.Migrate(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		total := 0
		for _, n := range applied {
			total += n
		}
		if want := migrationCount(t, dbs[0].Dialect()); total != want {
			t.Errorf("applied %v, want %d in all", applied, want)
		}
		for _, db := range dbs {
			newProject(t, db)
		}
	})
}

func TestMigrateDownAndUp(t *testing.T) {
	eachURL(t, func(t *testing.T, url, driver, source string) {
		db := open(t, url)
		if _, err := db.Migrate(t.Context()); err != nil {
			t.Fatal(err)
		}
		down(t, db.Dialect(), driver, source)
		if tables := schemaOf(t, driver, source).Tables; len(tables) != 0 {
			t.Errorf("tables are left: %v", tables)
		}
		if applied, err := db.Migrate(t.Context()); err != nil || applied != migrationCount(t, db.Dialect()) {
			t.Errorf("applied %d: %v", applied, err)
		}
		newProject(t, db)
	})
}

// down undoes all migrations.
func down(t *testing.T, dialect, driver, source string) {
	t.Helper()
	conn, err := sql.Open(driver, source)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if _, err := provider(t, dialect, conn).DownTo(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
}
