package diskcache_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"sync/atomic"
	"testing"

	"github.com/berthregistry/berth/internal/storage"
	"github.com/berthregistry/berth/internal/storage/diskcache"
	fsstore "github.com/berthregistry/berth/internal/storage/fs"
	"github.com/berthregistry/berth/internal/storage/storagetest"
)

const mib = 1 << 20

func TestStore(t *testing.T) {
	storagetest.Run(t, func(tb testing.TB) storage.Store {
		return wrap(tb, newBehind(tb), diskcache.Options{Dir: tb.TempDir()})
	})
}

func BenchmarkStore(b *testing.B) {
	storagetest.Bench(b, func(tb testing.TB) storage.Store {
		return wrap(tb, newBehind(tb), diskcache.Options{Dir: tb.TempDir()})
	})
}

// behind is the store behind a cache. It counts what is asked of it.
type behind struct {
	storage.Store
	opens atomic.Int64
	// open, unless nil, stands before the store's own.
	open func(r io.ReadCloser, err error) (io.ReadCloser, error)
}

func (b *behind) Open(ctx context.Context, key string, offset, length int64) (io.ReadCloser, error) {
	b.opens.Add(1)
	r, err := b.Store.Open(ctx, key, offset, length)
	if b.open != nil {
		return b.open(r, err)
	}
	return r, err
}

func newBehind(tb testing.TB) *behind {
	tb.Helper()
	store, err := fsstore.New(tb.TempDir())
	if err != nil {
		tb.Fatal(err)
	}
	return &behind{Store: store}
}

func wrap(tb testing.TB, store storage.Store, options diskcache.Options) *diskcache.Store {
	tb.Helper()
	if options.Size == 0 {
		options.Size = diskcache.MinSize
	}
	options.Logger = slog.New(slog.DiscardHandler)
	s, err := diskcache.New(store, options)
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

// open puts a cache that is closed at the end before a store.
func open(t *testing.T, b *behind, options diskcache.Options) *diskcache.Store {
	t.Helper()
	if options.Dir == "" {
		options.Dir = t.TempDir()
	}
	s := wrap(t, b, options)
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// put writes an object of random bytes.
func put(t *testing.T, store storage.Store, key string, size int) []byte {
	t.Helper()
	data := make([]byte, size)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(data) // never fails, by its documentation
	w, err := store.Create(t.Context(), key, int64(size))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := w.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	return data
}

// read reads a range by Read, and again by WriteTo, and compares.
func read(t *testing.T, s storage.Store, key string, data []byte, offset, length int) {
	t.Helper()
	for name, through := range map[string]func(io.Reader) ([]byte, error){
		"Read": io.ReadAll,
		"WriteTo": func(r io.Reader) ([]byte, error) {
			var b bytes.Buffer
			_, err := r.(io.WriterTo).WriteTo(&b) //nolint:errcheck,forcetypeassert // what all readers are
			return b.Bytes(), err
		},
	} {
		r, err := s.Open(t.Context(), key, int64(offset), int64(length))
		if err != nil {
			t.Fatalf("open: %v", err)
		}
		got, err := through(r)
		if err != nil || !bytes.Equal(got, data[offset:offset+length]) {
			t.Fatalf("%s of %d bytes at %d: %d bytes, %v", name, length, offset, len(got), err)
		}
		if err := r.Close(); err != nil {
			t.Fatalf("close: %v", err)
		}
	}
}

func wantOpens(t *testing.T, b *behind, want int64) {
	t.Helper()
	if got := b.opens.Load(); got != want {
		t.Fatalf("the store behind was asked %d times, want %d", got, want)
	}
}

func TestSecondReadIsFromTheCopy(t *testing.T) {
	b := newBehind(t)
	s := open(t, b, diskcache.Options{})
	data := put(t, s, "day/object", 3*mib+5)
	read(t, s, "day/object", data, 0, len(data))
	s.WaitIdle()
	read(t, s, "day/object", data, 0, len(data))
	read(t, s, "day/object", data, 17, 2*mib)
	read(t, s, "day/object", data, len(data)-1, 1)
	wantOpens(t, b, 1)
	if stats := s.Stats(); stats.Misses != 1 || stats.Hits+stats.Shared != 7 || stats.Bytes < int64(len(data)) {
		t.Errorf("stats %+v", stats)
	}
	if err := s.Delete(t.Context(), "day/object"); err != nil {
		t.Fatal(err)
	}
}

// TestOnlyWhatWasAskedFor: a copy begins where the object does, and has no more than somebody wanted.
func TestOnlyWhatWasAskedFor(t *testing.T) {
	b := newBehind(t)
	s := open(t, b, diskcache.Options{})
	data := put(t, s, "day/object", 100_000)
	read(t, s, "day/object", data, 500, 1000) // twice, not from the start
	wantOpens(t, b, 2)
	read(t, s, "day/object", data, 0, 1000)
	s.WaitIdle()
	wantOpens(t, b, 3)
	read(t, s, "day/object", data, 999, 1)
	wantOpens(t, b, 3)
	read(t, s, "day/object", data, 999, 2)
	wantOpens(t, b, 5)
	read(t, s, "day/object", data, 0, len(data)) // more than the copy has
	s.WaitIdle()
	wantOpens(t, b, 6)
	read(t, s, "day/object", data, 999, 2)
	wantOpens(t, b, 6)
}

// stepped gives the bytes of a reader when it is told to.
// TestReadersShareAFetch: a hundred runners start at once.
// TestFarAhead: who wants the end of what has just begun asks for it alone.
// TestGivenUp: a fetch ends with its last reader, and not with the one who began it.
// TestFirstLeavesEarly: the others do not notice that the one who began has gone, also before the store has answered.
// await yields until something is so.
// TestRefused: all who asked at once hear what the store says, which is asked once.
// closing tells when a reader was closed first.
// cut is a body that ends with an error after some bytes.
// TestStoreBreaksOff: a fetch goes on where the store broke off, for all of its readers.
// TestStoreGivesUp: readers go on with the store behind where a fetch ended early, and nothing of that stays.
// TestDiskFailsAtLast: what could not be made durable is not read any more: who knows what the disk gives for it.
// TestErrorsOfTheStore come through as they are, and are not remembered.
// TestDamagedCopies cost a read from the store behind, and go.
// TestDiskFails: reads go on without the cache, which is tried again after a while.
// sizeOf is what the files in a folder take, and how many there are.
// TestRestart: what is whole is used again, what was read last first, and what is not whole goes.
// TestReadIsMarked: a start knows when a copy was read.
// clock tells a time that tests set.
// TestIdleCopiesGo: what has been deleted nobody reads, and so it leaves the disk, too.
// TestHeldBySlowReaders: what had to go but is still being read takes its place, so nothing is fetched instead.
// TestManyFetches: what the bucket and the disk are slow with is bounded in number, too.
// TestClose: what is under way ends, whoever reads it.
// TestSendfileForm holds the form of reader from which the network takes bytes without copying them.
func TestSendfileForm(t *testing.T) {
	s := open(t, newBehind(t), diskcache.Options{})
	data := put(t, s, "day/object", 9*mib)
	read(t, s, "day/object", data, 0, len(data))
	s.WaitIdle()
	r, err := s.Open(t.Context(), "day/object", 3, 9*mib-4)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = r.Close() }()
	if n, err := io.Copy(fileSink{}, r); err != nil || n != 9*mib-4 {
		t.Errorf("copied %d bytes, %v", n, err)
	}
}

// fileSink takes bytes only as a TCP connection takes them by sendfile.
type fileSink struct{}

func (fileSink) Write([]byte) (int, error) { return 0, errors.New("the bytes came one by one") }

func (fileSink) ReadFrom(r io.Reader) (int64, error) {
	limited, ok := r.(*io.LimitedReader)
	if !ok {
		return 0, fmt.Errorf("reader is a %T", r)
	}
	if _, ok := limited.R.(*os.File); !ok {
		return 0, fmt.Errorf("below the limit is a %T", limited.R)
	}
	return io.Copy(io.Discard, r)
}
