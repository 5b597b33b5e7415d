package database_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/berthregistry/berth/internal/database"
	"github.com/berthregistry/berth/internal/database/dbtest"
)

var one = database.SQL("SELECT 1")

// takeReaders begins reads until no reader is left.
func takeReaders(t *testing.T, db *database.DB) []database.Rows {
	t.Helper()
	var all []database.Rows
	for db.Stats().Used < db.Stats().Max-1 { // the last is the writer
		rows, err := db.Query(t.Context(), one)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(rows.Close)
		all = append(all, rows)
	}
	return all
}

// canceledWhileWaiting returns what read says when its context ends while it may be waiting.
func canceledWhileWaiting(t *testing.T, read func(ctx context.Context) error) error {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	go cancel()
	return read(ctx)
}

func TestSQLiteReadsInTurnsUseOneReader(t *testing.T) {
	t.Parallel()
	db := dbtest.SQLite(t)
	for range 20 {
		var n int64
		if err := db.QueryRow(t.Context(), one).Scan(&n); err != nil || n != 1 {
			t.Fatal(n, err)
		}
		if err := db.Gorm().WithContext(t.Context()).Raw("SELECT 2").Scan(&n).Error; err != nil || n != 2 {
			t.Fatal(n, err)
		}
	}
	if stats := db.Stats(); stats.Used != 0 || stats.Idle != 2 {
		t.Errorf("%d connections used and %d idle, want none, and a reader and the writer", stats.Used, stats.Idle)
	}
}

// GORM's reads and all others share the readers, so that their number bounds both, and figures tell when it is reached.
func TestSQLiteReadersAreShared(t *testing.T) {
	t.Parallel()
	db := dbtest.SQLite(t)
	taken := takeReaders(t, db)
	var n int64
	for name, read := range map[string]func(ctx context.Context) error{
		"a read":        func(ctx context.Context) error { return db.QueryRow(ctx, one).Scan(&n) },
		"one of GORM's": func(ctx context.Context) error { return db.Gorm().WithContext(ctx).Raw("SELECT 1").Scan(&n).Error },
	} {
		if err := canceledWhileWaiting(t, read); !errors.Is(err, context.Canceled) {
			t.Errorf("%s without a reader: %v, want that its context ended", name, err)
		}
		taken[0].Close()
		if err := read(t.Context()); err != nil {
			t.Errorf("%s when a reader is free again: %v", name, err)
		}
		taken = takeReaders(t, db)
	}
}

func TestSQLiteCloseWithRowsOpen(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "berth.db")
	db, err := database.Open(t.Context(), database.Config{URL: "sqlite:" + file})
	if err != nil {
		t.Fatal(err)
	}
	rows, err := db.Query(t.Context(), one)
	if err != nil {
		t.Fatal(err)
	}
	if err := rows.Scan(new(int64)); err == nil {
		t.Error("a row was scanned before the first")
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	var n int64
	if !rows.Next() || rows.Scan(&n) != nil || n != 1 {
		t.Errorf("rows that were open gave %d: %v", n, rows.Err())
	}
	rows.Close()
	if err := rows.Scan(&n); err == nil {
		t.Error("a row was scanned after the last")
	}
	if err := db.QueryRow(t.Context(), one).Scan(&n); !errors.Is(err, database.ErrUnavailable) {
		t.Errorf("a read of a closed database: %v", err)
	}
	if _, err := os.Stat(file + "-wal"); !os.IsNotExist(err) {
		t.Errorf("a connection is still open: %v", err)
	}
}

// A reader that cannot be opened takes no place.
func TestSQLiteReaderThatCannotBeOpened(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "berth.db")
	db := dbtest.Open(t, "sqlite:"+file)
	held, err := db.Query(t.Context(), one) // with a reader that is open
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(held.Close)
	if err := os.Rename(file, file+".away"); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(file, 0o700); err != nil {
		t.Fatal(err)
	}
	for range 3 * db.Stats().Max {
		if err := db.QueryRow(t.Context(), one).Scan(new(int64)); err == nil {
			t.Fatal("a reader was opened on a folder")
		}
	}
	if used := db.Stats().Used; used != 1 {
		t.Errorf("%d connections are in use, want the one that was held", used)
	}
	if err := errors.Join(os.Remove(file), os.Rename(file+".away", file)); err != nil {
		t.Fatal(err)
	}
	if err := db.QueryRow(t.Context(), one).Scan(new(int64)); err != nil {
		t.Error(err)
	}
}
