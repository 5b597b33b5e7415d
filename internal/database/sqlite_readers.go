package database

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"sync"
)

// liteReaders are the connections of reads. They are below database/sql, like the writer's, because its pool and its
// conversions cost half as much as the short reads that a request makes. A connection is opened when all others are in use;
// the one that was used last, whose caches are warm, is used next.
type liteReaders struct {
	connector driver.Connector
	// places are those of the readers in use. Its capacity is how many there can be.
	places chan struct{}

	mu     sync.Mutex
	idle   []*liteConn
	closed bool
}

func newLiteReaders(connector driver.Connector, most int) *liteReaders {
	return &liteReaders{connector: connector, places: make(chan struct{}, most)}
}

// take returns a reader, which has to be put back.
func (r *liteReaders) take(ctx context.Context) (*liteConn, error) {
	select {
	case r.places <- struct{}{}:
	case <-ctx.Done():
		return nil, fmt.Errorf("wait for a reader: %w", ctx.Err())
	}
	conn, err := r.pop()
	if conn == nil && err == nil {
		conn, err = r.open(context.WithoutCancel(ctx)) // whoever waits next is glad of it
	}
	if err != nil {
		<-r.places
		return nil, err
	}
	return conn, nil
}

func (r *liteReaders) pop() (*liteConn, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return nil, errClosed
	}
	last := len(r.idle) - 1
	if last < 0 {
		return nil, nil //nolint:nilnil // none is idle, which is no error
	}
	conn := r.idle[last]
	r.idle = r.idle[:last]
	return conn, nil
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
	return conn, nil
}

// put gives a reader back. One that is of no more use is closed.
func (r *liteReaders) put(conn *liteConn) {
	defer func() { <-r.places }()
	if conn.IsValid() && r.keep(conn) {
		return
	}
	_ = conn.Close() // nobody is left to hear of it
}

func (r *liteReaders) keep(conn *liteConn) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return false
	}
	r.idle = append(r.idle, conn)
	return true
}

// close closes the readers that nobody uses, and has the others closed when they are put back.
func (r *liteReaders) close() error {
	r.mu.Lock()
	idle := r.idle
	r.idle, r.closed = nil, true
	r.mu.Unlock()
	var failed error
	for _, conn := range idle {
		failed = errors.Join(failed, sqliteError(conn.Close()))
	}
	return failed
}

// stats counts the readers that are being used, those that are open and wait, and those that there can be.
func (r *liteReaders) stats() (used, idle, most int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.places), len(r.idle), cap(r.places)
}

// lend is a pool of database/sql that has no connections of its own: it takes a reader for each statement, and puts it back.
func (r *liteReaders) lend() *sql.DB {
	db := sql.OpenDB(lender{r})
	db.SetMaxIdleConns(-1)
	return db
}

type lender struct{ *liteReaders }

// Driver implements driver.Connector.
func (l lender) Driver() driver.Driver { return l.connector.Driver() }

// Connect implements driver.Connector.
func (l lender) Connect(ctx context.Context) (driver.Conn, error) {
	conn, err := l.take(ctx)
	if err != nil {
		return nil, err
	}
	return lentConn{conn, l.liteReaders}, nil
}

// lentConn is a reader that database/sql uses.
type lentConn struct {
	*liteConn
	readers *liteReaders
}

// Close puts the reader back; database/sql closes a connection once.
func (c lentConn) Close() error {
	c.readers.put(c.liteConn)
	return nil
}
