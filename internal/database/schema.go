package database

import (
	"context"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"

	"github.com/berthregistry/berth/migrations"
)

// Schema tells what migrations have made of a database, as against those that this program has.
type Schema struct {
	// Applied are the migrations that have been applied, in order; none for an empty database.
	Applied []int64
	// Pending are those that this program has and the database lacks.
	Pending []int64
	// Unknown are those that the database has and this program does not know: a newer one was here.
	Unknown []int64
}

var (
	versionTable = Stmt{texts: &texts{
		postgres: newNamed("SELECT count(*) FROM pg_catalog.pg_class WHERE oid = to_regclass('goose_db_version')"),
		sqlite:   "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = 'goose_db_version'",
	}}
	// Of a migration that was taken back and applied again, the last row counts.
	versionRows = SQL("SELECT version_id, is_applied FROM goose_db_version WHERE version_id > 0 ORDER BY id")
)

// Schema reads which migrations a database has. It changes nothing, also where there is no table of them yet. Errors: those
// of [DB.Query].
func (db *DB) Schema(ctx context.Context) (Schema, error) {
	known, err := db.migrations()
	if err != nil {
		return Schema{}, err
	}
	applied, err := db.applied(ctx)
	if err != nil {
		return Schema{}, err
	}
	return compareSchema(known, applied), nil
}

func compareSchema(known, applied []int64) Schema {
	s := Schema{Applied: applied}
	for _, version := range known {
		if !slices.Contains(applied, version) {
			s.Pending = append(s.Pending, version)
		}
	}
	for _, version := range applied {
		if !slices.Contains(known, version) {
			s.Unknown = append(s.Unknown, version)
		}
	}
	return s
}

// migrations are the versions that this program has for the dialect.
func (db *DB) migrations() ([]int64, error) {
	entries, err := fs.ReadDir(migrations.FS, db.Dialect())
	if err != nil {
		return nil, fmt.Errorf("list the migrations: %w", err)
	}
	var found []int64
	for _, entry := range entries {
		number, _, _ := strings.Cut(entry.Name(), "_")
		version, err := strconv.ParseInt(number, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("list the migrations: %w", err)
		}
		found = append(found, version)
	}
	return found, nil
}

func (db *DB) applied(ctx context.Context) ([]int64, error) {
	var tables int64
	if err := db.QueryRow(ctx, versionTable).Scan(&tables); err != nil || tables == 0 {
		return nil, err
	}
	rows, err := db.Query(ctx, versionRows)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	state := map[int64]bool{}
	for rows.Next() {
		var version int64
		var is bool
		if err := rows.Scan(&version, &is); err != nil {
			return nil, err
		}
		state[version] = is
	}
	var found []int64
	for version, is := range state {
		if is {
			found = append(found, version)
		}
	}
	slices.Sort(found)
	return found, rows.Err()
}
