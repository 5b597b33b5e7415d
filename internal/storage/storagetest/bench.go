package storagetest

import (
	"context"
	"fmt"
	"io"
	"sync/atomic"
	"testing"

	"github.com/berthregistry/berth/internal/storage"
)

// piece is how the callers of a store hand it bytes.
const piece = 256 * kib

// Bench measures a kind of store: durable puts and gets of 1 MiB and 64 MiB, one at a time and in parallel. open
// returns an empty store; Bench closes it.
func Bench(b *testing.B, open func(testing.TB) storage.Store) {
	for _, size := range []int{mib, 64 * mib} {
		name := fmt.Sprintf("%dMiB", size/mib)
		b.Run("Put"+name, func(b *testing.B) { benchPut(newBench(b, open, size)) })
		b.Run("Get"+name, func(b *testing.B) { benchGet(newBench(b, open, size)) })
	}
	b.Run("ParallelPut1MiB", func(b *testing.B) { benchParallelPut(newBench(b, open, mib)) })
}

type bench struct {
	*testing.B
	store storage.Store
	data  []byte
	next  atomic.Int64
}

func newBench(b *testing.B, open func(testing.TB) storage.Store, size int) *bench {
	b.Helper()
	s := &bench{B: b, store: open(b), data: random(1, size)}
	b.SetBytes(int64(size))
	b.ReportAllocs()
	b.Cleanup(s.cleanUp)
	return s
}

// key names the i-th object; every one hundred share a session.
func (b *bench) key(i int64) string {
	return fmt.Sprintf("%s/s%d/o%d", day, i/100, i)
}

func (b *bench) cleanUp() {
	var keys []string
	for i := range b.next.Load() {
		keys = append(keys, b.key(i+1))
	}
	if err := b.store.Delete(context.Background(), keys...); err != nil {
		b.Errorf("Delete: %v", err)
	}
	if err := b.store.Close(); err != nil {
		b.Errorf("Close: %v", err)
	}
}

func (b *bench) put() error {
	ctx := b.Context()
	w, err := b.store.Create(ctx, b.key(b.next.Add(1)), int64(len(b.data)))
	if err != nil {
		return fmt.Errorf("create: %w", err)
	}
	defer func() { _ = w.Abort() }()
	for off := 0; off < len(b.data); off += piece {
		if _, err := w.Write(b.data[off : off+piece]); err != nil {
			return fmt.Errorf("write: %w", err)
		}
	}
	return w.Commit(ctx)
}

func benchPut(b *bench) {
	for b.Loop() {
		if err := b.put(); err != nil {
			b.Fatal(err)
		}
	}
}

func benchParallelPut(b *bench) {
	b.SetParallelism(8)
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if err := b.put(); err != nil {
				b.Error(err)
				return
			}
		}
	})
}

// sink has no ReadFrom, unlike io.Discard, whose own reads in small steps.
type sink struct{}

func (sink) Write(p []byte) (int, error) { return len(p), nil }

func benchGet(b *bench) {
	if err := b.put(); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		r, err := b.store.Open(b.Context(), b.key(1), 0, -1)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := io.Copy(sink{}, r); err != nil {
			b.Fatal(err)
		}
		if err := r.Close(); err != nil {
			b.Fatal(err)
		}
	}
}
