// Package database is Berth's one way to its database: PostgreSQL, or SQLite in a file.
//
// Hot statements are written once, as package variables of type [Stmt], and serve both dialects. A read is
// [DB.QueryRow] or [DB.Query]: one exchange. A write is a [Batch] given to [DB.Run]: one exchange and one transaction,
// whose guards ([Batch.Require]) the database itself checks. Cold paths use [DB.Gorm] on the same connections.
package database

import (
	"context"
	"database/sql"
	"errors"
	"log/slog"
	"time"

	"gorm.io/gorm"

	"github.com/berthregistry/berth/internal/telemetry/observe"
)

// Dialects, as [DB.Dialect] names them.
const (
	Postgres = "postgres"
	SQLite   = "sqlite"
)

// Config says which database to open.
type Config struct {
	// URL is sqlite:PATH or postgres://user:password@host/database?option=value. The options of a PostgreSQL URL are
	// those of libpq, of pgxpool (pool_max_conns and so on) and the server's settings; see the constants of this
	// package for what is set when the URL does not.
	URL string
	// MustExist makes Open fail with [ErrNoDatabase] where there is no file of SQLite, instead of creating it: for all that
	// works on what a server has made. PostgreSQL does not use it, for nobody creates its databases here.
	MustExist bool
	// MaxConns bounds the connections to PostgreSQL. The URL's pool_max_conns comes first; when neither is set it is
	// four for each CPU and at least 16. SQLite does not use it.
	MaxConns int
	// Timeout bounds what PostgreSQL may take for a statement (statement_timeout, unless the URL sets that), and the wait
	// for a free connection where it is shorter than ten seconds. A server that says nothing for somewhat longer is given
	// up: behind a network that has gone, no timeout of its own would be heard of. Zero: [StatementTimeout]. SQLite does not use it.
	Timeout time.Duration
	// Logger hears of failures that no caller can be told. Nil: slog.Default().
	Logger *slog.Logger
	// Observer watches every call. Nil: nobody does.
	Observer *observe.Observer
	// Record hears the text of every statement but GORM's, in the words of the dialect, before it runs: for tests of
	// their plans. Nil: nobody does.
	Record func(statement string)
}

// DB is an open database. It is safe for concurrent use.
type DB struct {
	engine engine
	gorm   *gorm.DB
}

// engine is what a dialect provides. Its errors are classified: see the sentinels of this package.
type engine interface {
	dialect() string
	queryRow(ctx context.Context, t *texts, args, dest []any) error
	query(ctx context.Context, t *texts, args []any) (Rows, error)
	run(ctx context.Context, b *Batch) error
	ping(ctx context.Context) error
	migrate(ctx context.Context) (int, error)
	gormDialector() gorm.Dialector
	trips() int64
	commits() int64
	stats() Stats
	close() error
}

// Open opens the database and checks that it answers. It does not migrate: call [DB.Migrate]. For SQLite it creates the
// file (mode 0600) and its folder (0700), unless it must exist. Errors: a plain one for a URL of bad form, [ErrNoDatabase],
// else [ErrUnavailable].
func Open(ctx context.Context, cfg Config) (*DB, error) {
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	e, err := openEngine(ctx, cfg)
	if err != nil {
		return nil, err
	}
	db := &DB{engine: recorded(observed(e, cfg.Observer), cfg.Record)}
	if err := db.Ping(ctx); err != nil {
		return nil, errors.Join(err, e.close())
	}
	if db.gorm, err = openGorm(e.gormDialector(), cfg.Logger, watched(e.dialect(), cfg.Observer)); err != nil {
		return nil, errors.Join(err, e.close())
	}
	return db, nil
}

// Close waits for what is under way, batches of SQLite that were accepted included, and releases all connections.
// Later calls of other methods fail with [ErrUnavailable].
func (db *DB) Close() error { return db.engine.close() }

// Dialect is [Postgres] or [SQLite].
func (db *DB) Dialect() string { return db.engine.dialect() }

// Migrate brings the schema up to date and returns how many migrations it applied; none is no error. Replicas may do
// so at the same time. PostgreSQL's statement and lock timeouts do not apply to it.
func (db *DB) Migrate(ctx context.Context) (applied int, err error) { return db.engine.migrate(ctx) }

// Ping checks that the database answers. Errors: [ErrUnavailable], the context's.
func (db *DB) Ping(ctx context.Context) error { return db.engine.ping(ctx) }

// Gorm is for cold paths: users, tokens, listings. It skips the default transaction, and its errors match both GORM's
// sentinels and those of this package. On SQLite its writes wait for the one writer, which a transaction holds until
// it ends: do nothing slow in one, and use only its own handle inside.
func (db *DB) Gorm() *gorm.DB { return db.gorm }

// Trips is the number of exchanges with the database so far. On PostgreSQL it is counted at the connections: a request
// was sent and an answer awaited, be it BEGIN, COMMIT, preparing a statement for the first time, or a whole pipelined
// batch. On SQLite it is the number of transactions and read statements.
func (db *DB) Trips() int64 { return db.engine.trips() }

// Commits is the number of transactions committed so far by [DB.Run] and by GORM's writes. SQLite's group commit may
// make several of them durable at once.
func (db *DB) Commits() int64 { return db.engine.commits() }

// QueryRow prepares a read of at most one row; it is executed by Scan. stmt must not write: on SQLite that fails, on
// PostgreSQL a read is repeated when an idle connection turns out to be dead.
func (db *DB) QueryRow(ctx context.Context, stmt Stmt, args ...any) Row {
	return Row{ctx: ctx, engine: db.engine, texts: stmt.mustTexts(), args: args}
}

// Query reads any number of rows. It holds a connection until the rows are closed, which the end of the rows does too.
// stmt must not write, as with [DB.QueryRow]. Errors: [ErrUnavailable], the context's, and the database's own.
func (db *DB) Query(ctx context.Context, stmt Stmt, args ...any) (Rows, error) {
	return db.engine.query(ctx, stmt.mustTexts(), args)
}

// Each reads any number of rows as [DB.Query] does, and gives each to scan. Errors: those of Query and of scan.
func (db *DB) Each(ctx context.Context, scan func(Rows) error, stmt Stmt, args ...any) error {
	rows, err := db.Query(ctx, stmt, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := scan(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}

// Run executes the batch in one exchange and one transaction: all of it or, on any error, nothing. Deadlocks and
// serialization failures are retried, a few times. An empty batch does nothing.
//
// Errors: a [Batch.Require]'s own, [ErrConflict], [ErrForeignKey], [ErrUnavailable], [ErrUnclear], the context's, that
// of a [Batch.Query]'s scan (when the batch has committed), and the database's own. A context that ends before the
// batch has started prevents it. One that ends later interrupts it on PostgreSQL (nothing is committed, unless the
// error is [ErrUnclear] as well), and no longer matters on SQLite.
func (db *DB) Run(ctx context.Context, b *Batch) error {
	if len(b.ops) == 0 {
		return nil
	}
	return db.engine.run(ctx, b)
}

// Row is a read that waits for its Scan.
type Row struct {
	ctx    context.Context // of this one call, as in sql.Row
	engine engine
	texts  *texts
	args   []any
}

// Scan reads the row into dest, and holds no connection once it has returned. Errors: [ErrNoRows], [ErrUnavailable],
// the context's, and the database's own.
func (r Row) Scan(dest ...any) error { return r.engine.queryRow(r.ctx, r.texts, r.args, dest) }

// Rows is the result of a query. It is not safe for concurrent use.
type Rows interface {
	// Next advances to the next row and reports whether there is one; if not, Err tells why and the rows are closed.
	Next() bool
	// Scan copies the current row. A NULL needs a destination that can take it: a pointer to a pointer, sql.Null.
	Scan(dest ...any) error
	// Err is the error that ended the rows early, or nil. Errors are those of [DB.Query].
	Err() error
	// Close releases the connection; it may be called twice.
	Close()
}

// ErrNoRows is what [Row.Scan] returns when there is no row.
var ErrNoRows = sql.ErrNoRows
