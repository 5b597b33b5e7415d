// Package storagetest holds the tests and benchmarks that every implementation of storage.Store passes.
package storagetest

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"

	"go.uber.org/goleak"

	"github.com/berthregistry/berth/internal/storage"
)

const (
	kib = 1 << 10
	mib = 1 << 20
)

// day and otherDay are the folders that tests write to. A test that leaves anything in them fails.
const (
	day      = "2026-01-02"
	otherDay = "2026-01-03"
)

// Run tests a kind of store. open returns an empty store that shares nothing with the earlier ones; Run closes it.
// open may register clean-ups with its argument that look for what a test left behind: they run after the store was
// closed. Run also fails where goroutines or objects are left over.
func Run(t *testing.T, open func(testing.TB) storage.Store) {
	tests := []struct {
		name string
		run  func(*suite)
	}{
		{"RoundTrip", testRoundTrip},
		{"DeclaredSize", testDeclaredSize},
		{"Ranges", testRanges},
		{"RangeErrors", testRangeErrors},
		{"InvisibleUntilCommit", testInvisibleUntilCommit},
		{"AbortLeavesNothing", testAbortLeavesNothing},
		{"AbortAfterCommit", testAbortAfterCommit},
		{"SettledWriter", testSettledWriter},
		{"NotFound", testNotFound},
		{"Exists", testExists},
		{"InvalidKeys", testInvalidKeys},
		{"CancelledBefore", testCancelledBefore},
		{"CancelWrite", testCancelWrite},
		{"CancelCommit", testCancelCommit},
		{"CancelRead", testCancelRead},
		{"CancelCompose", testCancelCompose},
		{"Delete", testDelete},
		{"DeleteMany", testDeleteMany},
		{"ListByPrefix", testListByPrefix},
		{"ListErrors", testListErrors},
		{"ListWhileDeleting", testListWhileDeleting},
		{"ComposeSmall", testComposeSmall},
		{"ComposeLarge", testComposeLarge},
		{"ComposeMany", testComposeMany},
		{"ComposeErrors", testComposeErrors},
		{"Presign", testPresign},
		{"ConcurrentWriters", testConcurrentWriters},
		{"ConcurrentReaders", testConcurrentReaders},
		{"CheckAndLimits", testCheckAndLimits},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { tt.run(newSuite(t, open)) })
	}
}

// suite is one test's view of one store.
type suite struct {
	*testing.T
	store storage.Store

	mu      sync.Mutex
	written []string // keys to delete at the end
}

func newSuite(t *testing.T, open func(testing.TB) storage.Store) *suite {
	t.Helper()
	s := &suite{T: t, store: open(t)}
	running := goleak.IgnoreCurrent()
	t.Cleanup(func() {
		s.cleanUp()
		if err := s.store.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
		if err := goleak.Find(running); err != nil {
			t.Errorf("goroutines left over: %v", err)
		}
	})
	return s
}

// cleanUp deletes what the test wrote on purpose and fails if anything remains.
func (s *suite) cleanUp() {
	ctx := context.Background()
	if err := s.store.Delete(ctx, s.written...); err != nil {
		s.Errorf("delete at the end: %v", err)
	}
	for _, folder := range []string{day, otherDay} {
		err := s.store.List(ctx, folder, func(o storage.Object) error {
			s.Errorf("left over: %s (%d bytes)", o.Key, o.Size)
			return nil
		})
		if err != nil {
			s.Errorf("list at the end: %v", err)
		}
	}
}

// wrote registers keys for deletion at the end of the test.
func (s *suite) wrote(keys ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.written = append(s.written, keys...)
}

var keyCounter atomic.Int64

// newKey draws a key in the folder day/session.
func newKey(session string) string {
	return fmt.Sprintf("%s/%s/%d-%016x", day, session, keyCounter.Add(1), rand.Uint64())
}

// random returns n bytes that differ from those of another seed.
func random(seed byte, n int) []byte {
	data := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{seed}).Read(data) // never fails, by its documentation
	return data
}

// write makes an object in pieces of uneven size.
func write(ctx context.Context, store storage.Store, key string, size int64, data []byte) error {
	w, err := store.Create(ctx, key, size)
	if err != nil {
		return fmt.Errorf("create: %w", err)
	}
	defer func() { _ = w.Abort() }()
	const piece = 100*kib + 1
	scratch := make([]byte, piece) // overwritten, to catch stores that retain it
	for rest := data; len(rest) > 0; {
		n := copy(scratch, rest)
		rest = rest[n:]
		if _, err := w.Write(scratch[:n]); err != nil {
			return fmt.Errorf("write: %w", err)
		}
	}
	clear(scratch)
	if w.Size() != int64(len(data)) {
		return fmt.Errorf("Size() = %d after %d bytes", w.Size(), len(data))
	}
	return w.Commit(ctx)
}

// put makes an object that is deleted at the end of the test.
func (s *suite) put(key string, data []byte) {
	s.Helper()
	s.wrote(key)
	if err := write(s.Context(), s.store, key, -1, data); err != nil {
		s.Fatalf("put %s: %v", key, err)
	}
}

// read returns a range by Read, not by WriteTo.
func read(ctx context.Context, store storage.Store, key string, offset, length int64) ([]byte, error) {
	r, err := store.Open(ctx, key, offset, length)
	if err != nil {
		return nil, fmt.Errorf("open: %w", err)
	}
	data, err := io.ReadAll(struct{ io.Reader }{r})
	if err != nil {
		_ = r.Close()
		return data, fmt.Errorf("read: %w", err)
	}
	return data, r.Close()
}

// readTo returns a range by WriteTo.
func readTo(ctx context.Context, store storage.Store, key string, offset, length int64) ([]byte, error) {
	r, err := store.Open(ctx, key, offset, length)
	if err != nil {
		return nil, fmt.Errorf("open: %w", err)
	}
	to, ok := r.(io.WriterTo)
	if !ok {
		_ = r.Close()
		return nil, errors.New("the reader is no io.WriterTo")
	}
	var buf bytes.Buffer
	n, err := to.WriteTo(&buf)
	if n != int64(buf.Len()) {
		return nil, fmt.Errorf("WriteTo = %d after %d bytes", n, buf.Len())
	}
	if err != nil {
		_ = r.Close()
		return buf.Bytes(), fmt.Errorf("write to: %w", err)
	}
	return buf.Bytes(), r.Close()
}

// expect reads a range in both ways and compares it.
func (s *suite) expect(key string, offset, length int64, want []byte) {
	s.Helper()
	for name, how := range readings {
		got, err := how(s.Context(), s.store, key, offset, length)
		if err != nil {
			s.Fatalf("%s %s [%d, +%d): %v", name, key, offset, length, err)
		}
		if !bytes.Equal(got, want) {
			s.Fatalf("%s %s [%d, +%d) = %s, want %s", name, key, offset, length, describe(got), describe(want))
		}
	}
}

var readings = map[string]func(context.Context, storage.Store, string, int64, int64) ([]byte, error){
	"Read": read, "WriteTo": readTo,
}

// expectAbsent fails unless the key is neither readable nor listed.
func (s *suite) expectAbsent(key string) {
	s.Helper()
	r, err := s.store.Open(context.Background(), key, 0, -1)
	if err == nil {
		_ = r.Close()
	}
	if !errors.Is(err, storage.ErrNotFound) {
		s.Fatalf("Open(%s) = %v, want ErrNotFound", key, err)
	}
	for _, o := range s.list(day) {
		if o.Key == key {
			s.Fatalf("%s is listed", key)
		}
	}
}

// expectError fails unless err is target.
func (s *suite) expectError(what string, err, target error) {
	s.Helper()
	if !errors.Is(err, target) {
		s.Fatalf("%s: error %v, want %v", what, err, target)
	}
}

func (s *suite) list(prefix string) []storage.Object {
	s.Helper()
	var all []storage.Object
	err := s.store.List(context.Background(), prefix, func(o storage.Object) error {
		all = append(all, o)
		return nil
	})
	if err != nil {
		s.Fatalf("List(%s): %v", prefix, err)
	}
	return all
}

func describe(data []byte) string {
	return fmt.Sprintf("%d bytes beginning %s", len(data), hex.EncodeToString(data[:min(len(data), 8)]))
}
