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

// bucket is one in memory, in one piece: what costs time is to fetch memory that is in no cache.
type bucket struct {
	id         slot
	generation uint64 // of the measures that limit is from
	limit      Limit
	limiter    rate.Limiter
	hash       uint64
	// fullAt is a time before which the bucket is not full, as far as was last looked at. Taking from it only puts off
	// the true one. Giving back brings that forward, and then the bucket stays a little longer than it must.
	fullAt time.Time
}

// shard is one part of the buckets. Its methods without a lock in their name are for callers that hold none.
type shard struct {
	mu       sync.Mutex
	most     int // buckets
	limits   table
	last     time.Time          // the latest time seen: x/time/rate counts time that goes back and on again twice
	buckets  map[uint64]*bucket // by the hash of the slot, whose seed nobody knows
	byFull   fullHeap
	overflow [classes]*rate.Limiter // of callers without a bucket; nil while there have been none
	counts   [classes]Count
	evicted  uint64
}

func (s *shard) init(most int, limits table) {
	s.most, s.limits, s.buckets = most, limits, map[uint64]*bucket{}
}

// take takes a token, and says how long there will be none if there is none. The limiter is the one that was asked, nil
// where there is no limit.
func (s *shard) take(id slot, hash uint64, m *measures, clock func() time.Time) (time.Duration, *rate.Limiter) {
	s.mu.Lock()
	defer s.mu.Unlock()
	limiter, now := s.limiter(id, hash, m, clock)
	if limiter == nil {
		return 0, nil
	}
	if limiter.AllowN(now, 1) {
		s.counts[id.class].Allowed++
		return 0, limiter
	}
	s.counts[id.class].Limited++
	return until(limiter, now), limiter
}

// look says how long there will be no token, and takes none.
func (s *shard) look(id slot, hash uint64, clock func() time.Time) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	limiter := s.overflow[id.class] // a new bucket at the bound begins no fuller than this
	if b := s.find(id, hash); b != nil {
		limiter = &b.limiter
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
func (s *shard) left(id slot, hash uint64, limit Limit, clock func() time.Time) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.find(id, hash)
	if b == nil {
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

// find gives the bucket of a slot, nil if it has none.
func (s *shard) find(id slot, hash uint64) *bucket {
	if b := s.buckets[hash]; b != nil && b.id == id {
		return b
	}
	return nil
}

// limiter finds the limiter of a slot or makes one; where there is no room for it, it is that of all new ones. It is nil
// where there is no limit.
func (s *shard) limiter(id slot, hash uint64, m *measures, clock func() time.Time) (*rate.Limiter, time.Time) {
	b := s.find(id, hash)
	if b != nil && b.generation == m.generation && !b.limit.off() {
		return &b.limiter, s.tick(clock)
	}
	limit := m.of(id)
	if limit.off() {
		return nil, time.Time{}
	}
	now := s.tick(clock)
	if b == nil {
		return s.make(id, hash, limit, m.generation, now), now
	}
	b.adjust(limit, m.generation, now)
	return &b.limiter, now
}

// make makes a bucket, or finds the shared one if there is no room for it. Should another slot have the same hash, which
// nobody can bring about, there is none either.
func (s *shard) make(id slot, hash uint64, limit Limit, generation uint64, now time.Time) *rate.Limiter {
	if s.buckets[hash] != nil || len(s.buckets) >= s.most && !s.dropFull(now) {
		s.counts[id.class].Shared++
		return s.shared(id.class)
	}
	b := &bucket{id: id, hash: hash, fullAt: now}
	b.adjust(limit, generation, now)
	b.limiter.AllowN(now, -limit.Burst) // it begins full
	s.begin(b, now)
	s.buckets[hash] = b
	heap.Push(&s.byFull, b)
	return &b.limiter
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
			delete(s.buckets, first.hash)
			s.evicted++
			return true
		}
		first.fullAt = now.Add(max(refill(&first.limiter, missing), 1))
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

// adjust gives a bucket a new measure, where an override has come or gone. What it holds stays.
func (b *bucket) adjust(limit Limit, generation uint64, now time.Time) {
	b.generation = generation
	if b.limit == limit {
		return
	}
	b.limit = limit
	b.limiter.SetLimitAt(now, limit.rate())
	b.limiter.SetBurstAt(now, limit.Burst)
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
