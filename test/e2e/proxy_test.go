package e2e

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// proxy stands before the replicas of a registry. It gives each request to the next one, and can make requests fail.
type proxy struct {
	server *httptest.Server
	next   atomic.Uint64
	mu     sync.Mutex
	faults []fault
}

// fault is how a request fails whose method is given: after some bytes of its body have reached the registry.
type fault struct {
	method string
	skip   int // so many requests pass first
	after  int64
	status int // the answer; 0 cuts the connection
}

// errFault ends a body in the middle.
var errFault = errors.New("a fault that the test asked for")

func newProxy(t *testing.T) *proxy {
	t.Helper()
	p := &proxy{server: httptest.NewUnstartedServer(nil)}
	t.Cleanup(p.server.Close)
	return p
}

func (p *proxy) url() string { return "http://" + p.server.Listener.Addr().String() }

// fail makes the next requests of the faults' methods fail, each fault once and in their order.
func (p *proxy) fail(faults ...fault) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.faults = append(p.faults, faults...)
}

// left is how many faults no request has met yet.
func (p *proxy) left() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.faults)
}

// take gives the fault of a request.
func (p *proxy) take(r *http.Request) (fault, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.faults) == 0 || p.faults[0].method != r.Method || (r.ContentLength >= 0 && r.ContentLength <= p.faults[0].after) {
		return fault{}, false
	}
	if p.faults[0].skip > 0 {
		p.faults[0].skip--
		return fault{}, false
	}
	f := p.faults[0]
	p.faults = p.faults[1:]
	return f, true
}

// serve begins to pass requests on.
func (p *proxy) serve(t *testing.T, targets []string) {
	t.Helper()
	urls := make([]*url.URL, len(targets))
	for i, target := range targets {
		u, err := url.Parse(target)
		if err != nil {
			t.Fatal(err)
		}
		urls[i] = u
	}
	transport, cut := &http.Transport{DisableCompression: true}, newPatientTransport()
	t.Cleanup(transport.CloseIdleConnections)
	p.server.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f, faulty := p.take(r)
		through := transport
		if faulty {
			through = cut
			r.Body = io.NopCloser(io.MultiReader(io.LimitReader(r.Body, f.after), failing{}))
		}
		pass := &httputil.ReverseProxy{
			Transport: through, FlushInterval: -1,
			Rewrite: func(pr *httputil.ProxyRequest) {
				pr.SetURL(urls[int(p.next.Add(1))%len(urls)])
				pr.Out.Host = pr.In.Host
			},
			ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) {
				if f.status == 0 {
					panic(http.ErrAbortHandler)
				}
				w.Header().Set("Retry-After", "1")
				w.WriteHeader(f.status)
			},
			ModifyResponse: func(*http.Response) error {
				if faulty {
					return errFault // the registry answered before it saw the end of the body
				}
				return nil
			},
		}
		pass.ServeHTTP(w, r)
	})
	p.server.Start()
}

// patient is a connection whose end the client of the proxy hears of when the registry has dealt with it.
type patient struct{ *net.TCPConn }

func newPatientTransport() *http.Transport {
	return &http.Transport{DialContext: dialPatient, DisableCompression: true, DisableKeepAlives: true}
}

func dialPatient(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := new(net.Dialer).DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	tcp, ok := conn.(*net.TCPConn)
	if !ok {
		return nil, errFault
	}
	return patient{tcp}, nil
}

// Close implements net.Conn.
func (p patient) Close() error {
	_ = p.CloseWrite() // the registry sees the end of the body
	_ = p.SetReadDeadline(time.Now().Add(patience))
	_, _ = io.Copy(io.Discard, p.TCPConn)
	return p.TCPConn.Close()
}

// failing is a body that breaks off.
type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, errFault }
