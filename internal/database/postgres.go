package database

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
	"gorm.io/gorm"
)

// postgres is the engine over one pgx pool.
type postgres struct {
	pool      *pgxpool.Pool
	sql       *sql.DB // the pool for GORM
	logger    *slog.Logger
	exchanges atomic.Int64
	committed atomic.Int64
	// suspect is when a connection was last seen broken, in Unix nanoseconds. Connections not used since are asked
	// whether they live before they are used: after a restart of the server all of them are dead.
	suspect  atomic.Int64
	patience time.Duration // of those who wait for a free connection
}

func openPostgres(ctx context.Context, cfg Config) (*postgres, error) {
	p := &postgres{logger: cfg.Logger, patience: min(acquireTimeout, cfg.timeout())}
	config, err := postgresConfig(p, cfg)
	if err != nil {
		return nil, err
	}
	// The pool works in the background beyond the caller's context.
	if p.pool, err = pgxpool.NewWithConfig(context.WithoutCancel(ctx), config); err != nil {
		return nil, fmt.Errorf("the database URL is not valid: %w", err)
	}
	p.sql = stdlib.OpenDBFromPool(p.pool)
	return p, nil
}

func (p *postgres) dialect() string               { return Postgres }
func (p *postgres) trips() int64                  { return p.exchanges.Load() }
func (p *postgres) commits() int64                { return p.committed.Load() }
func (p *postgres) gormDialector() gorm.Dialector { return newGormPostgres(p.sql) }

func (p *postgres) close() error {
	err := p.sql.Close()
	p.pool.Close()
	if err != nil {
		return fmt.Errorf("close the database: %w", err)
	}
	return nil
}

func (p *postgres) ping(ctx context.Context) error {
	conn, err := p.acquire(ctx)
	if err != nil {
		return err
	}
	defer conn.Release()
	return p.fail(ctx, conn, conn.Conn().Ping(ctx))
}

// acquire takes a connection from the pool; its errors are classified.
func (p *postgres) acquire(ctx context.Context) (*pgxpool.Conn, error) {
	bounded, cancel := context.WithTimeout(ctx, p.patience)
	defer cancel()
	conn, err := p.pool.Acquire(bounded)
	switch {
	case err == nil:
		return conn, nil
	case ctx.Err() != nil:
		return nil, ended(ctx, err)
	case errors.Is(err, context.DeadlineExceeded):
		return nil, fmt.Errorf("%w: no free connection: %w", ErrUnavailable, err)
	default:
		return nil, classified(ErrUnavailable, err)
	}
}

// prepare makes sure that the connection knows the statement. The statements of this package are prepared by name, not
// by pgx's cache, which forgets a statement whenever it fails: a Require that is not met would cost two more exchanges.
func (p *postgres) prepare(ctx context.Context, conn *pgxpool.Conn, statement named) error {
	_, err := conn.Conn().Prepare(ctx, statement.name, statement.text)
	return p.fail(ctx, conn, err)
}

// fail classifies the error of a call on conn, and remembers when it broke.
func (p *postgres) fail(ctx context.Context, conn *pgxpool.Conn, err error) error {
	if err == nil {
		return nil
	}
	broken := conn.Conn().IsClosed()
	switch server := serverError(err); {
	case broken && ctx.Err() == nil:
		p.suspect.Store(time.Now().UnixNano())
	case server != nil && isStale(server):
		// The pool drops the connection, and the statements with it.
		_ = conn.Conn().Close(context.WithoutCancel(ctx))
	}
	return postgresError(ctx, err, broken)
}

func (p *postgres) shouldPing(_ context.Context, params pgxpool.ShouldPingParams) bool {
	return params.IdleDuration > pingIdle ||
		time.Now().Add(-params.IdleDuration).UnixNano() <= p.suspect.Load()
}

// urlSets reports whether the URL has a query parameter.
func urlSets(text, name string) bool {
	u, err := url.Parse(text)
	return err == nil && u.Query().Has(name)
}
