// Package recent remembers answers that are dear, such as those of the database, for a while. Only answers are kept, never
// errors, so neither absence nor denial is cached; and callers that ask for the same thing at once share one question.
package recent

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/maypok86/otter/v2"
)

// Cache keeps a bounded number of answers. It is safe for concurrent use and starts no goroutine that stays.
type Cache[K comparable, V any] struct {
	entries *otter.Cache[K, entry[V]]
	clock   clock

	hits, misses atomic.Uint64
}

// Stats are the numbers of a cache.
type Stats struct {
	// Hits and Misses are how often an answer was remembered, and was not, since the start.
	Hits, Misses uint64
	// Entries is about how many answers are in memory, the forgotten ones among them.
	Entries int
}

// Stats tells how much a cache is of use.
func (c *Cache[K, V]) Stats() Stats {
	return Stats{Hits: c.hits.Load(), Misses: c.misses.Load(), Entries: c.entries.EstimatedSize()}
}

// entry is an answer and when it was asked for: it is no newer than that.
type entry[V any] struct {
	value V
	asked int64
}

// New makes a cache of at most size answers, each forgotten ttl after it was asked for.
func New[K comparable, V any](size int, ttl time.Duration, now func() time.Time) (*Cache[K, V], error) {
	if size < 1 || ttl <= 0 {
		return nil, fmt.Errorf("recent: size %d and life %s must be positive", size, ttl)
	}
	c := clock{now: now, start: now()}
	entries, err := otter.New(&otter.Options[K, entry[V]]{
		MaximumSize: size,
		Clock:       c,
		ExpiryCalculator: otter.ExpiryWritingFunc(func(e otter.Entry[K, entry[V]]) time.Duration {
			age := c.NowNano() - e.Value.asked
			return max(ttl-time.Duration(age), 1)
		}),
	})
	if err != nil {
		return nil, fmt.Errorf("recent: %w", err)
	}
	return &Cache[K, V]{entries: entries, clock: c}, nil
}

// Get returns the remembered answer, or asks for it with load and remembers it unless load fails. While one caller asks,
// others with the same key wait for its answer, or for their context's end; so for one key every load must ask the same.
// Errors are those of load and of the context, and never older than the call: what was just created is never missing.
func (c *Cache[K, V]) Get(ctx context.Context, key K, load func(context.Context) (V, error)) (V, error) {
	if e, ok := c.entries.GetIfPresent(key); ok {
		c.hits.Add(1)
		return e.value, nil
	}
	c.misses.Add(1)
	asks := false
	loader := otter.LoaderFunc[K, entry[V]](func(ctx context.Context, _ K) (entry[V], error) {
		asks = true
		if e, ok := c.entries.GetIfPresent(key); ok {
			return e, nil // another caller's answer came after this one had looked for it
		}
		asked := c.clock.NowNano()
		value, err := load(ctx)
		return entry[V]{value: value, asked: asked}, err
	})
	e, err := c.entries.Get(ctx, key, loader)
	if err != nil && !asks {
		// Another caller asked, perhaps before this one came. Whoever asks next does so after that.
		e, err = c.entries.Get(ctx, key, loader)
	}
	return e.value, err
}

// Forget drops the answer for key, and also one that is being asked for: callers of Get from now on see what is true now.
func (c *Cache[K, V]) Forget(key K) { c.entries.Invalidate(key) }

// clock is the cache's time. It measures from a start, so that with time.Now a stepped wall clock changes no life.
type clock struct {
	now   func() time.Time
	start time.Time
}

// NowNano is the time since the start; it begins above zero, which the cache takes for no time at all.
func (c clock) NowNano() int64 { return int64(c.now().Sub(c.start)) + int64(time.Second) }

// Tick gives no ticks: entries that expired make room when others are written, and the size is bounded anyway.
func (clock) Tick(time.Duration) <-chan time.Time { return nil }
