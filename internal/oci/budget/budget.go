// Package budget bounds the memory that requests under way hold for their callers: manifests that are being received
// and answers that are not read yet. All callers share one amount, and none may hold more than a share of it, so that
// one who stalls is in nobody's way but their own.
package budget

import (
	"context"
	"errors"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"
)

// DefaultShares is how many callers it takes at least to use up a Budget: one may hold 1/DefaultShares of it.
const DefaultShares = 8

// Wait is how long Hold.Grow waits for memory that is in use: most requests are over sooner.
const Wait = 2 * time.Second

// ErrFull says that the memory is in use, by the caller or by all of them. Time heals it.
var ErrFull = errors.New("budget: too much memory is in use")

// Budget is an amount of memory. It is safe for concurrent use.
type Budget struct {
	total *semaphore.Weighted
	share int64

	mu      sync.Mutex
	callers map[string]*caller // those with an open Hold
}

// caller is one who holds memory.
type caller struct {
	share *semaphore.Weighted
	holds int
}

// New makes a Budget of so many bytes, of which one caller may hold share.
func New(total, share int64) *Budget {
	return &Budget{total: semaphore.NewWeighted(total), share: min(share, total), callers: make(map[string]*caller)}
}

// Hold is the memory of one request. It is not safe for concurrent use.
type Hold struct {
	budget *Budget
	key    string
	caller *caller
	bytes  int64
}

// Open begins a request of a caller, with nothing. Release must be called.
func (b *Budget) Open(key string) *Hold {
	b.mu.Lock()
	defer b.mu.Unlock()
	c := b.callers[key]
	if c == nil {
		c = &caller{share: semaphore.NewWeighted(b.share)}
		b.callers[key] = c
	}
	c.holds++
	return &Hold{budget: b, key: key, caller: c}
}

// TryGrow takes n bytes more, or returns ErrFull.
func (h *Hold) TryGrow(n int64) error {
	if !h.caller.share.TryAcquire(n) {
		return ErrFull
	}
	if !h.budget.total.TryAcquire(n) {
		h.caller.share.Release(n)
		return ErrFull
	}
	h.bytes += n
	return nil
}

// Grow takes n bytes more, waiting for at most Wait. It returns ErrFull, or the error of ctx. A caller should hold
// nothing else meanwhile that others wait for, such as a connection of the database.
func (h *Hold) Grow(ctx context.Context, n int64) error {
	if n > h.budget.share {
		return ErrFull
	}
	waiting, cancel := context.WithTimeout(ctx, Wait)
	defer cancel()
	if h.caller.share.Acquire(waiting, n) != nil {
		return full(ctx)
	}
	if h.budget.total.Acquire(waiting, n) != nil {
		h.caller.share.Release(n)
		return full(ctx)
	}
	h.bytes += n
	return nil
}

// full tells a wait that took too long from one that was given up.
func full(ctx context.Context) error {
	if ctx.Err() != nil {
		return context.Cause(ctx) //nolint:wrapcheck // the caller's own
	}
	return ErrFull
}

// Release gives everything back and ends the request. It may be called again.
func (h *Hold) Release() {
	if h.caller == nil {
		return
	}
	h.budget.total.Release(h.bytes)
	h.caller.share.Release(h.bytes)
	h.budget.mu.Lock()
	defer h.budget.mu.Unlock()
	if h.caller.holds--; h.caller.holds == 0 {
		delete(h.budget.callers, h.key)
	}
	h.caller, h.bytes = nil, 0
}
