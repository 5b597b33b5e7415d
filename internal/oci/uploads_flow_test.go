package oci_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"sync"
	"testing"
	"time"

	"github.com/berthregistry/berth/internal/oci/ocitest"
	"github.com/berthregistry/berth/internal/storage"
)

// flow is a request whose body the test feeds.
type flow struct {
	t      *testing.T
	body   *io.PipeWriter
	cancel context.CancelFunc
	result chan flowResult
}

type flowResult struct {
	answer ocitest.Answer
	err    error
}

// startFlow sends the head of a request. A length below zero sends the body in pieces of unknown total, and 0 none.
func startFlow(t *testing.T, c *ocitest.Client, method, path string, length int, headers ...string) *flow {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	reader, writer := io.Pipe()
	req := c.Request(ctx, method, path, reader, headers...)
	req.ContentLength = int64(length)
	if length == 0 {
		req.Body = http.NoBody
	}
	f := &flow{t: t, body: writer, cancel: cancel, result: make(chan flowResult, 1)}
	t.Cleanup(f.stop)
	go func() {
		a, err := c.Send(req)
		f.result <- flowResult{a, err}
	}()
	return f
}

// feed sends bytes, and gives up where nobody reads them any more.
func (f *flow) feed(p []byte) {
	f.t.Helper()
	if _, err := f.body.Write(p); err != nil && !errors.Is(err, io.ErrClosedPipe) {
		f.t.Fatal(err)
	}
}

// end says that the body is complete.
func (f *flow) end() { _ = f.body.Close() }

// stop lets go of a request that was answered before its end.
func (f *flow) stop() {
	f.cancel()
	_ = f.body.CloseWithError(context.Canceled)
}

// answer waits for the answer.
func (f *flow) answer() ocitest.Answer {
	f.t.Helper()
	select {
	case r := <-f.result:
		if r.err != nil {
			f.t.Fatal(r.err)
		}
		return r.answer
	case <-time.After(patience):
		f.t.Fatal("no answer")
		return ocitest.Answer{}
	}
}

// waiting tells whether there is no answer yet.
func (f *flow) waiting() bool { return len(f.result) == 0 }

// send sends a request from any goroutine. The status is 0 where the connection broke.
func send(c *ocitest.Client, method, path string, body []byte, headers ...string) ocitest.Answer {
	a, err := c.Send(c.Request(context.Background(), method, path, bytes.NewReader(body), headers...))
	if err != nil {
		return ocitest.Answer{Body: []byte(err.Error())}
	}
	return a
}

// doChunked sends a body without saying how long it is.
func doChunked(t *testing.T, c *ocitest.Client, method, path string, body []byte, headers ...string) ocitest.Answer {
	t.Helper()
	a, err := c.Send(c.Request(t.Context(), method, path, struct{ io.Reader }{bytes.NewReader(body)}, headers...))
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// failer is a *testing.T or a *rapid.T.
type failer interface {
	Helper()
	Fatal(args ...any)
	Fatalf(format string, args ...any)
}

// sendPart sends a request whose body ends after k bytes of those that it announces, and waits until the server is done
// with it.
func sendPart(t failer, c *ocitest.Client, method, path string, body []byte, k int, headers ...string) {
	t.Helper()
	conn := sendHead(t, c, method, path, body, k, headers...)
	defer func() { _ = conn.Close() }()
	if err := conn.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusBadRequest {
		t.Fatalf("a body that was cut after %d of %d bytes: status %d", k, len(body), resp.StatusCode)
	}
}

// sendHead sends a request and the first k bytes of its body.
func sendHead(
	t failer, c *ocitest.Client, method, path string, body []byte, k int, headers ...string,
) *net.TCPConn {
	t.Helper()
	req := c.Request(context.Background(), method, path, bytes.NewReader(body), headers...)
	head, err := httputil.DumpRequestOut(req, false)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("tcp", req.URL.Host)
	if err != nil {
		t.Fatal(err)
	}
	tcp, ok := conn.(*net.TCPConn)
	if !ok {
		t.Fatalf("the connection is a %T", conn)
	}
	if _, err := tcp.Write(append(head, body[:k]...)); err != nil {
		t.Fatal(err)
	}
	return tcp
}

// Steps of a trickyStore.
const (
	stepCreate = "Create"
	stepWrite  = "Write"
	stepCommit = "Commit"
	stepOpen   = "Open"
)

// trickyStore counts what reaches a store, and lets the test fail or delay it.
type trickyStore struct {
	storage.Store
	mu      sync.Mutex
	counts  map[string]int
	written int
	hook    func(step string, n int) error // n counts from 1 on
}

// newTricky returns a store and the option that puts it in place.
func newTricky() (*trickyStore, func(storage.Store) storage.Store) {
	s := &trickyStore{}
	s.reset(nil)
	return s, func(inner storage.Store) storage.Store {
		s.Store = inner
		return s
	}
}

// reset counts from zero and sets another hook.
func (s *trickyStore) reset(hook func(step string, n int) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.counts, s.written, s.hook = make(map[string]int), 0, hook
}

func (s *trickyStore) count(step string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.counts[step]
}

// bytesWritten is how many bytes all writers took.
func (s *trickyStore) bytesWritten() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.written
}

// step counts a step and asks the hook. The hook hears of a Commit by the number of its Create: several are under way at
// once.
func (s *trickyStore) step(step string, n int) (int, error) {
	s.mu.Lock()
	s.counts[step]++
	if n == 0 {
		n = s.counts[step]
	}
	hook := s.hook
	s.mu.Unlock()
	if hook == nil {
		return n, nil
	}
	return n, hook(step, n)
}

// failOnce is a hook that fails one step, once.
func failOnce(step string, at int) func(string, int) error {
	return func(s string, n int) error {
		if s == step && n == at {
			return storage.ErrUnavailable
		}
		return nil
	}
}

func (s *trickyStore) Create(ctx context.Context, key string, size int64) (storage.Writer, error) {
	n, err := s.step(stepCreate, 0)
	if err != nil {
		return nil, err
	}
	w, err := s.Store.Create(ctx, key, size)
	if err != nil {
		return nil, err
	}
	return &trickyWriter{Writer: w, store: s, n: n}, nil
}

func (s *trickyStore) Open(ctx context.Context, key string, offset, length int64) (io.ReadCloser, error) {
	if _, err := s.step(stepOpen, 0); err != nil {
		return nil, err
	}
	return s.Store.Open(ctx, key, offset, length)
}

type trickyWriter struct {
	storage.Writer
	store *trickyStore
	n     int // of its Create
}

func (w *trickyWriter) Write(p []byte) (int, error) {
	if _, err := w.store.step(stepWrite, 0); err != nil {
		return 0, err
	}
	n, err := w.Writer.Write(p)
	w.store.mu.Lock()
	w.store.written += n
	w.store.mu.Unlock()
	return n, err
}

func (w *trickyWriter) Commit(ctx context.Context) error {
	if _, err := w.store.step(stepCommit, w.n); err != nil {
		return err
	}
	return w.Writer.Commit(ctx)
}
