// Package migrations holds the database schema: goose migrations, one folder for each SQL dialect, embedded in the
// binary. Both folders describe the same schema; a test in internal/database holds them to it.
package migrations

import "embed"

// FS holds postgres/*.sql and sqlite/*.sql.
//
//go:embed postgres/*.sql sqlite/*.sql
var FS embed.FS
