package ratelimit_test

import (
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/berthregistry/berth/internal/ratelimit"
)

func TestAddressesHaveAPartOfTheLimits(t *testing.T) {
	t.Parallel()
	c := newClock()
	l := newLimiter(t, ratelimit.Config{Limits: all(600, 100), Clock: c.Now, Anonymous: 0.25})
	address, user := ratelimit.Address("192.0.2.1"), ratelimit.User(uuid.New())
	if n := taken(t.Context(), l, ratelimit.Write, address, 200); n != 25 {
		t.Errorf("an address: %d of 200", n)
	}
	if n := taken(t.Context(), l, ratelimit.Write, user, 200); n != 100 {
		t.Errorf("a user: %d of 200", n)
	}
	c.add(time.Second)
	if n := taken(t.Context(), l, ratelimit.Write, address, 200); n != 2 {
		t.Errorf("an address after a second: %d", n)
	}
	if whole := l.LimitsOf(address); whole.Write.Burst != 25 || whole.Login.Burst != 100 {
		t.Errorf("limits of an address: %+v", whole)
	}
}

func TestWhatIsLeftOfABucket(t *testing.T) {
	t.Parallel()
	c, key := newClock(), ratelimit.User(uuid.New())
	l := newLimiter(t, ratelimit.Config{Limits: all(60, 10), Clock: c.Now, Replicas: 2})
	taken(t.Context(), l, ratelimit.API, key, 3)
	if left, limited := l.Left(ratelimit.API, key); left != 2 || !limited {
		t.Errorf("left %d, %t", left, limited)
	}
	if left, _ := l.Left(ratelimit.Read, key); left != 5 {
		t.Errorf("left %d of a bucket that nobody has taken from", left)
	}
	if whole := l.LimitsOf(key); whole.API.Burst != 10 {
		t.Errorf("limits %+v", whole)
	}
	l.Override(map[ratelimit.Key]ratelimit.Override{key: {API: &ratelimit.Limit{PerMinute: 600, Burst: 100}}})
	if left, _ := l.Left(ratelimit.API, key); left != 2 {
		t.Errorf("an override filled the bucket: %d", left)
	}
	if whole := l.LimitsOf(key); whole.API.Burst != 100 || whole.Read.Burst != 10 {
		t.Errorf("limits %+v", whole)
	}
	var none *ratelimit.Limiter
	none.Override(nil)
	if _, limited := none.Left(ratelimit.API, key); limited || none.LimitsOf(key) != (ratelimit.Limits{}) {
		t.Error("no limiter limits")
	}
}

func TestStatsCountWhatWasDropped(t *testing.T) {
	t.Parallel()
	c := newClock()
	l := newLimiter(t, ratelimit.Config{Limits: all(60, 1), Clock: c.Now, Keys: ratelimit.MinKeys})
	for range 200 {
		taken(t.Context(), l, ratelimit.Read, ratelimit.User(uuid.New()), 2)
		c.add(time.Second)
	}
	stats := l.Stats()
	read := stats.Classes[ratelimit.Read]
	if stats.Keys > ratelimit.MinKeys/2 || stats.Evicted != 200-uint64(stats.Keys) || read.Allowed != 200 || read.Limited != 200 {
		t.Errorf("%+v", stats)
	}
}
