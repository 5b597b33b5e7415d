package database

import (
	"context"
	"database/sql"
	"fmt"
	"strings"

	sqlitedriver "gorm.io/driver/sqlite"
	"gorm.io/gorm"
)

// gormSQLite is GORM's dialect with our connections and errors.
type gormSQLite struct {
	*sqlitedriver.Dialector
}

func newGormSQLite(s *sqlite) gorm.Dialector {
	return gormSQLite{&sqlitedriver.Dialector{Conn: &gormPool{engine: s}}}
}

// Translate implements gorm.ErrorTranslator.
func (gormSQLite) Translate(err error) error { return gormError(err, sqliteError) }

// gormPool gives GORM the readers for its SELECTs outside of transactions, and the writer for all else. database/sql
// makes its statements wait until batches, or other statements, have let go of the writer's only connection.
type gormPool struct {
	engine *sqlite
}

var (
	_ gorm.ConnPool         = (*gormPool)(nil)
	_ gorm.ConnPoolBeginner = (*gormPool)(nil)
	_ gorm.GetDBConnector   = (*gormPool)(nil)
	_ gorm.TxCommitter      = (*gormTx)(nil)
)

func (p *gormPool) route(query string) *sql.DB {
	p.engine.exchanges.Add(1)
	if word, _, _ := strings.Cut(strings.TrimSpace(query), " "); strings.EqualFold(word, "SELECT") {
		return p.engine.readers
	}
	return p.engine.writer
}

// GetDBConn implements gorm.GetDBConnector: it is the writer.
func (p *gormPool) GetDBConn() (*sql.DB, error) { return p.engine.writer, nil }

// PrepareContext implements gorm.ConnPool.
func (p *gormPool) PrepareContext(ctx context.Context, query string) (*sql.Stmt, error) {
	return p.engine.writer.PrepareContext(ctx, query) // GORM translates it
}

// ExecContext implements gorm.ConnPool.
func (p *gormPool) ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error) {
	result, err := p.route(query).ExecContext(ctx, query, args...)
	if err == nil {
		p.engine.committed.Add(1)
	}
	return result, err // GORM translates it
}

// QueryContext implements gorm.ConnPool.
func (p *gormPool) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	db := p.route(query)
	rows, err := db.QueryContext(ctx, query, args...)
	if err == nil && db == p.engine.writer {
		p.engine.committed.Add(1) // INSERT … RETURNING and the like, committed when the rows are read
	}
	return rows, err // GORM translates it
}

// QueryRowContext implements gorm.ConnPool.
func (p *gormPool) QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row {
	return p.route(query).QueryRowContext(ctx, query, args...)
}

// BeginTx implements gorm.ConnPoolBeginner. The transaction holds the writer until it ends.
func (p *gormPool) BeginTx(ctx context.Context, options *sql.TxOptions) (gorm.ConnPool, error) {
	p.engine.exchanges.Add(1)
	tx, err := p.engine.writer.BeginTx(ctx, options)
	if err != nil {
		return nil, fmt.Errorf("begin: %w", err)
	}
	return &gormTx{Tx: tx, engine: p.engine}, nil
}

// gormTx counts its commit.
type gormTx struct {
	*sql.Tx
	engine *sqlite
}

// Commit implements gorm.TxCommitter.
func (t *gormTx) Commit() error {
	err := t.Tx.Commit()
	if err == nil {
		t.engine.committed.Add(1)
	}
	return err // GORM translates it
}
