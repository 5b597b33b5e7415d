package front

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"testing"

	"github.com/gin-gonic/gin"
	"go.uber.org/goleak"

	"github.com/berthregistry/berth/internal/config"
	"github.com/berthregistry/berth/internal/telemetry/reqlog"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// routes is a plane of test handlers, by pattern.
type routes map[string]http.HandlerFunc

func (p routes) Mount(r gin.IRouter) {
	for pattern, handler := range p {
		r.Any(pattern, func(c *gin.Context) { handler(c.Writer, c.Request) })
	}
}

// logLines gathers what is logged, as JSON.
type logLines struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logLines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logLines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// with returns the lines with a message.
func (l *logLines) with(t *testing.T, message string) []map[string]any {
	t.Helper()
	var found []map[string]any
	for line := range bytes.Lines([]byte(l.String())) {
		var record map[string]any
		if err := json.Unmarshal(line, &record); err != nil {
			t.Fatalf("log line %q: %v", line, err)
		}
		if record["msg"] == message {
			found = append(found, record)
		}
	}
	return found
}

func (l *logLines) logger() *slog.Logger {
	return slog.New(reqlog.Handler(slog.NewJSONHandler(l, &slog.HandlerOptions{Level: slog.LevelDebug})))
}

// newFront builds a server with the default settings, changed by adjust.
func newFront(t *testing.T, adjust func(*Config), planes ...Plane) (*Server, *logLines) {
	t.Helper()
	lines := &logLines{}
	cfg := Config{HTTP: config.Default().HTTP, Logger: lines.logger(), Planes: planes}
	if adjust != nil {
		adjust(&cfg)
	}
	server, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return server, lines
}

// running is a server that serves.
type running struct {
	addr   string
	stop   context.CancelFunc
	ended  chan error    // what Serve returned
	closed chan struct{} // closed with the listener
}

type noticedListener struct {
	net.Listener
	once   sync.Once
	closed chan struct{}
}

func (l *noticedListener) Close() error {
	err := l.Listener.Close()
	l.once.Do(func() { close(l.closed) })
	return err
}

// serve runs a server on a listener until the test ends.
func serve(t *testing.T, server *Server, listener net.Listener) *running {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	noticed := &noticedListener{Listener: listener, closed: make(chan struct{})}
	r := &running{addr: listener.Addr().String(), stop: cancel, ended: make(chan error, 1), closed: noticed.closed}
	started := make(chan struct{})
	go func() { r.ended <- server.Serve(ctx, noticed, func() { close(started) }) }()
	<-started
	t.Cleanup(func() {
		cancel()
		if err := <-r.ended; err != nil {
			t.Errorf("Serve: %v", err)
		}
		r.ended <- nil
	})
	return r
}

// listen opens a port on the loopback interface.
func listen(t *testing.T) net.Listener {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return listener
}

// pipes is a listener in memory, for tests with a fake clock.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newPipes() *pipes { return &pipes{conns: make(chan net.Conn), closed: make(chan struct{})} }

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case conn := <-p.conns:
		return conn, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	p.once.Do(func() { close(p.closed) })
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1} }

func (p *pipes) dial(context.Context, string, string) (net.Conn, error) {
	client, server := net.Pipe()
	select {
	case p.conns <- server:
		return client, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

// client makes an HTTP client for a listener in memory.
func (p *pipes) client(t *testing.T, http2 bool) *http.Client {
	t.Helper()
	transport := &http.Transport{DialContext: p.dial, Protocols: new(http.Protocols)}
	transport.Protocols.SetHTTP1(!http2)
	transport.Protocols.SetUnencryptedHTTP2(http2)
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// raw is a connection on which a test speaks HTTP/1 by itself.
type raw struct {
	net.Conn
	t      *testing.T
	reader *bufio.Reader
}

func newRaw(t *testing.T, conn net.Conn, err error) *raw {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return &raw{Conn: conn, t: t, reader: bufio.NewReader(conn)}
}

func (c *raw) send(text string) {
	c.t.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		c.t.Fatal(err)
	}
}

// receive reads one response with its body and returns the status.
func (c *raw) receive() int {
	c.t.Helper()
	response, err := http.ReadResponse(c.reader, nil)
	if err != nil {
		c.t.Fatalf("no response: %v", err)
	}
	defer func() { _ = response.Body.Close() }()
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		c.t.Fatalf("broken response: %v", err)
	}
	return response.StatusCode
}

// awaitClose waits until the server closes the connection.
func (c *raw) awaitClose() {
	c.t.Helper()
	if _, err := io.Copy(io.Discard, c.reader); err != nil {
		c.t.Logf("connection ended with %v", err)
	}
}

// answer is a response that was read and closed.
type answer struct {
	status, major int // major is HTTP's version
	body          string
}

func get(t *testing.T, client *http.Client, url string) answer {
	t.Helper()
	response, err := client.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{response.StatusCode, response.ProtoMajor, string(body)}
}

func dialTCP(addr string) (net.Conn, error) { return net.Dial("tcp", addr) }
