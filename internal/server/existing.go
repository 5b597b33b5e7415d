package server

import (
	"context"
	"errors"
	"fmt"

	"github.com/berthregistry/berth/internal/config"
	"github.com/berthregistry/berth/internal/database"
)

// openExisting opens what servers use, for work beside them: it makes no database and does not migrate. Errors:
// config.Problems where the settings lead to no database of a server.
func openExisting(ctx context.Context, cfg config.Config, opts Options) (*backends, error) {
	db, err := existingDatabase(ctx, cfg.Database, opts)
	if err != nil {
		return nil, err
	}
	return withStore(ctx, db, cfg, opts, nil)
}

// existingDatabase opens a database that a server or a migration has made. Who works beside a server without its settings
// would else have a new, empty database: a backup of nothing, a collection of nothing. Migrations that are pending are no
// error, for servers of the version before may be running. Errors: config.Problems where there is no such database.
func existingDatabase(ctx context.Context, cfg config.Database, opts Options) (*database.DB, error) {
	which := databaseConfig(cfg, opts, nil)
	which.MustExist = true
	db, err := database.Open(ctx, which)
	if errors.Is(err, database.ErrNoDatabase) {
		return nil, config.Problems{{Variable: "BERTH_DATABASE_URL", Sentence: err.Error() + ": run this with the settings of the server"}}
	}
	if err != nil {
		return nil, fmt.Errorf("BERTH_DATABASE_URL: %w", err)
	}
	if err := requireSchema(ctx, db, cfg); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return db, nil
}

// requireSchema fails with config.Problems where no migration has been applied.
func requireSchema(ctx context.Context, db *database.DB, cfg config.Database) error {
	schema, err := db.Schema(ctx)
	if err != nil {
		return fmt.Errorf("read the schema of the database: %w", err)
	}
	if len(schema.Applied) > 0 {
		return nil
	}
	return config.Problems{{
		Variable: "BERTH_DATABASE_URL",
		Sentence: fmt.Sprintf("%s has no schema: neither berth migrate nor berth serve has been run there. Run this with the settings of the server", cfg.URL),
	}}
}
