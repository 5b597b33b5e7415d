package front

import (
	"bytes"
	"crypto/rand"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"
)

// recordingWriter is a net/http response that tells what its ReadFrom was given.
type recordingWriter struct {
	*httptest.ResponseRecorder
	pieces   []int64 // lengths of what came from a file, limited as sendfile knows it
	deadline bool    // a deadline reached it
}

func (w *recordingWriter) ReadFrom(src io.Reader) (int64, error) {
	limited, ok := src.(*io.LimitedReader)
	if ok {
		if _, ok = limited.R.(seekableFile); ok {
			w.pieces = append(w.pieces, limited.N)
		}
	}
	return io.Copy(w.Body, src)
}

func (w *recordingWriter) SetWriteDeadline(time.Time) error {
	w.deadline = true
	return nil
}

func randomFile(t *testing.T, size int) (file *os.File, content []byte) {
	t.Helper()
	content = make([]byte, size)
	_, _ = rand.Read(content)
	path := filepath.Join(t.TempDir(), "blob")
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = file.Close() })
	return file, content
}

func TestSendfileIsKept(t *testing.T) {
	t.Parallel()
	const size, offset = 3*maxPiece + 12_345, 1000
	file, content := randomFile(t, size)
	tests := map[string]struct {
		prepare func(*http.Request)
		write   func(http.ResponseWriter) (int64, error)
		want    []byte
		kernel  bool
	}{
		"file": {nil, func(w http.ResponseWriter) (int64, error) { return io.Copy(w, file) }, content, true},
		"range of a file": {nil, func(w http.ResponseWriter) (int64, error) {
			return io.Copy(w, &io.LimitedReader{R: file, N: 2*maxPiece + 1})
		}, content[:2*maxPiece+1], true},
		"serve content": {nil, func(w http.ResponseWriter) (int64, error) {
			http.ServeContent(w, httptest.NewRequest(http.MethodGet, "/", nil), "blob", time.Time{}, file)
			return size, nil
		}, content, true},
		"after a first byte": {nil, func(w http.ResponseWriter) (int64, error) {
			_, _ = w.Write([]byte("x"))
			return io.Copy(w, file)
		}, append([]byte("x"), content...), true},
		"no file": {nil, func(w http.ResponseWriter) (int64, error) {
			return io.Copy(w, struct{ io.Reader }{bytes.NewReader(content)})
		}, content, false},
		"HTTP/2": {func(r *http.Request) { r.ProtoMajor = 2 }, func(w http.ResponseWriter) (int64, error) { return io.Copy(w, file) }, content, false},
	}
	for name, tt := range tests {
		if _, err := file.Seek(0, io.SeekStart); err != nil {
			t.Fatal(err)
		}
		server, lines := newFront(t, nil, routes{"/v2/*path": func(w http.ResponseWriter, _ *http.Request) {
			if _, err := tt.write(w); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}})
		server.edge.copies = nil // no piece may be copied
		r := httptest.NewRequest(http.MethodGet, "/v2/blob", nil)
		if tt.prepare != nil {
			tt.prepare(r)
		}
		w := &recordingWriter{ResponseRecorder: httptest.NewRecorder()}
		server.ServeHTTP(w, r)
		if !bytes.Equal(w.Body.Bytes(), tt.want) {
			t.Errorf("%s: %d bytes, want %d", name, w.Body.Len(), len(tt.want))
		}
		if (len(w.pieces) > 0) != tt.kernel {
			t.Errorf("%s: sent by the kernel: %v", name, w.pieces)
		}
		for _, n := range w.pieces {
			if n > maxPiece {
				t.Errorf("%s: a piece of %d bytes", name, n)
			}
		}
		if n := lines.with(t, "request")[0]["bytes_out"]; n != float64(len(tt.want)) {
			t.Errorf("%s: logged %v bytes, want %d", name, n, len(tt.want))
		}
	}
}

func TestOneReaderIsCopiedMoreAreSent(t *testing.T) {
	t.Parallel()
	const size = 2*maxPiece + 12_345
	for name, tt := range map[string]struct {
		others int // readers whose piece is being copied
		want   []int64
	}{
		"alone":      {0, []int64{12_345}}, // what is smaller than the buffer is not worth a copy
		"among many": {1, []int64{maxPiece, maxPiece, 12_345}},
	} {
		file, content := randomFile(t, size)
		original := &recordingWriter{ResponseRecorder: httptest.NewRecorder()}
		slots := make(copySlots, 1)
		for range tt.others {
			slots <- struct{}{}
		}
		w := newResponse(original, httptest.NewRequest(http.MethodGet, "/", nil), time.Minute, slots)
		n, err := w.ReadFrom(&io.LimitedReader{R: file, N: size})
		if n != size || err != nil || w.sent != size || !bytes.Equal(original.Body.Bytes(), content) {
			t.Errorf("%s: %d bytes, %v, %d counted", name, n, err, w.sent)
		}
		if !slices.Equal(original.pieces, tt.want) {
			t.Errorf("%s: by the kernel %v, want %v", name, original.pieces, tt.want)
		}
		if len(slots) != tt.others {
			t.Errorf("%s: %d slots are taken afterwards", name, len(slots))
		}
	}
}

func TestALimitedReaderIsLeftAsIfRead(t *testing.T) {
	t.Parallel()
	file, _ := randomFile(t, 100)
	w := newResponse(&recordingWriter{ResponseRecorder: httptest.NewRecorder()}, httptest.NewRequest(http.MethodGet, "/", nil), time.Minute, nil)
	limited := &io.LimitedReader{R: file, N: 150}
	n, err := w.ReadFrom(limited)
	if n != 100 || err != nil || limited.N != 50 || w.sent != 100 {
		t.Errorf("%d, %v; %d left, %d sent", n, err, limited.N, w.sent)
	}
}

func TestResponseControllerReachesNetHTTP(t *testing.T) {
	t.Parallel()
	server, _ := newFront(t, nil, routes{"/x": func(w http.ResponseWriter, _ *http.Request) {
		if err := http.NewResponseController(w).SetWriteDeadline(time.Now()); err != nil {
			t.Error(err)
		}
		if err := http.NewResponseController(w).Flush(); err != nil {
			t.Error(err)
		}
	}})
	w := &recordingWriter{ResponseRecorder: httptest.NewRecorder()}
	server.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/x", nil))
	if !w.deadline || !w.Flushed {
		t.Errorf("deadline %t, flushed %t", w.deadline, w.Flushed)
	}
}

func TestPiecesFollowTheClient(t *testing.T) {
	t.Parallel()
	w := &response{idle: time.Minute, piece: maxPiece}
	for range 10 {
		w.adapt(10 * time.Second)
	}
	if w.piece != minPiece {
		t.Errorf("a slow client gets pieces of %d", w.piece)
	}
	w.adapt(4 * time.Second)
	if w.piece != minPiece {
		t.Errorf("a client of middling speed gets pieces of %d", w.piece)
	}
	for range 10 {
		w.adapt(time.Millisecond)
	}
	if w.piece != maxPiece {
		t.Errorf("a fast client gets pieces of %d", w.piece)
	}
}

func TestFilesArriveWholeOverEveryProtocol(t *testing.T) {
	t.Parallel()
	file, content := randomFile(t, 9<<20+7)
	cert := newCertificate(t, t.TempDir())
	cert.write(t, "localhost")
	blob := routes{"/v2/*path": func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", strconv.Itoa(len(content)))
		if n, err := io.Copy(w, io.NewSectionReader(file, 0, 0)); n != 0 || err != nil {
			t.Error(n, err)
		}
		own, err := os.Open(file.Name())
		if err != nil {
			t.Error(err)
			return
		}
		defer func() { _ = own.Close() }()
		if n, err := io.Copy(w, &io.LimitedReader{R: own, N: 1 << 40}); n != int64(len(content)) || err != nil {
			t.Error(n, err)
		}
	}}
	plain, _ := newFront(t, nil, blob)
	encrypted, _ := newFront(t, func(c *Config) { c.TLS.Cert, c.TLS.Key = cert.certFile, cert.keyFile }, blob)
	plainAddr, encryptedAddr := serve(t, plain, listen(t)).addr, serve(t, encrypted, listen(t)).addr
	for name, tt := range map[string]struct {
		url   string
		major int
		setup func(*http.Protocols)
	}{
		"HTTP/1":          {"http://" + plainAddr, 1, func(p *http.Protocols) { p.SetHTTP1(true) }},
		"HTTP/2":          {"http://" + plainAddr, 2, func(p *http.Protocols) { p.SetUnencryptedHTTP2(true) }},
		"HTTP/1 with TLS": {"https://" + encryptedAddr, 1, func(p *http.Protocols) { p.SetHTTP1(true) }},
		"HTTP/2 with TLS": {"https://" + encryptedAddr, 2, func(p *http.Protocols) { p.SetHTTP2(true) }},
	} {
		transport := &http.Transport{Protocols: new(http.Protocols), TLSClientConfig: cert.client("localhost")}
		tt.setup(transport.Protocols)
		for range 2 {
			got := get(t, &http.Client{Transport: transport}, tt.url+"/v2/blob")
			if got.major != tt.major || got.status != http.StatusOK || got.body != string(content) {
				t.Errorf("%s: HTTP/%d, %d, %d bytes", name, got.major, got.status, len(got.body))
			}
		}
		transport.CloseIdleConnections()
	}
}
