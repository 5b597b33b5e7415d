package oci

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/berthregistry/berth/internal/oci/content"
	"github.com/berthregistry/berth/internal/oci/ocipath"
	"github.com/berthregistry/berth/internal/storage"
	"github.com/berthregistry/berth/internal/storage/fs"
	"github.com/berthregistry/berth/internal/telemetry/reqlog"
)

// memory is a store of which only Open is called.
type memory struct {
	storage.Store
	open func(ctx context.Context, key string, offset, length int64) (io.ReadCloser, error)
	n    atomic.Int64 // calls
}

func (m *memory) Open(ctx context.Context, key string, offset, length int64) (io.ReadCloser, error) {
	m.n.Add(1)
	return m.open(ctx, key, offset, length)
}

const chunkSize = 1000

// chunked is a blob of whole chunks; the key of each is its number.
func chunked(chunks int) (content.Blob, []byte) {
	body := make([]byte, chunks*chunkSize)
	for i := range body {
		body[i] = byte(i % 251)
	}
	blob := content.Blob{Digest: digest.FromBytes(body), Size: int64(len(body))}
	for i := range chunks {
		blob.Chunks = append(blob.Chunks, content.Chunk{Key: fmt.Sprint(i), Start: int64(i) * chunkSize, Size: chunkSize})
	}
	return blob, body
}

// part is what Open gives for one of the chunks of body.
func part(body []byte, key string, offset, length int64) []byte {
	var n int64
	_, _ = fmt.Sscan(key, &n)
	start := n*chunkSize + offset
	return body[start : start+length]
}

// serve answers a GET, and tells what was noted for the log and whether the answer was aborted.
func serve(t *testing.T, store storage.Store, blob content.Blob, w http.ResponseWriter, header http.Header) (aborted bool, logged error) {
	t.Helper()
	return serveAgain(t, store, blob, w, header, func(context.Context) (content.Blob, error) { return blob, nil })
}

// serveAgain is serve with what is found when the blob is looked up once more.
func serveAgain(
	t *testing.T, store storage.Store, blob content.Blob, w http.ResponseWriter, header http.Header, again func(context.Context) (content.Blob, error),
) (aborted bool, logged error) {
	t.Helper()
	ctx, record := reqlog.New(t.Context(), "test")
	r := httptest.NewRequestWithContext(ctx, http.MethodGet, "/", http.NoBody)
	r.Header = header
	h := New(Config{Store: store})
	c := &call{w: w, r: r, req: ocipath.Request{Digest: blob.Digest}}
	defer func() {
		logged = record.Err()
		if cause := recover(); cause != nil {
			err, _ := cause.(error)
			if aborted = errors.Is(err, http.ErrAbortHandler); !aborted {
				panic(cause)
			}
		}
	}()
	h.blobHeaders(c)
	if err := h.serveBlob(c, blob, again); err != nil {
		h.fail(c, err)
	}
	return false, nil
}

// kernel is net/http's writer as the store sees it: it notes what it is to send by itself.
type kernel struct {
	*httptest.ResponseRecorder
	files []int64 // how many bytes of each file
}

func (k *kernel) ReadFrom(src io.Reader) (int64, error) {
	limited, ok := src.(*io.LimitedReader)
	if ok {
		if _, ok = limited.R.(*os.File); ok {
			k.files = append(k.files, limited.N)
		}
	}
	return io.Copy(k.ResponseRecorder, src)
}

func (k *kernel) Write([]byte) (int, error) {
	return 0, errors.New("the bytes went through the process")
}

// TestFilesGoByTheKernel: on a folder, each chunk is handed to the writer as a file, which it can send by sendfile.
func TestFilesGoByTheKernel(t *testing.T) {
	t.Parallel()
	store, err := fs.New(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	blob, body := chunked(3)
	for i := range blob.Chunks {
		key := fmt.Sprintf("2026-01-02/session/chunk%d", i)
		w, err := store.Create(t.Context(), key, chunkSize)
		if err == nil {
			_, err = w.Write(part(body, blob.Chunks[i].Key, 0, chunkSize))
		}
		if err == nil {
			err = w.Commit(t.Context())
		}
		if err != nil {
			t.Fatal(err)
		}
		blob.Chunks[i].Key = key
	}
	for asked, want := range map[string]struct {
		body  []byte
		files string
	}{
		"":                {body, "[1000 1000 1000]"},
		"bytes=10-19":     {body[10:20], "[10]"},
		"bytes=999-2000":  {body[999:2001], "[1 1000 1]"},
		"bytes=-1000":     {body[2000:], "[1000]"},
		"bytes=1000-1999": {body[1000:2000], "[1000]"},
	} {
		w := &kernel{ResponseRecorder: httptest.NewRecorder()}
		aborted, logged := serve(t, store, blob, w, http.Header{"Range": {asked}})
		if got := w.Body.Bytes(); !bytes.Equal(got, want.body) || logged != nil || aborted {
			t.Errorf("%q: %d bytes, %v", asked, len(got), logged)
		}
		if files := fmt.Sprint(w.files); files != want.files {
			t.Errorf("%q: sent %s, want %s", asked, files, want.files)
		}
	}
}

// TestOnlyWhatIsAskedIsOpened: a range does not fetch what lies beyond it, and many ranges do not become many reads.
func TestOnlyWhatIsAskedIsOpened(t *testing.T) {
	t.Parallel()
	blob, body := chunked(4)
	for asked, want := range map[string]string{
		"bytes=10-19":                            "0:10+10",
		"bytes=1990-2009":                        "1:990+10 2:0+10",
		"bytes=3000-":                            "3:0+1000",
		"bytes=0-0" + strings.Repeat(",5-5", 99): "0:0+1000 1:0+1000 2:0+1000 3:0+1000",
	} {
		opened := []string{}
		store := &memory{open: func(_ context.Context, key string, offset, length int64) (io.ReadCloser, error) {
			opened = append(opened, fmt.Sprintf("%s:%d+%d", key, offset, length))
			return io.NopCloser(bytes.NewReader(part(body, key, offset, length))), nil
		}}
		aborted, logged := serve(t, store, blob, httptest.NewRecorder(), http.Header{"Range": {asked}})
		if got := strings.Join(opened, " "); got != want || aborted || logged != nil {
			t.Errorf("%.40q: opened %s, want %s; logged %v", asked, got, want, logged)
		}
	}
}

// TestReadsThatFail: before the first byte there is an answer; after it the body breaks off, and the log says why.
func TestReadsThatFail(t *testing.T) {
	t.Parallel()
	blob, body := chunked(3)
	damaged := fmt.Errorf("read: %w", storage.ErrUnavailable)
	short := io.NopCloser
	tests := map[string]struct {
		fails  string // the chunk
		with   func(part []byte) (io.ReadCloser, error)
		status int // 0: aborted
		cause  error
	}{
		"unavailable at the start":  {"0", func([]byte) (io.ReadCloser, error) { return nil, damaged }, 503, storage.ErrUnavailable},
		"no object at the start":    {"0", func([]byte) (io.ReadCloser, error) { return nil, storage.ErrNotFound }, 500, storage.ErrNotFound},
		"unavailable in the middle": {"1", func([]byte) (io.ReadCloser, error) { return nil, damaged }, 0, storage.ErrUnavailable},
		"no object in the middle":   {"2", func([]byte) (io.ReadCloser, error) { return nil, storage.ErrNotFound }, 0, storage.ErrNotFound},
		"a read that fails": {"1", func(p []byte) (io.ReadCloser, error) {
			return short(io.MultiReader(bytes.NewReader(p[:max(0, len(p)-490)]), failing{damaged})), nil
		}, 0, storage.ErrUnavailable},
		"the first read fails": {"0", func([]byte) (io.ReadCloser, error) { return short(failing{damaged}), nil }, 0, storage.ErrUnavailable},
		"a short object":       {"1", func(p []byte) (io.ReadCloser, error) { return short(bytes.NewReader(p[:10])), nil }, 0, io.ErrUnexpectedEOF},
		"a short one, plain": {"2", func(p []byte) (io.ReadCloser, error) {
			return short(struct{ io.Reader }{bytes.NewReader(p[:10])}), nil
		}, 0, io.ErrUnexpectedEOF},
		"an empty object": {"1", func([]byte) (io.ReadCloser, error) { return short(bytes.NewReader(nil)), nil }, 0, io.ErrUnexpectedEOF},
	}
	for name, tt := range tests {
		for _, asked := range []string{"", "bytes=0-0,500-2999"} {
			if asked != "" && strings.Contains(name, "first read") {
				continue
			}
			store := &memory{open: func(_ context.Context, key string, offset, length int64) (io.ReadCloser, error) {
				p := part(body, key, offset, length)
				if key == tt.fails {
					return tt.with(p)
				}
				return io.NopCloser(bytes.NewReader(p)), nil
			}}
			w := httptest.NewRecorder()
			aborted, logged := serve(t, store, blob, w, http.Header{"Range": {asked}})
			if aborted != (tt.status == 0) || !aborted && w.Code != tt.status {
				t.Errorf("%s, %q: %d, aborted %t", name, asked, w.Code, aborted)
			}
			if tt.cause != nil && (logged == nil || !errors.Is(logged, tt.cause) && !errors.Is(logged, io.EOF)) {
				t.Errorf("%s, %q: logged %v, want %v", name, asked, logged, tt.cause)
			}
			if store.n.Load() > 10 {
				t.Errorf("%s, %q: opened %d times", name, asked, store.n.Load())
			}
		}
	}
}

// TestReadsThatHeal: a transfer that breaks off is taken up where it was, as long as it goes on at all.
func TestReadsThatHeal(t *testing.T) {
	t.Parallel()
	blob, body := chunked(3)
	store := &memory{open: func(_ context.Context, key string, offset, length int64) (io.ReadCloser, error) {
		p := part(body, key, offset, length)
		if len(p) <= 300 {
			return io.NopCloser(bytes.NewReader(p)), nil
		}
		return io.NopCloser(io.MultiReader(bytes.NewReader(p[:300]), failing{storage.ErrUnavailable})), nil
	}}
	w := httptest.NewRecorder()
	aborted, logged := serve(t, store, blob, w, http.Header{})
	if !bytes.Equal(w.Body.Bytes(), body) || logged != nil || aborted {
		t.Errorf("%d of %d bytes, logged %v", w.Body.Len(), len(body), logged)
	}
}

// TestReadsThatAreOvertaken: a blob's objects are replaced by a compaction, and swept, while a reader is held up for days.
func TestReadsThatAreOvertaken(t *testing.T) {
	t.Parallel()
	old, body := chunked(3)
	one := old
	one.Chunks = []content.Chunk{{Key: "one", Start: 0, Size: old.Size}}
	for first, want := range map[string]int{"0": http.StatusOK, "1": http.StatusOK, "2": http.StatusOK, "gone": http.StatusNotFound} {
		swept := first == "gone"
		store := &memory{open: func(_ context.Context, key string, offset, length int64) (io.ReadCloser, error) {
			if key == "one" {
				return io.NopCloser(bytes.NewReader(body[offset : offset+length])), nil
			}
			if swept = swept || key == first; swept {
				return nil, storage.ErrNotFound
			}
			return io.NopCloser(bytes.NewReader(part(body, key, offset, length))), nil
		}}
		w := httptest.NewRecorder()
		aborted, _ := serveAgain(t, store, old, w, http.Header{}, func(context.Context) (content.Blob, error) {
			if first == "gone" {
				return content.Blob{}, content.ErrNotFound
			}
			return one, nil
		})
		if w.Code != want || aborted || want == http.StatusOK && !bytes.Equal(w.Body.Bytes(), body) {
			t.Errorf("swept before chunk %s: %d with %d bytes, aborted %t", first, w.Code, w.Body.Len(), aborted)
		}
	}
}

type failing struct{ error }

func (f failing) Read([]byte) (int, error) { return 0, f.error }

// waiting is a reader of an object that nothing comes from until its context ends. It notes when it is used by two.
type waiting struct {
	ctx     context.Context
	reading chan struct{}
	busy    atomic.Bool
	misused atomic.Bool
	closed  atomic.Bool
}

func (w *waiting) Read([]byte) (int, error) {
	w.busy.Store(true)
	defer w.busy.Store(false)
	w.reading <- struct{}{}
	<-w.ctx.Done()
	return 0, w.ctx.Err()
}

func (w *waiting) Close() error {
	w.closed.Store(true)
	w.misused.Store(w.misused.Load() || w.busy.Load())
	return nil
}

// leaving is a client that takes the second range's header, and goes away while the store is being read for that.
type leaving struct {
	*httptest.ResponseRecorder
	reading chan struct{}
}

func (l *leaving) Write(p []byte) (int, error) {
	if !bytes.Contains(p, []byte("bytes 1500-1599/")) {
		return len(p), nil
	}
	<-l.reading
	return 0, errors.New("the client has gone")
}

// TestClientLeavesDuringRanges: the goroutine that reads several ranges has ended before its reader is closed.
func TestClientLeavesDuringRanges(t *testing.T) {
	t.Parallel()
	blob, body := chunked(2)
	reading := make(chan struct{})
	var last *waiting
	store := &memory{open: func(ctx context.Context, key string, offset, length int64) (io.ReadCloser, error) {
		if key == "0" {
			return io.NopCloser(bytes.NewReader(part(body, key, offset, length))), nil
		}
		last = &waiting{ctx: ctx, reading: reading}
		return last, nil
	}}
	aborted, logged := serve(t, store, blob, &leaving{httptest.NewRecorder(), reading}, http.Header{"Range": {"bytes=0-9,1500-1599"}})
	if !aborted || !errors.Is(logged, context.Canceled) {
		t.Errorf("aborted %t, logged %v", aborted, logged)
	}
	if last == nil || last.misused.Load() || !last.closed.Load() {
		t.Errorf("reader %+v", last)
	}
}
