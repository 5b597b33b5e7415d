package database

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"sync/atomic"
)

// liteReaders are the connections of reads. They are below database/sql, like the writer's, because its pool and its
// conversions cost half as much as the short reads that a request makes. Each is opened when it is first wanted.
type liteReaders struct {
	connector driver.Connector
	// free are the readers that nobody uses; nil is one that is yet to be opened. Its capacity is how many there can be.
	free   chan *liteConn
	opened atomic.Int64 // how many are open
	closed atomic.Bool
}

func newLiteReaders(connector driver.Connector, most int) *liteReaders {
	r := &liteReaders{connector: connector, free: make(chan *liteConn, most)}
	for range most {
		r.free <- nil
	}
	return r
}

// take returns a reader, which has to be put back.
func (r *liteReaders) take(ctx context.Context) (*liteConn, error) {
	var conn *liteConn
	select {
	case conn = <-r.free:
	case <-ctx.Done():
		return nil, fmt.Errorf("wait for a reader: %w", ctx.Err())
	}
	if r.closed.Load() {
		r.put(conn)
		return nil, errClosed
	}
	if conn != nil {
		return conn, nil
	}
	conn, err := r.open(context.WithoutCancel(ctx)) // whoever waits next is glad of it
	if err != nil {
		r.put(nil)
	}
	return conn, err
}

func (r *liteReaders) open(ctx context.Context) (*liteConn, error) {
	opened, err := r.connector.Connect(ctx)
	if err != nil {
		return nil, err //nolint:wrapcheck // our own connector
	}
	conn, ok := opened.(*liteConn)
	if !ok {
		return nil, errors.Join(fmt.Errorf("unexpected connection %T", opened), opened.Close())
	}
	r.opened.Add(1)
	return conn, nil
}

// put gives a reader back; nil gives back the place of one.
func (r *liteReaders) put(conn *liteConn) {
	if conn != nil && !conn.IsValid() {
		_ = r.end(conn) // it is of no use, whatever it says
		conn = nil
	}
	r.free <- conn
	if r.closed.Load() {
		_ = r.closeFree() // nobody is left to hear of it
	}
}

// close closes the readers that nobody uses, and has the others closed when they are put back.
func (r *liteReaders) close() error {
	r.closed.Store(true)
	return r.closeFree()
}

func (r *liteReaders) closeFree() error {
	var failed error
	for range cap(r.free) {
		select {
		case conn := <-r.free:
			if conn != nil {
				failed = errors.Join(failed, r.end(conn))
			}
			r.free <- nil
		default:
			return failed
		}
	}
	return failed
}

func (r *liteReaders) end(conn *liteConn) error {
	r.opened.Add(-1)
	return sqliteError(conn.Close())
}

// stats counts the readers that are being used, those that are open and wait, and those that there can be.
func (r *liteReaders) stats() (used, idle, most int) {
	used = cap(r.free) - len(r.free)
	return used, max(0, int(r.opened.Load())-used), cap(r.free)
}
