package s3_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/berthregistry/berth/internal/storage"
	"github.com/berthregistry/berth/internal/storage/s3"
	"github.com/berthregistry/berth/internal/testenv"
)

// front stands before a real server and may answer in its place.
type front struct {
	*s3.Store
	direct *s3.Store // the same bucket, not through the front
	proxy  *httputil.ReverseProxy
	// answer says whether it answered a request. It is set before the first request.
	answer func(f *front, w http.ResponseWriter, r *http.Request) bool
}

func newFront(t *testing.T, options s3.Options, answer func(*front, http.ResponseWriter, *http.Request) bool) *front {
	t.Helper()
	loc, err := s3.ParseLocation(testenv.S3(t))
	if err != nil {
		t.Fatal(err)
	}
	target, err := url.Parse(loc.Endpoint)
	if err != nil {
		t.Fatal(err)
	}
	running := goleak.IgnoreCurrent()
	f := &front{answer: answer, direct: newStore(t, loc, s3.Options{})}
	backend := &http.Transport{}
	f.proxy = &httputil.ReverseProxy{Transport: backend, Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(target)
		r.Out.Host = r.In.Host // it is signed
	}}
	server := httptest.NewServer(f)
	loc.Endpoint = server.URL
	options.SpoolDir, options.MaxBackoff = t.TempDir(), time.Millisecond
	f.Store = newStore(t, loc, options)
	t.Cleanup(func() {
		_ = f.Close()
		_ = f.direct.Close()
		server.Close()
		backend.CloseIdleConnections()
		expectIdle(t, f.Store)
		expectEmptyFolder(t, options.SpoolDir)
		if err := goleak.Find(running); err != nil {
			t.Errorf("goroutines left over: %v", err)
		}
	})
	return f
}

// ServeHTTP implements http.Handler.
func (f *front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if f.answer == nil || !f.answer(f, w, r) {
		f.proxy.ServeHTTP(w, r)
	}
}

// refuse answers like S3 when it fails.
func refuse(w http.ResponseWriter, status int, code string) bool {
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(status)
	_, _ = fmt.Fprintf(w, "<Error><Code>%s</Code><Message>on purpose</Message></Error>", code)
	return true
}

// hangUp closes the connection without an answer.
func hangUp() bool { panic(http.ErrAbortHandler) }

// hang answers nothing until the client has gone.
func hang(r *http.Request) bool {
	_, _ = io.Copy(io.Discard, r.Body)
	<-r.Context().Done()
	return true
}

// loseAnswer has the server do what is asked, once, and loses its answer.
func loseAnswer(f *front, r *http.Request, lost *atomic.Bool) bool {
	if !lost.CompareAndSwap(false, true) {
		return false
	}
	f.proxy.ServeHTTP(httptest.NewRecorder(), r)
	return hangUp()
}

func put(t *testing.T, store storage.Store, key string, data []byte) error {
	t.Helper()
	w, err := store.Create(t.Context(), key, -1)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	err = w.Commit(t.Context())
	if abortErr := w.Abort(); abortErr != nil {
		t.Errorf("Abort: %v", abortErr)
	}
	return err
}

func get(t *testing.T, store storage.Store, key string) ([]byte, error) {
	t.Helper()
	r, err := store.Open(t.Context(), key, 0, -1)
	if err != nil {
		return nil, err
	}
	defer func() { _ = r.Close() }()
	return io.ReadAll(r)
}
