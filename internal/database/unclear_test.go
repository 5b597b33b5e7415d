package database_test

import (
	"io"
	"net"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/berthregistry/berth/internal/database"
	"github.com/berthregistry/berth/internal/database/dbtest"
	"github.com/berthregistry/berth/internal/testenv"
)

// proxy stands between a database and its client, and can cut their connections at a chosen moment.
type proxy struct {
	listener net.Listener
	target   string
	cut      atomic.Int32
	held     sync.RWMutex // for writing while nothing passes
	done     sync.WaitGroup
}

const (
	cutNothing int32 = iota
	cutRequest       // close when the client sends something, without passing it on
	cutAnswer        // pass the request on, and close when the server answers
)

// newProxy returns a proxy and the URL of the database through it.
func newProxy(tb testing.TB, source string) (*proxy, string) {
	tb.Helper()
	u, err := url.Parse(source)
	if err != nil {
		tb.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	p := &proxy{listener: listener, target: u.Host}
	tb.Cleanup(func() {
		_ = listener.Close()
		p.done.Wait()
	})
	p.done.Go(p.serve)
	u.Host = listener.Addr().String()
	return p, u.String()
}

func (p *proxy) serve() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp", p.target)
		if err != nil {
			_ = client.Close()
			continue
		}
		p.done.Go(func() { p.pump(server, client, cutRequest) })
		p.done.Go(func() { p.pump(client, server, cutAnswer) })
	}
}

// pump copies until either side closes, or a cut is due.
func (p *proxy) pump(to, from net.Conn, cut int32) {
	defer func() { _, _ = to.Close(), from.Close() }()
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		if err != nil || p.cut.CompareAndSwap(cut, cutNothing) {
			return
		}
		p.held.RLock()
		_, err = io.Writer(to).Write(buffer[:n])
		p.held.RUnlock()
		if err != nil {
			return
		}
	}
}

func TestPostgresUnclear(t *testing.T) {
	for name, c := range map[string]struct {
		cut   int32
		epoch int64
	}{
		"answer lost":  {cutAnswer, 3},
		"request lost": {cutRequest, 2},
	} {
		t.Run(name, func(t *testing.T) {
			noLeaks(t)
			source := testenv.Postgres(t)
			direct := dbtest.Open(t, source)
			proxy, through := newProxy(t, source)
			db := dbtest.Open(t, with(t, through, "pool_max_conns", "1"))
			project := newProject(t, direct)
			raise := func() error {
				var b database.Batch
				b.Require(errUnmet, raiseEpoch, project)
				return db.Run(t.Context(), &b)
			}
			if err := raise(); err != nil { // from here the statement is prepared
				t.Fatal(err)
			}
			proxy.cut.Store(c.cut)
			wantIs(t, raise(), database.ErrUnclear, database.ErrUnavailable)
			if got := epochOf(t, direct, project); got != c.epoch {
				t.Errorf("epoch is %d, want %d", got, c.epoch)
			}
			if err := raise(); err != nil {
				t.Error(err)
			}

			// A read has no doubtful outcome: it is repeated.
			epochOf(t, db, project)
			proxy.cut.Store(c.cut)
			epochOf(t, db, project)
		})
	}
}

// What breaks before the batch is sent is clear.
func TestPostgresBrokenBeforeTheBatch(t *testing.T) {
	source := testenv.Postgres(t)
	proxy, through := newProxy(t, source)
	db := dbtest.Open(t, with(t, through, "pool_max_conns", "1"))
	project := newProject(t, db)
	proxy.cut.Store(cutAnswer) // of preparing the statement
	var b database.Batch
	b.Require(errUnmet, raiseEpoch, project)
	err := db.Run(t.Context(), &b)
	wantIs(t, err, database.ErrUnavailable)
	wantIsNot(t, err, database.ErrUnclear)
}
