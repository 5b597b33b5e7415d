package diskcache_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

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
type stepped struct {
	io.ReadCloser
	steps <-chan int // how many bytes the next Read may give; closed: all
}

func (s stepped) Read(p []byte) (int, error) {
	n, ok := <-s.steps
	if !ok {
		return s.ReadCloser.Read(p)
	}
	return io.ReadFull(s.ReadCloser, p[:n])
}

// TestReadersShareAFetch: a hundred runners start at once.
func TestReadersShareAFetch(t *testing.T) {
	b, steps := newBehind(t), make(chan int)
	b.open = func(r io.ReadCloser, err error) (io.ReadCloser, error) {
		return stepped{ReadCloser: r, steps: steps}, err
	}
	s := open(t, b, diskcache.Options{})
	data := put(t, s, "day/object", 2*mib)
	const readers = 100
	opened, done := make(chan struct{}), make(chan error)
	for i := range readers {
		go func() {
			r, err := s.Open(context.Background(), "day/object", int64(i), int64(2*mib-i))
			if err != nil {
				done <- err
				return
			}
			opened <- struct{}{}
			got, err := io.ReadAll(r)
			if err == nil && !bytes.Equal(got, data[i:]) {
				err = errors.New("other bytes")
			}
			done <- errors.Join(err, r.Close())
		}()
		<-opened // the first begins at 0, and the others come while nothing has been fetched
	}
	for range 4 {
		steps <- 1000
	}
	close(steps)
	for range readers {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	wantOpens(t, b, 1)
	if stats := s.Stats(); stats.Shared != readers-1 {
		t.Errorf("stats %+v", stats)
	}
}

// TestFarAhead: who wants the end of what has just begun asks for it alone.
func TestFarAhead(t *testing.T) {
	b, steps := newBehind(t), make(chan int)
	s := open(t, b, diskcache.Options{Size: 8 * diskcache.MinSize})
	data := put(t, s, "day/object", 20*mib)
	b.open = func(r io.ReadCloser, err error) (io.ReadCloser, error) {
		b.open = nil
		return stepped{ReadCloser: r, steps: steps}, err
	}
	first, err := s.Open(t.Context(), "day/object", 0, 20*mib)
	if err != nil {
		t.Fatal(err)
	}
	read(t, s, "day/object", data, 19*mib, mib)
	wantOpens(t, b, 3)
	close(steps)
	if got, err := io.ReadAll(first); err != nil || !bytes.Equal(got, data) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	if err := first.Close(); err != nil {
		t.Error(err)
	}
}

// TestGivenUp: a fetch ends with its last reader, and not with the one who began it.
func TestGivenUp(t *testing.T) {
	b, steps := newBehind(t), make(chan int)
	ended := make(chan struct{})
	b.open = func(r io.ReadCloser, err error) (io.ReadCloser, error) {
		return closing{stepped{ReadCloser: r, steps: steps}, ended}, err
	}
	s := open(t, b, diskcache.Options{})
	data := put(t, s, "day/object", mib)
	ctx, cancel := context.WithCancel(t.Context())
	first, err := s.Open(ctx, "day/object", 0, mib)
	if err != nil {
		t.Fatal(err)
	}
	second, err := s.Open(t.Context(), "day/object", 0, mib)
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	if _, err := io.ReadAll(first); !errors.Is(err, context.Canceled) {
		t.Errorf("a reader whose context has ended: %v", err)
	}
	if err := first.Close(); err != nil {
		t.Error(err)
	}
	steps <- 1000
	got := make([]byte, 1000)
	if _, err := io.ReadFull(second, got); err != nil || !bytes.Equal(got, data[:1000]) {
		t.Errorf("the other reader: %v", err)
	}
	if err := second.Close(); err != nil {
		t.Error(err)
	}
	close(steps) // the context of the fetch has ended: its next Read fails
	<-ended
	s.WaitIdle()
	if _, ok := s.CopyOf("day/object"); ok {
		t.Error("there is a copy of what was given up")
	}
	read(t, s, "day/object", data, 0, len(data))
	s.WaitIdle()
	wantOpens(t, b, 2)
}

// closing tells when a reader was closed first.
type closing struct {
	stepped
	closed chan struct{}
}

func (c closing) Close() error {
	select {
	case <-c.closed:
	default:
		close(c.closed)
	}
	return c.stepped.Close()
}

// TestStoreBreaksOff: readers go on with the store behind where a fetch ended early, and nothing of that stays.
func TestStoreBreaksOff(t *testing.T) {
	b := newBehind(t)
	s := open(t, b, diskcache.Options{})
	data := put(t, s, "day/object", mib)
	b.open = func(r io.ReadCloser, err error) (io.ReadCloser, error) {
		b.open = nil
		return struct {
			io.Reader
			io.Closer
		}{io.LimitReader(r, 300_000), r}, err
	}
	read(t, s, "day/object", data, 0, len(data)) // the first of its two reads meets that
	s.WaitIdle()
	wantOpens(t, b, 3) // the fetch, its rest, and another fetch
	read(t, s, "day/object", data, 0, len(data))
	wantOpens(t, b, 3)
}

// TestErrorsOfTheStore come through as they are, and are not remembered.
func TestErrorsOfTheStore(t *testing.T) {
	b := newBehind(t)
	s := open(t, b, diskcache.Options{})
	if _, err := s.Open(t.Context(), "day/object", 0, 10); !errors.Is(err, storage.ErrNotFound) {
		t.Fatalf("absent: %v", err)
	}
	data := put(t, s, "day/object", 10)
	r, err := s.Open(t.Context(), "day/object", 0, 11)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(r); !errors.Is(err, io.ErrUnexpectedEOF) || !bytes.Equal(got, data) {
		t.Errorf("longer than the object: %d bytes, %v", len(got), err)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	s.WaitIdle()
	if _, ok := s.CopyOf("day/object"); ok {
		t.Error("there is a copy of what was shorter than asked")
	}
}

// TestDamagedCopies cost a read from the store behind, and go.
func TestDamagedCopies(t *testing.T) {
	for name, damage := range map[string]func(path string) error{
		"removed":   os.Remove,
		"truncated": func(path string) error { return os.Truncate(path, 1000) },
	} {
		t.Run(name, func(t *testing.T) {
			b := newBehind(t)
			s := open(t, b, diskcache.Options{})
			data := put(t, s, "day/object", mib)
			read(t, s, "day/object", data, 0, len(data))
			s.WaitIdle()
			path, ok := s.CopyOf("day/object")
			if !ok {
				t.Fatal("there is no copy")
			}
			if err := damage(path); err != nil {
				t.Fatal(err)
			}
			read(t, s, "day/object", data, 0, len(data))
			s.WaitIdle()
			read(t, s, "day/object", data, 0, len(data))
			wantOpens(t, b, 2+map[string]int64{"truncated": 1}[name])
		})
	}
}

// TestDiskFails: reads go on without the cache, which is tried again after a while.
func TestDiskFails(t *testing.T) {
	dir, now := filepath.Join(t.TempDir(), "cache"), time.Now()
	var mu sync.Mutex
	b := newBehind(t)
	s := open(t, b, diskcache.Options{Dir: dir, Clock: func() time.Time {
		mu.Lock()
		defer mu.Unlock()
		return now
	}})
	s.WaitIdle()
	data := put(t, s, "day/object", mib)
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	read(t, s, "day/object", data, 0, len(data))
	wantOpens(t, b, 2)
	if err := os.MkdirAll(filepath.Join(dir, "fetching"), 0o700); err != nil {
		t.Fatal(err)
	}
	read(t, s, "day/object", data, 0, len(data)) // not tried again yet
	wantOpens(t, b, 4)
	mu.Lock()
	now = now.Add(time.Minute)
	mu.Unlock()
	read(t, s, "day/object", data, 0, len(data))
	s.WaitIdle()
	read(t, s, "day/object", data, 0, len(data))
	wantOpens(t, b, 5)
}

// sizeOf is what the files in a folder take, and how many there are.
func sizeOf(t *testing.T, dir string) (bytes int64, count int) {
	t.Helper()
	err := filepath.WalkDir(dir, func(_ string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		bytes, count = bytes+info.Size(), count+1
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return bytes, count
}

func TestBounded(t *testing.T) {
	b, dir := newBehind(t), t.TempDir()
	s := open(t, b, diskcache.Options{Dir: dir})
	for i := range 30 {
		key := fmt.Sprintf("day/object-%d", i)
		read(t, s, key, put(t, s, key, 4*mib), 0, 4*mib)
		s.WaitIdle()
	}
	s.Settle()
	if bytes, count := sizeOf(t, dir); bytes > diskcache.MinSize || count < 8 || s.Stats().Bytes != bytes {
		t.Errorf("%d copies take %d bytes of %d, and %+v", count, bytes, diskcache.MinSize, s.Stats())
	}
	data := put(t, s, "day/large", diskcache.MinSize/4+1)
	read(t, s, "day/large", data, 0, len(data))
	s.WaitIdle()
	if _, ok := s.CopyOf("day/large"); ok {
		t.Error("there is a copy of what takes more than a quarter")
	}
}

// TestRestart: what is whole is used again, and what is not goes.
func TestRestart(t *testing.T) {
	b, dir := newBehind(t), t.TempDir()
	s := wrap(t, b, diskcache.Options{Dir: dir, Size: 2 * diskcache.MinSize})
	data := put(t, s, "day/object", 100_000)
	read(t, s, "day/object", data, 0, len(data))
	for i := range 15 {
		key := fmt.Sprintf("day/object-%d", i)
		read(t, s, key, put(t, s, key, 8*mib), 0, 8*mib)
		s.WaitIdle()
	}
	opens := b.opens.Load()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	rest := filepath.Join(dir, "fetching", "rest")
	if err := os.WriteFile(rest, data, 0o600); err != nil {
		t.Fatal(err)
	}
	foreign := filepath.Join(dir, "ab", "foreign")
	if err := errors.Join(os.MkdirAll(filepath.Dir(foreign), 0o700), os.WriteFile(foreign, data, 0o600)); err != nil {
		t.Fatal(err)
	}
	s = open(t, b, diskcache.Options{Dir: dir, Size: 2 * diskcache.MinSize})
	s.WaitIdle()
	read(t, s, "day/object", data, 0, len(data))
	wantOpens(t, b, opens)
	if _, err := os.Stat(rest); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the rest of a fetch: %v", err)
	}
	if _, err := os.Stat(foreign); err != nil {
		t.Errorf("a file that is not the cache's: %v", err)
	}
	smaller := open(t, b, diskcache.Options{Dir: dir})
	smaller.WaitIdle()
	smaller.Settle()
	if bytes, _ := sizeOf(t, dir); bytes > diskcache.MinSize+int64(len(data)) {
		t.Errorf("a smaller cache takes %d bytes", bytes)
	}
}

// TestIdleCopiesGo: what has been deleted nobody reads, and so it leaves the disk, too.
func TestIdleCopiesGo(t *testing.T) {
	b, dir := newBehind(t), t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		s := open(t, b, diskcache.Options{Dir: dir})
		for _, key := range []string{"day/read", "day/idle"} {
			read(t, s, key, put(t, s, key, 1000), 0, 1000)
		}
		s.WaitIdle()
		for range 3 {
			time.Sleep(diskcache.MaxIdle / 2)
			r, err := s.Open(t.Context(), "day/read", 0, 1000)
			if err != nil {
				t.Fatal(err)
			}
			if err := r.Close(); err != nil {
				t.Fatal(err)
			}
		}
		s.Settle()
		if _, ok := s.CopyOf("day/read"); !ok {
			t.Error("a copy has gone that is read")
		}
		if _, ok := s.CopyOf("day/idle"); ok {
			t.Error("a copy has stayed that nobody reads")
		}
	})
}

// TestClose: what is under way ends, and its readers go on with the store behind.
func TestClose(t *testing.T) {
	b, steps := newBehind(t), make(chan int)
	b.open = func(r io.ReadCloser, err error) (io.ReadCloser, error) {
		return stepped{ReadCloser: r, steps: steps}, err
	}
	s := wrap(t, b, diskcache.Options{Dir: t.TempDir()})
	put(t, s, "day/object", mib)
	r, err := s.Open(t.Context(), "day/object", 0, mib)
	if err != nil {
		t.Fatal(err)
	}
	closed := make(chan error)
	go func() { closed <- s.Close() }()
	close(steps)
	if err := errors.Join(<-closed, r.Close()); err != nil {
		t.Error(err)
	}
}

func TestBadOptions(t *testing.T) {
	if _, err := diskcache.New(nil, diskcache.Options{Dir: t.TempDir(), Size: diskcache.MinSize - 1}); !errors.Is(err, storage.ErrInvalid) {
		t.Errorf("too small: %v", err)
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := diskcache.New(nil, diskcache.Options{Dir: file, Size: diskcache.MinSize}); !errors.Is(err, storage.ErrUnavailable) {
		t.Errorf("a file for a folder: %v", err)
	}
}

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
