package server

import (
	"context"
	"time"

	"github.com/berthregistry/berth/internal/audit"
	"github.com/berthregistry/berth/internal/config"
	"github.com/berthregistry/berth/internal/database"
	"github.com/berthregistry/berth/internal/oci/gc"
)

// ErrNoBackup says that the kind of database has tools of its own.
var ErrNoBackup = database.ErrNoBackup

// BackupDatabase copies a SQLite database, as it is at one instant, beside servers that may be running, and returns the
// copy's size in bytes. It returns ErrNoBackup for PostgreSQL.
func BackupDatabase(ctx context.Context, cfg config.Database, to string, opts Options) (size int64, err error) {
	err = withDatabase(ctx, cfg, opts, func(db *database.DB) error {
		size, err = db.Backup(ctx, to)
		return err //nolint:wrapcheck // says what it did
	})
	return size, err
}

// HoldObjects keeps all servers from removing objects for as long, or lets them again where that is 0. It returns until when.
func HoldObjects(ctx context.Context, cfg config.Database, d time.Duration, opts Options) (until time.Time, err error) {
	opts = opts.withDefaults()
	err = withDatabase(ctx, cfg, opts, func(db *database.DB) error {
		collector := gc.New(gc.Config{DB: db, Clock: opts.Clock})
		until, err = collector.Hold(audit.With(ctx, audit.Origin{Actor: audit.ActorOperator}), d)
		return err //nolint:wrapcheck // says what it did
	})
	return until, err
}
