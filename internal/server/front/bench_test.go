package front

import (
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/berthregistry/berth/internal/config"
)

// nowhere is a response that costs nothing.
type nowhere struct{ header http.Header }

func (w *nowhere) Header() http.Header         { return w.header }
func (w *nowhere) Write(p []byte) (int, error) { return len(p), nil }
func (w *nowhere) WriteHeader(int)             {}

// BenchmarkRequest is what the front adds to a request without a body.
func BenchmarkRequest(b *testing.B) {
	server := benchFront(b, routes{"/v2/*path": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) }})
	r, err := http.NewRequestWithContext(b.Context(), http.MethodGet, "/v2/demo/app/manifests/latest", nil)
	if err != nil {
		b.Fatal(err)
	}
	r.RemoteAddr = "192.0.2.1:1"
	b.ReportAllocs()
	for b.Loop() {
		server.ServeHTTP(&nowhere{header: http.Header{}}, r)
	}
}

// BenchmarkDownload sends a file over a connection of its own.
func BenchmarkDownload(b *testing.B) {
	const size = 64 << 20
	path := filepath.Join(b.TempDir(), "blob")
	if err := os.WriteFile(path, make([]byte, size), 0o600); err != nil {
		b.Fatal(err)
	}
	server := benchFront(b, routes{"/v2/*path": func(w http.ResponseWriter, _ *http.Request) {
		file, err := os.Open(path)
		if err != nil {
			b.Error(err)
			return
		}
		defer func() { _ = file.Close() }()
		w.Header().Set("Content-Length", strconv.Itoa(size))
		if _, err := io.Copy(w, file); err != nil {
			b.Error(err)
		}
	}})
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	web := &http.Server{Handler: server}
	go func() { _ = web.Serve(listener) }()
	defer func() { _ = web.Close() }()
	client := &http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	b.SetBytes(size)
	for b.Loop() {
		response, err := client.Get("http://" + listener.Addr().String() + "/v2/blob")
		if err != nil {
			b.Fatal(err)
		}
		if n, err := io.Copy(io.Discard, response.Body); n != size || err != nil {
			b.Fatal(n, err)
		}
		_ = response.Body.Close()
	}
}

func benchFront(b *testing.B, planes ...Plane) *Server {
	b.Helper()
	server, err := New(Config{HTTP: config.Default().HTTP, Logger: slog.New(slog.DiscardHandler), Planes: planes})
	if err != nil {
		b.Fatal(err)
	}
	return server
}
