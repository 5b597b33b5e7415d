package observed_test

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"testing"

	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/berthregistry/berth/internal/storage"
	"github.com/berthregistry/berth/internal/storage/fs"
	"github.com/berthregistry/berth/internal/storage/observed"
	"github.com/berthregistry/berth/internal/storage/storagetest"
	"github.com/berthregistry/berth/internal/telemetry/observe"
)

func observer() *observe.Observer {
	return observe.New(sdktrace.NewTracerProvider(), sdkmetric.NewMeterProvider(sdkmetric.WithReader(sdkmetric.NewManualReader())))
}

// TestAWatchedStoreIsAStore runs the suite of all stores.
func TestAWatchedStoreIsAStore(t *testing.T) {
	storagetest.Run(t, func(tb testing.TB) storage.Store {
		tb.Helper()
		return observed.Wrap(folder(tb), "fs", observer())
	})
}

func folder(tb testing.TB) storage.Store {
	tb.Helper()
	store, err := fs.New(filepath.Join(tb.TempDir(), "objects"))
	if err != nil {
		tb.Fatal(err)
	}
	return store
}

func TestNobodyWatches(t *testing.T) {
	t.Parallel()
	store := folder(t)
	t.Cleanup(func() { _ = store.Close() })
	if observed.Wrap(store, "fs", nil) != store {
		t.Error("a store was wrapped for nobody")
	}
}

// socket stands for a connection: it notes what it is given to read from.
type socket struct {
	bytes.Buffer
	source io.Reader
}

// ReadFrom implements io.ReaderFrom.
func (s *socket) ReadFrom(r io.Reader) (int64, error) {
	s.source = r
	return s.Buffer.ReadFrom(r)
}

// TestAFileReachesTheSocket holds what sendfile needs: a limited reader over the file itself.
func TestAFileReachesTheSocket(t *testing.T) {
	t.Parallel()
	store := observed.Wrap(folder(t), "fs", observer())
	t.Cleanup(func() { _ = store.Close() })
	const key = "2026-01-02/session/object"
	w, err := store.Create(t.Context(), key, -1)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte("content")); err != nil {
		t.Fatal(err)
	}
	if err := w.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	r, err := store.Open(t.Context(), key, 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = r.Close() }()
	var to socket
	from, ok := r.(io.WriterTo)
	if !ok {
		t.Fatal("the reader is no io.WriterTo")
	}
	if _, err := from.WriteTo(&to); err != nil || to.String() != "content" {
		t.Fatalf("%q, %v", to.String(), err)
	}
	limited, ok := to.source.(*io.LimitedReader)
	if !ok {
		t.Fatalf("the socket reads from %T", to.source)
	}
	if _, ok := limited.R.(*os.File); !ok {
		t.Errorf("the socket reads from %T behind a limit", limited.R)
	}
}
