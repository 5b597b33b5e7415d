// Package dbtest gives tests a migrated, empty database of each dialect. The package that uses it hands its TestMain
// over to testenv.Main, which starts and stops the PostgreSQL server.
package dbtest

import (
	"path/filepath"
	"testing"

	"github.com/berthregistry/berth/internal/database"
	"github.com/berthregistry/berth/internal/testenv"
)

// Each runs f as the subtests "sqlite" and "postgres", each with a fresh database that has the whole schema.
func Each(t *testing.T, f func(t *testing.T, db *database.DB)) {
	t.Helper()
	t.Run(database.SQLite, func(t *testing.T) { f(t, SQLite(t)) })
	t.Run(database.Postgres, func(t *testing.T) { f(t, Postgres(t)) })
}

// EachBenchmark is Each for benchmarks.
func EachBenchmark(b *testing.B, f func(b *testing.B, db *database.DB)) {
	b.Helper()
	b.Run(database.SQLite, func(b *testing.B) { f(b, SQLite(b)) })
	b.Run(database.Postgres, func(b *testing.B) { f(b, Postgres(b)) })
}

// SQLite returns a fresh database with the whole schema in a file of the test's own.
func SQLite(tb testing.TB) *database.DB {
	tb.Helper()
	return Open(tb, "sqlite:"+filepath.Join(tb.TempDir(), "berth.db"))
}

// Postgres returns a fresh database with the whole schema on the server of the test process.
func Postgres(tb testing.TB) *database.DB {
	tb.Helper()
	return Open(tb, testenv.Postgres(tb))
}

// Open opens and migrates the database of a URL, and closes it when the test ends.
func Open(tb testing.TB, url string) *database.DB {
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
	if _, err := db.Migrate(tb.Context()); err != nil {
		tb.Fatal(err)
	}
	return db
}
