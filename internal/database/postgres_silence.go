package database

import (
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"time"
)

// errSilent is why a connection is given up on which no answer comes.
var errSilent = errors.New("the server says nothing")

// patientConn gives itself up when a Read waits for too long. What a server promises to end in time, such as a
// statement, it cannot end once the network between has gone; and whoever waits holds a connection of the pool.
// pgx only reads while it waits for an answer, so that idle connections live on. Its own deadlines, for callers that
// cancel, stay as they are.
type patientConn struct {
	net.Conn
	silence time.Duration
	watch   *time.Timer // runs while a Read waits
	silent  atomic.Bool
}

func newPatientConn(conn net.Conn, silence time.Duration) *patientConn {
	c := &patientConn{Conn: conn, silence: silence}
	c.watch = time.AfterFunc(silence, c.giveUp)
	c.watch.Stop()
	return c
}

func (c *patientConn) giveUp() {
	c.silent.Store(true)
	_ = c.Close() // ends the Read
}

// Read implements net.Conn.
func (c *patientConn) Read(b []byte) (int, error) {
	c.watch.Reset(c.silence)
	n, err := c.Conn.Read(b)
	c.watch.Stop()
	if err != nil && c.silent.Load() {
		err = fmt.Errorf("%w for %s: %w", errSilent, c.silence, err)
	}
	return n, err
}
