package storagetest

import (
	"context"
	"errors"
	"io"

	"github.com/berthregistry/berth/internal/storage"
)

func (s *suite) create(ctx context.Context, key string) storage.Writer {
	s.Helper()
	w, err := s.store.Create(ctx, key, -1)
	if err != nil {
		s.Fatalf("Create(%s): %v", key, err)
	}
	return w
}

func (s *suite) mustWrite(w io.Writer, data []byte) {
	s.Helper()
	if n, err := w.Write(data); err != nil || n != len(data) {
		s.Fatalf("Write = %d, %v", n, err)
	}
}

func testInvisibleUntilCommit(s *suite) {
	data := random(1, 3*mib)
	key := newKey("invisible")
	s.wrote(key)
	w := s.create(s.Context(), key)
	s.expectAbsent(key)
	s.mustWrite(w, data)
	s.expectAbsent(key)
	if err := s.store.Delete(s.Context(), key); err != nil {
		s.Fatalf("Delete of what is not there yet: %v", err)
	}
	err := s.store.Compose(s.Context(), newKey("invisible"), []storage.Part{{Key: key, Length: 1}})
	s.expectError("compose from an uncommitted object", err, storage.ErrNotFound)
	committed := make(chan error)
	go func() { committed <- w.Commit(s.Context()) }() // the port allows another goroutine
	if err := <-committed; err != nil {
		s.Fatalf("Commit: %v", err)
	}
	s.expect(key, 0, -1, data)
}

func testAbortLeavesNothing(s *suite) {
	for i, size := range []int{0, 1, 128 * kib, 9 * mib} {
		key := newKey("abort")
		w := s.create(s.Context(), key)
		s.mustWrite(w, random(byte(i), size))
		for range 2 {
			if err := w.Abort(); err != nil {
				s.Fatalf("Abort: %v", err)
			}
		}
		s.expectAbsent(key)
	}
	if left := s.list(day); len(left) > 0 {
		s.Fatalf("left after Abort: %v", left)
	}
}

func testAbortAfterCommit(s *suite) {
	data := random(1, mib)
	key := newKey("abort")
	s.wrote(key)
	w := s.create(s.Context(), key)
	s.mustWrite(w, data)
	if err := w.Commit(s.Context()); err != nil {
		s.Fatalf("Commit: %v", err)
	}
	if err := w.Abort(); err != nil {
		s.Fatalf("Abort: %v", err)
	}
	s.expect(key, 0, -1, data)
	if w.Size() != mib {
		s.Errorf("Size() = %d after Commit", w.Size())
	}
}

func testSettledWriter(s *suite) {
	key := newKey("settled")
	s.wrote(key)
	w := s.create(s.Context(), key)
	if err := w.Commit(s.Context()); err != nil {
		s.Fatalf("Commit: %v", err)
	}
	_, err := w.Write([]byte("late"))
	s.expectError("Write after Commit", err, storage.ErrInvalid)
	s.expectError("second Commit", w.Commit(s.Context()), storage.ErrInvalid)
	s.expect(key, 0, -1, nil)

	aborted := newKey("settled")
	w = s.create(s.Context(), aborted)
	if err := w.Abort(); err != nil {
		s.Fatalf("Abort: %v", err)
	}
	_, err = w.Write([]byte("late"))
	s.expectError("Write after Abort", err, storage.ErrInvalid)
	s.expectError("Commit after Abort", w.Commit(s.Context()), storage.ErrInvalid)
	s.expectAbsent(aborted)
}

func testCancelledBefore(s *suite) {
	key := newKey("cancelled")
	s.put(key, []byte("x"))
	ctx, cancel := context.WithCancel(s.Context())
	cancel()
	_, err := s.store.Create(ctx, newKey("cancelled"), -1)
	s.expectError("Create", err, context.Canceled)
	_, err = s.store.Open(ctx, key, 0, -1)
	s.expectError("Open", err, context.Canceled)
	s.expectError("Delete", s.store.Delete(ctx, key), context.Canceled)
	s.expectError("List", s.store.List(ctx, day, func(storage.Object) error { return nil }), context.Canceled)
	s.expectError("Check", s.store.Check(ctx), context.Canceled)
	err = s.store.Compose(ctx, newKey("cancelled"), []storage.Part{{Key: key, Length: 1}})
	s.expectError("Compose", err, context.Canceled)
	s.expect(key, 0, -1, []byte("x"))
}

func testCancelWrite(s *suite) {
	key := newKey("cancel")
	ctx, cancel := context.WithCancel(s.Context())
	w := s.create(ctx, key)
	s.mustWrite(w, random(1, 2*mib))
	cancel()
	_, err := w.Write([]byte("more"))
	s.expectError("Write", err, context.Canceled)
	if err := w.Abort(); err != nil {
		s.Fatalf("Abort: %v", err)
	}
	s.expectAbsent(key)
}

// testCancelCommit cancels before and during Commit. Whatever wins, the answer and the store agree.
func testCancelCommit(s *suite) {
	data := random(1, 20*mib)
	cancelled, cancelNow := context.WithCancel(s.Context())
	cancelNow()
	for _, during := range []bool{false, true, true, true} {
		key := newKey("cancel")
		w := s.create(s.Context(), key)
		s.mustWrite(w, data)
		ctx := cancelled
		if during {
			racing, cancel := context.WithCancel(s.Context())
			go cancel()
			ctx = racing
		}
		err := w.Commit(ctx)
		if abortErr := w.Abort(); abortErr != nil {
			s.Fatalf("Abort: %v", abortErr)
		}
		if err == nil {
			s.wrote(key)
			s.expect(key, 0, -1, data)
			continue
		}
		s.expectError("Commit", err, context.Canceled)
		s.expectAbsent(key)
	}
}

func testCancelRead(s *suite) {
	data := random(1, 20*mib)
	key := newKey("cancel")
	s.put(key, data)
	for name, rest := range map[string]func(io.Reader) error{
		"Read":    func(r io.Reader) error { _, err := io.ReadAll(struct{ io.Reader }{r}); return err },
		"WriteTo": func(r io.Reader) error { _, err := io.Copy(io.Discard, r); return err },
	} {
		ctx, cancel := context.WithCancel(s.Context())
		r, err := s.store.Open(ctx, key, 0, -1)
		if err != nil {
			s.Fatalf("Open: %v", err)
		}
		if _, err := io.ReadFull(r, make([]byte, mib)); err != nil {
			s.Fatalf("read before the cancellation: %v", err)
		}
		cancel()
		s.expectError(name, rest(r), context.Canceled)
		if err := r.Close(); err != nil && !errors.Is(err, context.Canceled) {
			s.Errorf("Close: %v", err)
		}
	}
	s.expect(key, 0, -1, data)
}

func testCheckAndLimits(s *suite) {
	if err := s.store.Check(s.Context()); err != nil {
		s.Errorf("Check: %v", err)
	}
	l := s.store.Limits()
	if l.ChunkSize < mib || l.MinChunk < 0 || l.MinChunk > l.ChunkSize || l.Pipeline < 1 {
		s.Errorf("Limits = %+v", l)
	}
}
