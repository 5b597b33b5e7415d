package database

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"

	"github.com/berthregistry/berth/migrations"
)

const (
	// A replica asks once a second, for up to ten minutes, whether another one has finished migrating.
	lockPeriod, lockAttempts = 1, 600
	// raceAttempts bounds how often a migration of SQLite is begun anew because another process was faster.
	raceAttempts = 20
	raceDelay    = 20 * time.Millisecond
)

func (p *postgres) migrate(ctx context.Context) (int, error) {
	// One connection, outside the pool, whose session holds the lock.
	db := stdlib.OpenDB(*migrationConfig(p.pool.Config()))
	defer func() { _ = db.Close() }()
	locker, err := lock.NewPostgresSessionLocker(lock.WithLockTimeout(lockPeriod, lockAttempts))
	if err != nil {
		return 0, fmt.Errorf("migrate: %w", err)
	}
	provider, err := newProvider(goose.DialectPostgres, db, Postgres, goose.WithSessionLocker(locker))
	if err != nil {
		return 0, err
	}
	applied, err := provider.Up(ctx)
	if err != nil {
		return len(applied), fmt.Errorf("migrate: %w", postgresError(ctx, err, false))
	}
	return len(applied), nil
}

// migrate of SQLite: every migration is one transaction that locks the file from its start, so of two processes one
// finds the other's work done, fails, and looks again.
func (s *sqlite) migrate(ctx context.Context) (int, error) {
	provider, err := newProvider(goose.DialectSQLite3, s.writer, SQLite)
	if err != nil {
		return 0, err
	}
	total := 0
	for attempt := 1; ; attempt++ {
		applied, err := provider.Up(ctx)
		total += len(applied) + partly(err)
		if err == nil {
			return total, nil
		}
		err = fmt.Errorf("migrate: %w", sqliteError(err))
		if attempt == raceAttempts || !isRace(err) {
			return total, err
		}
		if err := pause(ctx, raceDelay*time.Duration(attempt)); err != nil {
			return total, err
		}
	}
}

// isRace reports whether another process may have been at the same work.
func isRace(err error) bool {
	return errors.Is(err, ErrUnavailable) || errors.Is(err, ErrConflict) ||
		strings.Contains(err.Error(), "already exists") || strings.Contains(err.Error(), "duplicate column name")
}

// partly is how many migrations went well before the one that failed.
func partly(err error) int {
	if partial, ok := errors.AsType[*goose.PartialError](err); ok {
		return len(partial.Applied)
	}
	return 0
}

func newProvider(dialect goose.Dialect, db *sql.DB, folder string, options ...goose.ProviderOption) (*goose.Provider, error) {
	files, err := fs.Sub(migrations.FS, folder)
	if err != nil {
		return nil, fmt.Errorf("migrate: %w", err)
	}
	provider, err := goose.NewProvider(dialect, db, files, append(options, goose.WithDisableGlobalRegistry(true))...)
	if err != nil {
		return nil, fmt.Errorf("migrate: %w", err)
	}
	return provider, nil
}
