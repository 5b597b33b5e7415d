package e2e

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
)

// gate stands before the replicas of a registry and holds the body of one request until it is opened: the registry is in the
// middle of it for as long as the test wants.
type gate struct {
	server  *httptest.Server
	method  string
	after   int64 // so many bytes of the body pass at once
	next    atomic.Uint64
	held    sync.Once
	reached chan struct{} // closed when the body is held
	open    chan struct{} // close it to let the rest pass
}

// newGate holds the first request of a method with a body of more than so many bytes, or of unknown length.
func newGate(t *testing.T, method string, after int) *gate {
	t.Helper()
	g := &gate{method: method, after: int64(after), reached: make(chan struct{}), open: make(chan struct{})}
	g.server = httptest.NewUnstartedServer(nil)
	t.Cleanup(g.server.Close)
	return g
}

func (g *gate) url() string { return "http://" + g.server.Listener.Addr().String() }

// serve begins to give each request to the next of the replicas.
func (g *gate) serve(t *testing.T, replicas []string) {
	t.Helper()
	targets := make([]*url.URL, len(replicas))
	for i, replica := range replicas {
		var err error
		targets[i], err = url.Parse(replica)
		must(t, err)
	}
	transport := &http.Transport{DisableCompression: true}
	t.Cleanup(transport.CloseIdleConnections)
	g.server.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == g.method && (r.ContentLength < 0 || r.ContentLength > g.after) {
			r.Body = io.NopCloser(io.MultiReader(io.LimitReader(r.Body, g.after), g, r.Body))
		}
		pass := &httputil.ReverseProxy{
			Transport: transport, FlushInterval: -1,
			Rewrite: func(pr *httputil.ProxyRequest) {
				pr.SetURL(targets[int(g.next.Add(1))%len(targets)])
				pr.Out.Host = pr.In.Host
			},
			ErrorHandler: func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) }, // as if it were not there
		}
		pass.ServeHTTP(w, r)
	})
	g.server.Start()
}

// Read is where the body is held. Only the first one is.
func (g *gate) Read([]byte) (int, error) {
	g.held.Do(func() {
		close(g.reached)
		<-g.open
	})
	return 0, io.EOF
}
