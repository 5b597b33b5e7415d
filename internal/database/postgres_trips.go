package database

import (
	"context"
	"net"
	"sync/atomic"

	"github.com/jackc/pgx/v5"
)

// countedConn counts exchanges: answers that come after something was sent.
type countedConn struct {
	net.Conn
	trips *atomic.Int64
	sent  atomic.Bool
}

// Write implements net.Conn.
func (c *countedConn) Write(b []byte) (int, error) {
	c.sent.Store(true)
	return c.Conn.Write(b)
}

// Read implements net.Conn.
func (c *countedConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if n > 0 && c.sent.Swap(false) {
		c.trips.Add(1)
	}
	return n, err
}

// commitTracer counts the transactions that GORM commits: its COMMITs, and its writes outside a transaction.
type commitTracer struct {
	commits *atomic.Int64
}

// inBatch marks the context of batches, which pgx traces in part and which are counted where they run.
type inBatch struct{}

// TraceQueryStart implements pgx.QueryTracer.
func (commitTracer) TraceQueryStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceQueryStartData) context.Context {
	return ctx
}

// TraceQueryEnd implements pgx.QueryTracer.
func (t commitTracer) TraceQueryEnd(ctx context.Context, conn *pgx.Conn, data pgx.TraceQueryEndData) {
	tag := data.CommandTag
	writes := tag.Insert() || tag.Update() || tag.Delete()
	committed := tag.String() == "COMMIT" || writes && conn.PgConn().TxStatus() == 'I'
	if data.Err == nil && committed && ctx.Value(inBatch{}) == nil {
		t.commits.Add(1)
	}
}
