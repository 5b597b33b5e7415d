package database

import (
	"context"
	"database/sql"
	"fmt"
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
	select {
	case s.slots <- struct{}{}:
	case <-ctx.Done():
		return nil, fmt.Errorf("wait for a reader: %w", ctx.Err())
	}
	rows, err := s.read(context.WithoutCancel(ctx), t, args) //nolint:rowserrcheck // by liteRows
	if err != nil {
		<-s.slots
		return nil, sqliteError(err)
	}
	s.exchanges.Add(1)
	return &liteRows{engine: s, ctx: ctx, rows: rows}, nil
}

func (s *sqlite) read(ctx context.Context, t *texts, args []any) (*sql.Rows, error) {
	stmt, err := s.statement(ctx, t) //nolint:sqlclosecheck // kept until the readers are closed
	if err != nil {
		return nil, err
	}
	return stmt.QueryContext(ctx, args...) // classified by the caller
}

// statement is the prepared statement of the readers.
func (s *sqlite) statement(ctx context.Context, t *texts) (*sql.Stmt, error) {
	s.preparing.RLock()
	stmt, ok := s.prepared[t]
	s.preparing.RUnlock()
	if ok {
		return stmt, nil
	}
	s.preparing.Lock()
	defer s.preparing.Unlock()
	if stmt, ok := s.prepared[t]; ok {
		return stmt, nil
	}
	stmt, err := s.readers.PrepareContext(ctx, t.sqlite) //nolint:sqlclosecheck // kept until the readers are closed
	if err != nil {
		return nil, err // classified by the caller
	}
	s.prepared[t] = stmt
	return stmt, nil
}

// liteRows are rows that hold a reader.
type liteRows struct {
	engine *sqlite
	ctx    context.Context // of this one call
	rows   *sql.Rows
	closed bool
	err    error
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
	if !r.rows.Next() {
		r.Close()
		return false
	}
	return true
}

// Scan implements Rows.
func (r *liteRows) Scan(dest ...any) error {
	return r.rows.Scan(blobTargets(dest)...) // about the destinations
}

// Err implements Rows.
func (r *liteRows) Err() error { return r.err }

// Close implements Rows.
func (r *liteRows) Close() {
	if r.closed {
		return
	}
	r.closed = true
	err := r.rows.Close()
	if ended := r.rows.Err(); ended != nil {
		err = ended
	}
	if r.err == nil {
		r.err = sqliteError(err)
	}
	<-r.engine.slots
}

// blobTargets replaces *[]byte by a scanner that tells an empty blob from NULL.
func blobTargets(dest []any) []any {
	replaced := dest
	for i, d := range dest {
		target, ok := d.(*[]byte)
		if !ok {
			continue
		}
		if &replaced[0] == &dest[0] {
			replaced = append([]any(nil), dest...)
		}
		replaced[i] = (*blob)(target)
	}
	return replaced
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
