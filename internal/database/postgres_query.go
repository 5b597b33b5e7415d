package database

import (
	"context"
	"errors"
	"slices"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/jackc/pgx/v5/pgxpool"
)

func (p *postgres) queryRow(ctx context.Context, t *texts, args, dest []any) error {
	rows, err := p.start(ctx, t, args)
	if err != nil {
		return err
	}
	defer rows.Close()
	if !rows.Next() {
		if err := rows.Err(); err != nil {
			return err
		}
		return ErrNoRows
	}
	if err := rows.Scan(dest...); err != nil {
		return err
	}
	rows.Close()
	return rows.Err()
}

func (p *postgres) query(ctx context.Context, t *texts, args []any) (Rows, error) {
	rows, err := p.start(ctx, t, args)
	if err != nil {
		return nil, err
	}
	return rows, nil
}

// start executes a read up to its first row. It repeats it once when the connection breaks under it: one that was idle
// may have been dead for long. Of a server that says nothing nobody waits for an answer twice.
func (p *postgres) start(ctx context.Context, t *texts, args []any) (*pgRows, error) {
	for attempt := 0; ; attempt++ {
		conn, err := p.acquire(ctx)
		if err != nil {
			return nil, err
		}
		rows, err := p.startOn(ctx, conn, t, args)
		if err == nil {
			return rows, nil
		}
		broken := conn.Conn().IsClosed()
		conn.Release()
		if !broken || attempt > 0 || ctx.Err() != nil || errors.Is(err, errSilent) {
			return nil, err
		}
	}
}

func (p *postgres) startOn(ctx context.Context, conn *pgxpool.Conn, t *texts, args []any) (*pgRows, error) {
	if err := p.prepare(ctx, conn, t.postgres); err != nil {
		return nil, err
	}
	r, err := conn.Conn().Query(ctx, t.postgres.name, postgresArgs(args)...)
	if err != nil {
		return nil, p.fail(ctx, conn, err)
	}
	rows := &pgRows{engine: p, ctx: ctx, conn: conn, rows: r, ahead: true}
	if rows.has = r.Next(); !rows.has && r.Err() != nil {
		return nil, p.fail(ctx, conn, r.Err())
	}
	return rows, nil
}

// postgresArgs gives pgx UUIDs as its own type: others it takes for a driver.Valuer, which it asks for a text, cannot use as
// it is, and takes apart again, for every parameter of every statement.
func postgresArgs(args []any) []any {
	own := args
	for i, arg := range args {
		id, ok := arg.(uuid.UUID)
		if !ok {
			continue
		}
		if &own[0] == &args[0] {
			own = slices.Clone(args)
		}
		own[i] = pgtype.UUID{Bytes: id, Valid: true}
	}
	return own
}

// pgRows are rows that hold a connection. The first of them has been read ahead.
type pgRows struct {
	engine *postgres
	ctx    context.Context // of this one call, to tell its end from a failure
	conn   *pgxpool.Conn   // nil once released
	rows   pgx.Rows
	ahead  bool // has is what Next shall return
	has    bool
	err    error
}

// Next implements Rows.
func (r *pgRows) Next() bool {
	if r.conn == nil {
		return false
	}
	has := r.has
	if r.ahead {
		r.ahead = false
	} else {
		has = r.rows.Next()
	}
	if !has {
		r.Close()
	}
	return has
}

// Scan implements Rows.
func (r *pgRows) Scan(dest ...any) error {
	return r.rows.Scan(dest...) // about the destinations
}

// Err implements Rows.
func (r *pgRows) Err() error { return r.err }

// Close implements Rows.
func (r *pgRows) Close() {
	if r.conn == nil {
		return
	}
	r.rows.Close()
	r.err = r.engine.fail(r.ctx, r.conn, r.rows.Err())
	r.conn.Release()
	r.conn = nil
}
