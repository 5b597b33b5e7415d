package database

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"

	"gorm.io/gorm"
)

// sqlite is the engine over one file: a pool of readers, and one writer with group commit.
type sqlite struct {
	reading   *liteReaders
	readers   *sql.DB // those of reading, for GORM
	writer    *sql.DB // of one connection
	group     *group
	exchanges atomic.Int64
	committed atomic.Int64
}

// pragmas of all connections. FULL because a commit is to survive a power cut.
var pragmas = []string{
	"busy_timeout(10000)", "journal_mode(WAL)", "synchronous(FULL)", "foreign_keys(1)", "mmap_size(1073741824)",
	"temp_store(MEMORY)", "wal_autocheckpoint(2000)", "journal_size_limit(67108864)",
}

func openSQLite(ctx context.Context, path string, mustExist bool) (*sqlite, error) {
	ready := createFile
	if mustExist {
		ready = findFile
	}
	if err := ready(path); err != nil {
		return nil, err
	}
	readers := max(4, 2*runtime.NumCPU())
	connector, err := fileConnector(path, "deferred", "cache_size(-8192)", "query_only(1)")
	if err != nil {
		return nil, err
	}
	s := &sqlite{reading: newLiteReaders(connector, readers)}
	s.readers = s.reading.lend()
	if s.writer, err = openFile(path, 1, "immediate", "cache_size(-32768)"); err != nil {
		return nil, err
	}
	// The writer comes first: it turns a new file to WAL, which readers must find.
	if err := s.writer.PingContext(ctx); err != nil {
		return nil, errors.Join(sqliteError(err), s.readers.Close(), s.writer.Close())
	}
	s.group = startGroup(s) //nolint:contextcheck // it works until the database is closed
	return s, nil
}

// createFile makes the folder and the file so that nobody else can read them: signing keys are inside. SQLite gives
// the files beside it the same mode.
func createFile(path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("make the database's folder: %w", err)
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return fmt.Errorf("make the database file: %w", err)
	}
	if err := f.Close(); err != nil {
		return fmt.Errorf("make the database file: %w", err)
	}
	return nil
}

// findFile fails unless the file is there and can be used. It creates nothing.
func findFile(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w at %s", ErrNoDatabase, path)
	}
	if err != nil {
		return fmt.Errorf("open the database file: %w", err)
	}
	if err := f.Close(); err != nil {
		return fmt.Errorf("open the database file: %w", err)
	}
	return nil
}

// fileConnector opens connections to the file, with further pragmas.
func fileConnector(path, txlock string, more ...string) (driver.Connector, error) {
	query := url.Values{"_txlock": {txlock}, "_pragma": append(append([]string(nil), pragmas...), more...)}
	name := "file:" + strings.ReplaceAll((&url.URL{Path: path}).EscapedPath(), ":", "%3A") + "?" + query.Encode()
	return newConnector(name)
}

func openFile(path string, conns int, txlock string, more ...string) (*sql.DB, error) {
	connector, err := fileConnector(path, txlock, more...)
	if err != nil {
		return nil, err
	}
	db := sql.OpenDB(connector)
	db.SetMaxOpenConns(conns)
	db.SetMaxIdleConns(conns)
	return db, nil
}

func (s *sqlite) dialect() string               { return SQLite }
func (s *sqlite) trips() int64                  { return s.exchanges.Load() }
func (s *sqlite) commits() int64                { return s.committed.Load() }
func (s *sqlite) gormDialector() gorm.Dialector { return newGormSQLite(s) }

func (s *sqlite) close() error {
	s.group.stop()
	if err := errors.Join(s.readers.Close(), s.reading.close(), s.writer.Close()); err != nil {
		return fmt.Errorf("close the database: %w", err)
	}
	return nil
}

var pingStatement = SQL("SELECT count(*) FROM sqlite_master")

func (s *sqlite) ping(ctx context.Context) error {
	var tables int64
	return s.queryRow(ctx, pingStatement.texts, nil, []any{&tables})
}
