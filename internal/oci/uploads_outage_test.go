package oci_test

import (
	"io"
	"net"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/berthregistry/berth/internal/database/dbtest"
	"github.com/berthregistry/berth/internal/oci/ocitest"
	"github.com/berthregistry/berth/internal/testenv"
)

// TestThreat23DatabaseGoesAway stops the database under a body: 503, and the upload goes on once it is back.
func TestThreat23DatabaseGoesAway(t *testing.T) {
	withoutLeaks(t, ocitest.Embedded, func(t *testing.T, env *ocitest.Env) {
		server := testenv.PostgresServer(t)
		env.DB = dbtest.Open(t, server.URL(t))
		p := newPair(t, env)
		content := noise(13*uploadChunk/2, 1)
		f := p.hang(content)
		server.Stop(t)
		f.feed(content[hangFed:])
		f.end()
		wantUnavailable(t, f.answer())
		wantUnavailable(t, p.c.Do(http.MethodGet, p.start, nil))
		wantUnavailable(t, p.c.Do(http.MethodPatch, p.start, []byte("x")))
		wantUnavailable(t, p.c.Do(http.MethodDelete, p.start, nil))
		server.Start(t)

		location := ""
		eventually(t, "the replica answers again", func() bool {
			a := p.c.Do(http.MethodGet, p.start, nil)
			location = a.Header.Get("Location")
			return a.Status == http.StatusNoContent
		})
		wantCommitted(t, p.other, location, hangKept)
		p.expireLease() // nobody could give it back
		rest := content[hangKept:]
		location = patch(p.other, location, rest, "Content-Range", span(hangKept, len(rest)))
		wantStatus(t, put(p.c, location, content, nil), http.StatusCreated)
		wantBlob(t, p.c, content)
	})
}

// proxy stands between a replica and its database, and can cut their connections at a chosen moment.
type proxy struct {
	listener net.Listener
	target   string
	cut      atomic.Int32
	done     sync.WaitGroup
}

const (
	cutNothing int32 = iota
	cutRequest       // close when the replica sends something, without passing it on
	cutAnswer        // pass the request on, and close when the database answers
)

// newProxy returns a proxy and the URL of the database through it.
func newProxy(tb testing.TB, source string) (p *proxy, through string) {
	tb.Helper()
	u, err := url.Parse(source)
	if err != nil {
		tb.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	p = &proxy{listener: listener, target: u.Host}
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
		if _, err := io.Writer(to).Write(buffer[:n]); err != nil {
			return
		}
	}
}

// behindProxy is an Env that has one connection to its database, through a proxy, and the same Env without.
func behindProxy(t *testing.T) (p *proxy, env, direct *ocitest.Env) {
	t.Helper()
	source := testenv.Postgres(t)
	p, through := newProxy(t, source)
	env = ocitest.Embedded(t)
	env.DB = dbtest.Open(t, withConnections(t, through, "1"))
	other := *env
	other.DB = dbtest.Open(t, source)
	return p, env, &other
}

// withConnections is the URL of a database with a bound on connections.
func withConnections(tb testing.TB, source, most string) string {
	tb.Helper()
	u, err := url.Parse(source)
	if err != nil {
		tb.Fatal(err)
	}
	query := u.Query()
	query.Set("pool_max_conns", most)
	u.RawQuery = query.Encode()
	return u.String()
}

// TestUploadUnclearCommit breaks the connection to the database in the middle of a commit: the row is read again before
// the client is told anything.
func TestUploadUnclearCommit(t *testing.T) {
	for name, cut := range map[string]int32{"answer lost": cutAnswer, "request lost": cutRequest} {
		t.Run(name, func(t *testing.T) {
			proxy, env, direct := behindProxy(t)
			clock := &testClock{}
			store, wrap := newTricky()
			r := env.Replica(t, ocitest.Options{ChunkSize: uploadChunk, Clock: clock.Now, Store: wrap})
			c, content := r.Client, noise(5*uploadChunk/2, 1)
			// A connection prepares a statement when it first meets it; that is no part of a commit.
			warm := func() {
				location := patch(c, patch(c, c.Start(uploadRepo), []byte("warm")), []byte("er"))
				wantStatus(t, put(c, location, []byte("warmer and hot"), []byte(" and hot")), http.StatusCreated)
			}
			location := patch(c, c.Start(uploadRepo), content[:10])

			// The last thing before a commit is storing the object.
			cutAt := func(n int) {
				warm()
				store.reset(func(step string, i int) error {
					if step == stepCommit && i == n {
						proxy.cut.Store(cut)
					}
					return nil
				})
			}
			again := func(status int, send func() ocitest.Answer) {
				t.Helper()
				a := send()
				if a.Status != status {
					wantUnavailable(t, a)
					if cut == cutAnswer {
						t.Error("what was committed was answered with 503")
					}
					a = send()
				}
				wantStatus(t, a, status)
				if proxy.cut.Load() != cutNothing {
					t.Error("nothing was cut")
				}
			}
			cutAt(1)
			again(http.StatusAccepted, func() ocitest.Answer {
				return c.Do(http.MethodPatch, location, content[10:100], "Content-Range", span(10, 90))
			})
			wantCommitted(t, c, location, 100)
			location = wantCommitted(t, c.At(direct.Replica(t, ocitest.Options{})), location, 100)
			cutAt(1)
			again(http.StatusCreated, func() ocitest.Answer { return put(c, location, content[:200], content[100:200]) })
			wantBlob(t, c, content[:200])
			store.reset(nil)
			wantObjects(t, direct, r, clock, 3+3+lost(cut))
		})
	}
}

// lost is how many objects only the sweep of their day can find: a commit that did not take effect is no proof that it
// never will.
func lost(cut int32) int {
	if cut == cutRequest {
		return 2
	}
	return 0
}

// TestUploadUnclearTakeBack breaks the connection to the database while a wrong body of several chunks is taken out
// again.
func TestUploadUnclearTakeBack(t *testing.T) {
	for name, cut := range map[string]int32{"answer lost": cutAnswer, "request lost": cutRequest} {
		t.Run(name, func(t *testing.T) { takeBackUnclear(t, cut) })
	}
}

func takeBackUnclear(t *testing.T, cut int32) {
	t.Helper()
	proxy, env, direct := behindProxy(t)
	c := env.Replica(t, ocitest.Options{ChunkSize: uploadChunk}).Client
	content := noise(11*uploadChunk/2, 1)
	warm := doChunked(t, c, http.MethodPatch, c.Start(uploadRepo), content, "Content-Range", span(0, hangFed))
	wantCode(t, warm, http.StatusBadRequest, "SIZE_INVALID")
	location := c.Start(uploadRepo)
	f := startFlow(t, c, http.MethodPatch, location, -1, "Content-Range", span(0, hangFed))
	f.feed(content[:hangFed])
	eventually(t, "chunks are committed", func() bool {
		return rows(t, direct, `SELECT coalesce(max(committed_offset), 0) FROM upload_sessions`) == hangKept
	})
	proxy.cut.Store(cut)
	f.feed(content[hangFed:])
	f.end()
	wantCode(t, f.answer(), http.StatusBadRequest, "SIZE_INVALID")
	if proxy.cut.Load() != cutNothing {
		t.Error("nothing was cut")
	}
	wantCommitted(t, c, location, 0)
	wantStatus(t, put(c, location, content, content), http.StatusCreated)
	wantBlob(t, c, content)
}
