// Package dbtest gives tests a migrated, empty database of each dialect. The package that uses it hands its TestMain
// over to testenv.Main, which starts and stops the PostgreSQL server.
package dbtest

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"sync"
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

// EachByOneConnection is Each for tests that count round trips exactly: a pool opens connections when it likes, and each
// prepares what it is asked for the first time, which is a trip more. What holds a connection must not ask for another.
func EachByOneConnection(t *testing.T, f func(t *testing.T, db *database.DB)) {
	t.Helper()
	t.Run(database.SQLite, func(t *testing.T) { f(t, SQLite(t)) })
	t.Run(database.Postgres, func(t *testing.T) {
		address, err := url.Parse(testenv.PostgresFilled(t, migrate))
		if err != nil {
			t.Fatal(err)
		}
		query := address.Query()
		query.Set("pool_max_conns", "1")
		address.RawQuery = query.Encode()
		f(t, open(t, address.String()))
	})
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
	content, err := sqliteTemplate()
	if err != nil {
		tb.Fatal(err)
	}
	file := filepath.Join(tb.TempDir(), "berth.db")
	if err := os.WriteFile(file, content, 0o600); err != nil {
		tb.Fatal(err)
	}
	return open(tb, "sqlite:"+file)
}

// Postgres returns a fresh database with the whole schema on the server of the test process.
func Postgres(tb testing.TB) *database.DB {
	tb.Helper()
	return open(tb, testenv.PostgresFilled(tb, migrate))
}

// Open opens and migrates the database of a URL, and closes it when the test ends.
func Open(tb testing.TB, url string) *database.DB {
	tb.Helper()
	db := open(tb, url)
	if _, err := db.Migrate(tb.Context()); err != nil {
		tb.Fatal(err)
	}
	return db
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

// migrate gives an empty database the whole schema.
func migrate(url string) error {
	ctx := context.Background()
	db, err := database.Open(ctx, database.Config{URL: url})
	if err != nil {
		return fmt.Errorf("open the template: %w", err)
	}
	_, err = db.Migrate(ctx)
	return errors.Join(err, db.Close())
}

// sqliteTemplate is the file of a database with the whole schema. To migrate anew for each test takes longer than most
// tests do.
var sqliteTemplate = sync.OnceValues(func() ([]byte, error) {
	dir, err := os.MkdirTemp("", "berth-template-")
	if err != nil {
		return nil, fmt.Errorf("make the template: %w", err)
	}
	file := filepath.Join(dir, "berth.db")
	err = migrate("sqlite:" + file)
	content, readErr := os.ReadFile(file)
	return content, errors.Join(err, readErr, os.RemoveAll(dir))
})
