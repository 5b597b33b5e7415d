package ratelimit

import (
	"container/heap"
	"math"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// slot is what a bucket is for.
type slot struct {
	class Class
	key   Key
}

// bucket is one in memory.
type bucket struct {
	id      slot
	limiter *rate.Limiter
	// fullAt is a time before which the bucket is not full, as far as was last looked at. Taking from it only puts off
	// the true one. Giving back brings that forward, and then the bucket stays a little longer than it must.
	fullAt time.Time
}

// shard is one part of the buckets. Its methods without a lock in their name are for callers that hold none.
type shard struct {
	mu       sync.Mutex
	most     int // buckets
	limits   table
	last     time.Time // the latest time seen: x/time/rate counts time that goes back and on again twice
	buckets  map[slot]*bucket
	byFull   fullHeap
	overflow [classes]*rate.Limiter // of callers without a bucket; nil while there have been none
	counts   [classes]Count
	evicted  uint64
}

func (s *shard) init(most int, limits table) {
	s.most, s.limits, s.buckets = most, limits, map[slot]*bucket{}
}

// take takes a token, and says how long there will be none if there is none. The limiter is the one that was asked.
func (s *shard) take(id slot, limit Limit, clock func() time.Time) (time.Duration, *rate.Limiter) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.tick(clock)
	limiter := s.limiter(id, limit, now)
	if limiter.AllowN(now, 1) {
		s.counts[id.class].Allowed++
		return 0, limiter
	}
	s.counts[id.class].Limited++
	return until(limiter, now), limiter
}

// look says how long there will be no token, and takes none.
func (s *shard) look(id slot, clock func() time.Time) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	limiter := s.overflow[id.class] // a new bucket at the bound begins no fuller than this
	if b, ok := s.buckets[id]; ok {
		limiter = b.limiter
	}
	if limiter == nil {
		return 0
	}
	wait := until(limiter, s.tick(clock))
	if wait > 0 {
		s.counts[id.class].Limited++
	}
	return wait
}

// left is how many tokens a bucket holds, the burst where there is none.
func (s *shard) left(id slot, limit Limit, clock func() time.Time) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	b, ok := s.buckets[id]
	if !ok {
		return limit.Burst
	}
	return max(min(int(b.limiter.TokensAt(s.tick(clock))), limit.Burst), 0)
}

// giveBack returns a token to the limiter that it was taken from. Where that was dropped since, it had become full.
func (s *shard) giveBack(limiter *rate.Limiter, clock func() time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	limiter.AllowN(s.tick(clock), -1) // the next look at it cuts off what is more than the burst
}

// tick is the time, which does not go back.
func (s *shard) tick(clock func() time.Time) time.Time {
	if now := clock(); now.After(s.last) {
		s.last = now
	}
	return s.last
}

// limiter finds the limiter of a slot or makes one; where there is no room for it, it is that of all new ones.
func (s *shard) limiter(id slot, limit Limit, now time.Time) *rate.Limiter {
	if b, ok := s.buckets[id]; ok {
		adjust(b.limiter, limit, now)
		return b.limiter
	}
	if len(s.buckets) >= s.most && !s.dropFull(now) {
		s.counts[id.class].Shared++
		return s.shared(id.class)
	}
	b := &bucket{id: id, limiter: rate.NewLimiter(limit.rate(), limit.Burst), fullAt: now}
	s.begin(b, now)
	s.buckets[id] = b
	heap.Push(&s.byFull, b)
	return b.limiter
}

// shared is the limiter of those without a bucket.
func (s *shard) shared(class Class) *rate.Limiter {
	if s.overflow[class] == nil {
		limit := s.limits[class]
		if limit.off() { // and this caller's is not, by an override
			limit = Limit{PerMinute: 1, Burst: 1}
		}
		s.overflow[class] = rate.NewLimiter(limit.rate(), limit.Burst)
	}
	return s.overflow[class]
}

// begin fills a new bucket no further than the shared one: its owner may have taken from that just now.
func (s *shard) begin(b *bucket, now time.Time) {
	shared := s.overflow[b.id.class]
	if shared == nil {
		return
	}
	if taken := int(math.Ceil(float64(shared.Burst()) - shared.TokensAt(now))); taken > 0 {
		b.limiter.AllowN(now, min(taken, b.limiter.Burst()))
	}
}

// dropFull drops a bucket that is full, so that a new one would be the same. It returns false where none is.
func (s *shard) dropFull(now time.Time) bool {
	for len(s.byFull) > 0 && !s.byFull[0].fullAt.After(now) {
		first := s.byFull[0]
		missing := float64(first.limiter.Burst()) - first.limiter.TokensAt(now)
		if missing <= 0 {
			heap.Pop(&s.byFull)
			delete(s.buckets, first.id)
			s.evicted++
			return true
		}
		first.fullAt = now.Add(max(refill(first.limiter, missing), 1))
		heap.Fix(&s.byFull, 0)
	}
	return false
}

func (s *shard) addTo(stats *Stats) {
	s.mu.Lock()
	defer s.mu.Unlock()
	stats.Keys += len(s.buckets)
	stats.Evicted += s.evicted
	for class, count := range s.counts {
		sum := &stats.Classes[class]
		sum.Allowed += count.Allowed
		sum.Limited += count.Limited
		sum.Shared += count.Shared
	}
}

func (l Limit) rate() rate.Limit { return rate.Limit(float64(l.PerMinute) / 60) }

// adjust gives a limiter a new measure, where an override has come or gone. What it holds stays.
func adjust(limiter *rate.Limiter, limit Limit, now time.Time) {
	if limiter.Limit() != limit.rate() {
		limiter.SetLimitAt(now, limit.rate())
	}
	if limiter.Burst() != limit.Burst {
		limiter.SetBurstAt(now, limit.Burst)
	}
}

// until is how long a limiter has no token. It is zero where it has one.
func until(limiter *rate.Limiter, now time.Time) time.Duration {
	missing := 1 - limiter.TokensAt(now)
	if missing <= 0 {
		return 0
	}
	return max(refill(limiter, missing), 1)
}

// refill is how long a limiter takes to get tokens.
func refill(limiter *rate.Limiter, tokens float64) time.Duration {
	seconds := math.Ceil(tokens / float64(limiter.Limit()) * float64(time.Second))
	return time.Duration(min(seconds, math.MaxInt64/2))
}

// fullHeap orders buckets by when they are full.
type fullHeap []*bucket

// Len implements heap.Interface.
func (h fullHeap) Len() int { return len(h) }

// Less implements heap.Interface.
func (h fullHeap) Less(i, j int) bool { return h[i].fullAt.Before(h[j].fullAt) }

// Swap implements heap.Interface.
func (h fullHeap) Swap(i, j int) { h[i], h[j] = h[j], h[i] }

// Push implements heap.Interface.
func (h *fullHeap) Push(x any) { *h = append(*h, x.(*bucket)) } //nolint:errcheck // only buckets are pushed

// Pop implements heap.Interface.
func (h *fullHeap) Pop() any {
	last := len(*h) - 1
	b := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	return b
}
