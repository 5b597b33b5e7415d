package database

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// ErrNoBackup says that the kind of database is copied by its own tools.
var ErrNoBackup = errors.New("PostgreSQL is copied by its own tools: pg_dump, or a base backup with the write-ahead log")

// Backup writes a copy of the database, as it is at one instant, to a new file, and returns its size in bytes. Writers go on
// meanwhile. When it returns nil, the copy is on the disk. It returns ErrNoBackup where the database is not a file, and
// os.ErrExist where the file is there already.
func (db *DB) Backup(ctx context.Context, to string) (int64, error) {
	lite, ok := db.engine.(*sqlite)
	if !ok {
		return 0, ErrNoBackup
	}
	file, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600) // signing keys are inside
	if err != nil {
		return 0, fmt.Errorf("make the copy: %w", err)
	}
	size, err := lite.backup(ctx, file)
	if err != nil {
		return 0, errors.Join(fmt.Errorf("copy the database: %w", err), file.Close(), os.Remove(to))
	}
	if err := errors.Join(file.Close(), syncFolder(filepath.Dir(to))); err != nil {
		return 0, fmt.Errorf("copy the database: %w", err)
	}
	return size, nil
}

// backup copies into an empty file. A connection of its own reads for as long as it takes, as one reader of many.
func (s *sqlite) backup(ctx context.Context, file *os.File) (int64, error) {
	var path string
	row := s.readers.QueryRowContext(ctx, `SELECT file FROM pragma_database_list WHERE name = 'main'`)
	if err := row.Scan(&path); err != nil {
		return 0, sqliteError(err)
	}
	source, err := openFile(path, 1, "deferred")
	if err != nil {
		return 0, err
	}
	defer func() { _ = source.Close() }() // only read from
	if _, err := source.ExecContext(ctx, `VACUUM INTO ?`, file.Name()); err != nil {
		return 0, sqliteError(err)
	}
	if err := file.Sync(); err != nil { // the same file: SQLite fills one that is empty
		return 0, err //nolint:wrapcheck // by the caller
	}
	info, err := file.Stat()
	if err != nil {
		return 0, err //nolint:wrapcheck // by the caller
	}
	return info.Size(), nil
}

func syncFolder(path string) error {
	folder, err := os.Open(path)
	if err != nil {
		return err //nolint:wrapcheck // by the caller
	}
	return errors.Join(folder.Sync(), folder.Close())
}
