package ratelimit_test

import (
	"context"
	"encoding/binary"
	"runtime"
	"testing"

	"github.com/berthregistry/berth/internal/ratelimit"
)

const principals = 100_000

func manyKeys() []ratelimit.Key {
	keys := make([]ratelimit.Key, principals)
	for i := range keys {
		keys[i].Kind = ratelimit.KindUser
		binary.BigEndian.PutUint64(keys[i].ID[:], uint64(i))
	}
	return keys
}

// crowded is a limiter with a bucket for each key, and the bytes that they take.
func crowded(tb testing.TB, keys []ratelimit.Key) (l *ratelimit.Limiter, size uint64) {
	tb.Helper()
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	l = newLimiter(tb, ratelimit.Config{Limits: all(60_000, 1_000_000), Keys: 3 * principals})
	for _, key := range keys {
		if err := l.Take(tb.Context(), ratelimit.Read, key); err != nil {
			tb.Fatal(err)
		}
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	return l, max(after.HeapAlloc, before.HeapAlloc) - before.HeapAlloc
}

// BenchmarkLimiter decides about 100,000 principals in turn.
func BenchmarkLimiter(b *testing.B) {
	keys := manyKeys()
	l, size := crowded(b, keys)
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		_ = l.Take(b.Context(), ratelimit.Read, keys[i%principals])
		i++
	}
	b.ReportMetric(float64(l.Stats().Keys), "keys")
	b.ReportMetric(float64(size)/(1<<20), "MiB")
}

// BenchmarkLimiterOverrides is BenchmarkLimiter where each of them has limits of its own.
func BenchmarkLimiterOverrides(b *testing.B) {
	keys := manyKeys()
	l, _ := crowded(b, keys)
	own := make(map[ratelimit.Key]ratelimit.Override, len(keys))
	for _, key := range keys {
		own[key] = ratelimit.Override{Read: &ratelimit.Limit{PerMinute: 60_000, Burst: 2_000_000}}
	}
	l.Override(own)
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		_ = l.Take(b.Context(), ratelimit.Read, keys[i%principals])
		i++
	}
}

// BenchmarkLimiterParallel is BenchmarkLimiter by all CPUs at once.
func BenchmarkLimiterParallel(b *testing.B) {
	keys := manyKeys()
	l, _ := crowded(b, keys)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for i := 0; pb.Next(); i++ {
			_ = l.Take(context.Background(), ratelimit.Read, keys[i%principals])
		}
	})
}

// BenchmarkLimiterFlood meets nothing but new addresses, with no room for them.
func BenchmarkLimiterFlood(b *testing.B) {
	l := newLimiter(b, ratelimit.Config{Limits: all(60, 10), Keys: 200_000})
	b.ReportAllocs()
	var key ratelimit.Key
	for i := uint64(1); b.Loop(); i++ {
		binary.BigEndian.PutUint64(key.ID[:], i)
		_ = l.Take(b.Context(), ratelimit.Read, key)
	}
	b.ReportMetric(float64(l.Stats().Keys), "keys")
}

func TestManyPrincipalsTakeLittleMemory(t *testing.T) { //nolint:paralleltest // measures the heap
	l, size := crowded(t, manyKeys())
	if keys := l.Stats().Keys; keys != principals {
		t.Errorf("%d keys, want %d", keys, principals)
	}
	if perKey := size / principals; perKey > 400 {
		t.Errorf("%d bytes a key", perKey)
	}
}

func TestADecisionAllocatesNothing(t *testing.T) { //nolint:paralleltest // counts allocations
	keys := manyKeys()[:10]
	l, _ := crowded(t, keys)
	ctx := t.Context()
	l.Override(map[ratelimit.Key]ratelimit.Override{keys[3]: {Read: &ratelimit.Limit{PerMinute: 60_000, Burst: 2_000_000}}})
	if n := testing.AllocsPerRun(1000, func() { _ = l.Take(ctx, ratelimit.Read, keys[3]) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
