package main

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/berthregistry/berth/internal/database"
)

// load fills an empty database that has the schema.
func (w world) load(ctx context.Context, url string, say func(string, ...any)) error {
	if strings.HasPrefix(url, "sqlite:") {
		return w.loadSQLite(ctx, url, say)
	}
	return w.loadPostgres(ctx, url, say)
}

// loadPostgres copies each table. References are not checked row by row, for all of them are right by construction; a
// test loads a small world with them.
func (w world) loadPostgres(ctx context.Context, url string, say func(string, ...any)) (err error) {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return fmt.Errorf("load: %w", err)
	}
	defer func() { err = errors.Join(err, conn.Close(context.WithoutCancel(ctx))) }()
	if _, err := conn.Exec(ctx, `SET session_replication_role = replica; SET synchronous_commit = off; SET maintenance_work_mem = '256MB'`); err != nil {
		return fmt.Errorf("load: %w", err)
	}
	for _, t := range w.tables() {
		next, stop := iter.Pull(t.rows)
		n, err := conn.CopyFrom(ctx, pgx.Identifier{t.name}, t.columns, &pulled{next: next})
		stop()
		if err != nil {
			return fmt.Errorf("load %s: %w", t.name, err)
		}
		say("%s: %d rows", t.name, n)
	}
	if _, err := conn.Exec(ctx, `VACUUM (ANALYZE)`); err != nil { // as its autovacuum does sooner or later
		return fmt.Errorf("load: %w", err)
	}
	return nil
}

// pulled is rows in the way that pgx takes them.
type pulled struct {
	next func() ([]any, bool)
	row  []any
}

// Next implements pgx.CopyFromSource.
func (p *pulled) Next() bool {
	var ok bool
	p.row, ok = p.next()
	return ok
}

// Values implements pgx.CopyFromSource.
func (p *pulled) Values() ([]any, error) { return p.row, nil }

// Err implements pgx.CopyFromSource.
func (*pulled) Err() error { return nil }

const (
	// rowsPerStatement is how many rows a statement for SQLite inserts, and statementsPerBatch how many of them share a
	// transaction.
	rowsPerStatement   = 100
	statementsPerBatch = 100
)

// loadSQLite inserts in batches. The database checks every reference.
func (w world) loadSQLite(ctx context.Context, url string, say func(string, ...any)) (err error) {
	db, err := database.Open(ctx, database.Config{URL: url})
	if err != nil {
		return fmt.Errorf("load: %w", err)
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	for _, t := range w.tables() {
		n, err := loadTable(ctx, db, t)
		if err != nil {
			return fmt.Errorf("load %s: %w", t.name, err)
		}
		say("%s: %d rows", t.name, n)
	}
	return nil
}

func loadTable(ctx context.Context, db *database.DB, t table) (int, error) {
	full := inserting(t, rowsPerStatement)
	batch, args, rows, total := &database.Batch{}, []any(nil), 0, 0
	statements := 0
	for row := range t.rows {
		args, rows, total = append(args, row...), rows+1, total+1
		if rows < rowsPerStatement {
			continue
		}
		batch.Exec(full, args...)
		args, rows = nil, 0
		if statements++; statements%statementsPerBatch == 0 {
			if err := db.Run(ctx, batch); err != nil {
				return total, err
			}
			batch = &database.Batch{}
		}
	}
	if rows > 0 {
		batch.Exec(inserting(t, rows), args...)
	}
	return total, db.Run(ctx, batch)
}

// inserting is a statement that inserts so many rows.
func inserting(t table, rows int) database.Stmt {
	var text strings.Builder
	fmt.Fprintf(&text, "INSERT INTO %s (%s) VALUES ", t.name, strings.Join(t.columns, ", "))
	n := 0
	for row := range rows {
		if row > 0 {
			text.WriteString(", ")
		}
		text.WriteByte('(')
		for column := range t.columns {
			if column > 0 {
				text.WriteString(", ")
			}
			n++
			fmt.Fprintf(&text, "$%d", n)
		}
		text.WriteByte(')')
	}
	return database.SQL(text.String())
}
