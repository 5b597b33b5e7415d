package database

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
)

func (s *sqlite) queryRow(ctx context.Context, t *texts, args, dest []any) error {
	rows, err := s.start(ctx, t, args)
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
	return rows.Scan(dest...)
}

func (s *sqlite) query(ctx context.Context, t *texts, args []any) (Rows, error) {
	rows, err := s.start(ctx, t, args)
	if err != nil {
		return nil, err
	}
	return rows, nil
}

// start executes a read. The context ends the wait for a reader, and the reading of rows; it does not interrupt a
// step, because watching it costs the driver more than most reads take.
func (s *sqlite) start(ctx context.Context, t *texts, args []any) (*liteRows, error) {
	if err := checkText(args); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("read: %w", err)
	}
	conn, err := s.reading.take(ctx)
	if err != nil {
		return nil, err
	}
	rows, err := conn.rows(t, args) //nolint:contextcheck // see above
	if err != nil {
		s.reading.put(conn)
		return nil, err
	}
	s.exchanges.Add(1)
	return &liteRows{readers: s.reading, conn: conn, ctx: ctx, rows: rows}, nil
}

// liteRows are rows that hold a reader.
type liteRows struct {
	readers *liteReaders
	conn    *liteConn
	ctx     context.Context // of this one call
	rows    driver.Rows
	row     []driver.Value // nil before the first Next, and after the last
	closed  bool
	err     error
}

// Next implements Rows.
func (r *liteRows) Next() bool {
	if r.closed {
		return false
	}
	if err := r.ctx.Err(); err != nil {
		r.err = fmt.Errorf("read: %w", err)
		r.Close()
		return false
	}
	if r.row == nil {
		r.row = make([]driver.Value, len(r.rows.Columns()))
	}
	if err := r.rows.Next(r.row); err != nil {
		if !errors.Is(err, io.EOF) {
			r.err = sqliteError(err)
		}
		r.Close()
		return false
	}
	return true
}

// Scan implements Rows.
func (r *liteRows) Scan(dest ...any) error {
	if r.row == nil {
		return errors.New("database: there is no row to scan")
	}
	return assignAll(dest, r.row)
}

// Err implements Rows.
func (r *liteRows) Err() error { return r.err }

// Close implements Rows.
func (r *liteRows) Close() {
	if r.closed {
		return
	}
	r.closed, r.row = true, nil
	if err := r.rows.Close(); err != nil && r.err == nil {
		r.err = sqliteError(err)
	}
	r.readers.put(r.conn)
}

type blob []byte

// Scan implements sql.Scanner.
func (b *blob) Scan(value any) error {
	switch v := value.(type) {
	case nil:
		*b = nil
	case []byte:
		*b = append(make([]byte, 0, len(v)), v...)
	case string:
		*b = []byte(v)
	default:
		return fmt.Errorf("cannot scan %T into []byte", value)
	}
	return nil
}
