package faults

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
)

// Messages of PostgreSQL's protocol, by their first byte.
const (
	messageExecute = 'E'
	messageSync    = 'S'
	messageReady   = 'Z'
)

// Postgres is a proxy between one replica and a PostgreSQL server. It speaks the protocol without TLS.
type Postgres struct {
	link
	traps    *Traps
	replica  int
	target   string
	listener net.Listener
	running  sync.WaitGroup
}

// NewPostgres begins to pass connections of a replica on to the server at an address.
func NewPostgres(target string, replica int, traps *Traps) (*Postgres, error) {
	listener, err := new(net.ListenConfig).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen before PostgreSQL: %w", err)
	}
	p := &Postgres{traps: traps, replica: replica, target: target, listener: listener}
	p.running.Go(p.accept)
	return p, nil
}

// Address is where the replica finds PostgreSQL.
func (p *Postgres) Address() string { return p.listener.Addr().String() }

// Close ends the proxy with its connections.
func (p *Postgres) Close() {
	p.Heal()
	_ = p.listener.Close()
	p.Cut()
	p.running.Wait()
}

func (p *Postgres) accept() {
	for {
		conn, err := p.listener.Accept()
		if err != nil {
			return
		}
		if p.enter(conn) {
			p.running.Go(func() { p.serve(conn) })
		}
	}
}

func (p *Postgres) serve(client net.Conn) {
	defer p.leave(client)
	server, err := new(net.Dialer).DialContext(context.Background(), "tcp", p.target)
	if err != nil {
		return
	}
	if !p.enter(server) {
		return
	}
	s := &pgSession{proxy: p, client: client, server: server}
	var both sync.WaitGroup
	for _, way := range []func(){s.up, s.down} {
		both.Go(func() {
			way()
			_ = client.Close()
			p.leave(server)
		})
	}
	both.Wait()
}

// pgSession is one connection through the proxy.
type pgSession struct {
	proxy          *Postgres
	client, server net.Conn
	withheld       atomic.Pointer[Step] // the answer that is on its way springs the trap at this step
	committing     atomic.Bool          // the answer on its way is that to a transaction
}

// up passes on what the replica sends. Statements come as a pipeline of Executes that a Sync ends, and with them the
// transaction; a pipeline of one Execute is a query.
func (s *pgSession) up() {
	from, to := bufio.NewReaderSize(s.client, 64<<10), bufio.NewWriterSize(s.server, 64<<10)
	if !copyMessage(from, to, false) || to.Flush() != nil { // the startup message has no type
		return
	}
	executes := 0
	for {
		kind, err := from.Peek(1)
		if err != nil {
			return
		}
		switch kind[0] {
		case messageExecute:
			executes++
		case messageSync:
			if to.Flush() != nil || s.ends(executes) {
				return
			}
			executes = 0
		}
		if !copyMessage(from, to, true) {
			return
		}
		if from.Buffered() == 0 {
			s.proxy.pass()
			if to.Flush() != nil {
				return
			}
		}
	}
}

// ends passes the steps of a Sync, and says whether the replica was ended before it.
func (s *pgSession) ends(executes int) bool {
	if executes == 0 {
		return false
	}
	s.committing.Store(executes > 1)
	step := StatementSent
	if executes > 1 {
		if s.proxy.traps.Pass(BeforeCommit, s.proxy.replica) {
			return true
		}
		step = CommitWithheld
	}
	if s.proxy.traps.Waits(step, s.proxy.replica) {
		s.withheld.Store(&step)
	} else {
		s.proxy.traps.skip(step, s.proxy.replica)
	}
	return false
}

// skip counts a step that did not spring its trap.
func (t *Traps) skip(step Step, replica int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.trap.meets(step, replica) && t.trap.skip > 0 {
		t.trap.skip--
	}
}

// down passes on what the server answers.
func (s *pgSession) down() {
	from, to := bufio.NewReaderSize(s.server, 64<<10), bufio.NewWriterSize(s.client, 1<<20)
	for {
		kind, err := from.Peek(1)
		if err != nil {
			return
		}
		ready := kind[0] == messageReady
		if ready {
			if step := s.withheld.Swap(nil); step != nil && s.proxy.traps.Pass(*step, s.proxy.replica) {
				return // with all of the answer that is in the buffer
			}
			if s.proxy.take(&s.proxy.halve, &s.proxy.counts.Halved) {
				_ = to.Flush() // the answers to the statements, without the end
				return
			}
		}
		if !copyMessage(from, to, true) {
			return
		}
		if ready || from.Buffered() == 0 && s.withheld.Load() == nil {
			s.proxy.pass()
			if to.Flush() != nil {
				return
			}
		}
		if ready && s.committing.Swap(false) && s.proxy.traps.Pass(CommitAnswered, s.proxy.replica) {
			return
		}
	}
}

// copyMessage copies one message: a type, unless it is the first one of a connection, then a length that counts itself.
func copyMessage(from *bufio.Reader, to *bufio.Writer, typed bool) bool {
	var header [5]byte
	begin := header[:]
	if !typed {
		begin = header[1:]
	}
	if _, err := io.ReadFull(from, begin); err != nil {
		return false
	}
	length := binary.BigEndian.Uint32(header[1:])
	if length < 4 {
		return false
	}
	if _, err := to.Write(begin); err != nil {
		return false
	}
	_, err := io.CopyN(to, from, int64(length)-4)
	return err == nil
}
