package ratelimit_test

import (
	"context"
	"errors"
	"math"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"pgregory.net/rapid"

	"github.com/berthregistry/berth/internal/ratelimit"
	"github.com/berthregistry/berth/internal/telemetry/reqlog"
)

// clock is a time that tests move.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *clock { return &clock{now: time.Unix(1_700_000_000, 0)} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// all is the same limit in every class.
func all(perMinute, burst int) ratelimit.Limits {
	one := ratelimit.Limit{PerMinute: perMinute, Burst: burst}
	return ratelimit.Limits{Token: one, Read: one, Write: one, API: one, Login: one}
}

func newLimiter(tb interface{ Fatal(args ...any) }, cfg ratelimit.Config) *ratelimit.Limiter {
	if cfg.Keys == 0 {
		cfg.Keys = 1000
	}
	l, err := ratelimit.New(cfg)
	if err != nil {
		tb.Fatal(err)
	}
	return l
}

// taken is how many of n requests were let through.
func taken(ctx context.Context, l *ratelimit.Limiter, class ratelimit.Class, key ratelimit.Key, n int) int {
	let := 0
	for range n {
		if l.Take(ctx, class, key) == nil {
			let++
		}
	}
	return let
}

func TestABucketHasItsBurstAndRefills(t *testing.T) {
	t.Parallel()
	c := newClock()
	l := newLimiter(t, ratelimit.Config{Limits: all(60, 10), Clock: c.Now})
	key := ratelimit.User(uuid.New())
	if n := taken(t.Context(), l, ratelimit.Read, key, 20); n != 10 {
		t.Fatalf("%d of 20 at once, want 10", n)
	}
	c.add(3 * time.Second)
	if n := taken(t.Context(), l, ratelimit.Read, key, 20); n != 3 {
		t.Errorf("%d after 3 s at one a second, want 3", n)
	}
	c.add(time.Hour)
	if n := taken(t.Context(), l, ratelimit.Read, key, 20); n != 10 {
		t.Errorf("%d after an hour, want the burst", n)
	}
	c.add(-time.Hour)
	c.add(time.Hour)
	if n := taken(t.Context(), l, ratelimit.Read, key, 20); n != 0 {
		t.Errorf("%d after the clock went back and on", n)
	}
}

func TestTheClockGoingBackGivesNothing(t *testing.T) {
	t.Parallel()
	c := newClock()
	l := newLimiter(t, ratelimit.Config{Limits: all(60, 10), Clock: c.Now})
	key := ratelimit.User(uuid.New())
	n := taken(t.Context(), l, ratelimit.Read, key, 1)
	for range 20 {
		c.add(-5 * time.Second)
		n += taken(t.Context(), l, ratelimit.Read, key, 1)
		c.add(5 * time.Second)
		n += taken(t.Context(), l, ratelimit.Read, key, 1)
	}
	if n != 10 {
		t.Errorf("%d at one moment, want 10", n)
	}
}

func TestARefusalSaysHowLongToWait(t *testing.T) {
	t.Parallel()
	c := newClock()
	for _, tt := range []struct {
		perMinute int
		want      string
	}{{6, "10"}, {7, "9"}, {60, "1"}, {6000, "1"}} {
		l := newLimiter(t, ratelimit.Config{Limits: all(tt.perMinute, 1), Clock: c.Now})
		key := ratelimit.User(uuid.New())
		err := errors.Join(l.Take(t.Context(), ratelimit.API, key), l.Take(t.Context(), ratelimit.API, key))
		limited, ok := errors.AsType[*ratelimit.Error](err)
		if !ok || limited.Class != ratelimit.API || limited.RetryAfter() != tt.want {
			t.Errorf("%d a minute: %v, want to wait %s s", tt.perMinute, err, tt.want)
			continue
		}
		c.add(limited.Wait)
		if err := l.Take(t.Context(), ratelimit.API, key); err != nil {
			t.Errorf("%d a minute: after waiting %v", tt.perMinute, err)
		}
	}
}

func TestWhoSharesABucket(t *testing.T) {
	t.Parallel()
	id, other := uuid.New(), uuid.New()
	for _, tt := range []struct {
		name          string
		first, second ratelimit.Key
		shared        bool
	}{
		{"two users", ratelimit.User(id), ratelimit.User(other), false},
		{"a user and a project of one ID", ratelimit.User(id), ratelimit.Project(id), false},
		{"a project and a runner of one ID", ratelimit.Project(other), ratelimit.Runner(other), false},
		{"IPv4", ratelimit.Address("192.0.2.1"), ratelimit.Address("192.0.2.2"), false},
		{"mapped IPv4", ratelimit.Address("192.0.2.3"), ratelimit.Address("::ffff:192.0.2.3"), true},
		{"two mapped IPv4", ratelimit.Address("::ffff:192.0.2.4"), ratelimit.Address("::ffff:192.0.2.5"), false},
		{"one /64", ratelimit.Address("2001:db8:0:1::1"), ratelimit.Address("2001:db8:0:1:ffff::2"), true},
		{"two /64", ratelimit.Address("2001:db8:0:2::1"), ratelimit.Address("2001:db8:0:3::1"), false},
		{"zones", ratelimit.Address("fe80::1%eth0"), ratelimit.Address("fe80::1%eth1"), true},
		{"no addresses", ratelimit.Address(""), ratelimit.Address("unknown"), true},
		{"a port", ratelimit.Address("192.0.2.6:80"), ratelimit.AddressOf(t.Context()), true},
		{"none and the unspecified one", ratelimit.Address(""), ratelimit.Address("0.0.0.0"), false},
		{"accounts", ratelimit.Account("a@b.example"), ratelimit.Account("b@b.example"), false},
	} {
		l := newLimiter(t, ratelimit.Config{Limits: all(1, 1), Clock: newClock().Now})
		if err := l.Take(t.Context(), ratelimit.Read, tt.first); err != nil {
			t.Errorf("%s: the first: %v", tt.name, err)
		}
		if err := l.Take(t.Context(), ratelimit.Read, tt.second); (err != nil) != tt.shared {
			t.Errorf("%s: the second: %v, want shared: %t", tt.name, err, tt.shared)
		}
	}
}

func TestClassesAreApartAndReplicasDivide(t *testing.T) {
	t.Parallel()
	limits := ratelimit.Limits{
		Token: ratelimit.Limit{PerMinute: 60, Burst: 30}, Read: ratelimit.Limit{PerMinute: 60, Burst: 20},
		Write: ratelimit.Limit{PerMinute: 60, Burst: 2}, API: ratelimit.Limit{Burst: 5},
	}
	c := newClock()
	l := newLimiter(t, ratelimit.Config{Limits: limits, Replicas: 5, Clock: c.Now})
	key := ratelimit.Project(uuid.New())
	for class, want := range map[ratelimit.Class]int{
		ratelimit.Token: 6, ratelimit.Read: 4, ratelimit.Write: 1, ratelimit.API: 50, ratelimit.LoginAccount: 50,
	} {
		if n := taken(t.Context(), l, class, key, 50); n != want {
			t.Errorf("%s: %d of 50, want %d", class, n, want)
		}
	}
	c.add(20 * time.Second) // at 12 a minute
	if n := taken(t.Context(), l, ratelimit.Read, key, 50); n != 4 {
		t.Errorf("%d after 20 s, want 4", n)
	}
}

func TestDryRunOnlyCountsAndLogs(t *testing.T) {
	t.Parallel()
	l := newLimiter(t, ratelimit.Config{Limits: all(1, 3), DryRun: true, Clock: newClock().Now})
	ctx, record := reqlog.New(t.Context(), "id")
	if n := taken(ctx, l, ratelimit.Write, ratelimit.User(uuid.New()), 10); n != 10 {
		t.Errorf("%d of 10", n)
	}
	count := l.Stats().Classes[ratelimit.Write]
	if count.Allowed != 3 || count.Limited != 7 || len(record.Attrs()) != 1 || record.Attrs()[0].Key != reqlog.OverLimit {
		t.Errorf("counted %+v, logged %v", count, record.Attrs())
	}
}

func TestNothingIsLimitedWithoutALimiter(t *testing.T) {
	t.Parallel()
	var l *ratelimit.Limiter
	login, err := l.BeginLogin(t.Context(), ratelimit.Account("a"))
	if err != nil {
		t.Fatal(err)
	}
	login.Succeeded()
	l.FailedLogin(t.Context(), ratelimit.Account("a"))
	if err := errors.Join(l.CheckLogin(t.Context(), ratelimit.Account("a")), l.Take(t.Context(), ratelimit.Read, ratelimit.Key{})); err != nil {
		t.Error(err)
	}
	if keys := l.Stats().Keys; keys != 0 {
		t.Errorf("%d keys", keys)
	}
}

func TestAnOverrideHoldsAtOnceAndFillsNothing(t *testing.T) {
	t.Parallel()
	c, key := newClock(), ratelimit.User(uuid.New())
	l := newLimiter(t, ratelimit.Config{Limits: all(60, 10), Clock: c.Now})
	if n := taken(t.Context(), l, ratelimit.Read, key, 100); n != 10 {
		t.Fatalf("%d of 100", n)
	}
	l.Override(map[ratelimit.Key]ratelimit.Override{key: {Read: &ratelimit.Limit{PerMinute: 180, Burst: 30}}})
	if n := taken(t.Context(), l, ratelimit.Read, key, 100); n != 0 {
		t.Errorf("an override filled the bucket: %d", n)
	}
	c.add(5 * time.Second)
	if n := taken(t.Context(), l, ratelimit.Read, key, 100); n != 15 {
		t.Errorf("%d after 5 s at three a second", n)
	}
	c.add(time.Hour)
	if n := taken(t.Context(), l, ratelimit.Read, key, 100); n != 30 {
		t.Errorf("%d, want the burst of the override", n)
	}
	if n := taken(t.Context(), l, ratelimit.Read, ratelimit.User(uuid.New()), 100); n != 10 {
		t.Errorf("another one has %d", n)
	}
	if n := taken(t.Context(), l, ratelimit.Write, key, 100); n != 10 {
		t.Errorf("another class has %d", n)
	}
	l.Override(map[ratelimit.Key]ratelimit.Override{key: {Read: &ratelimit.Limit{}}})
	if n := taken(t.Context(), l, ratelimit.Read, key, 100); n != 100 {
		t.Errorf("%d without a limit", n)
	}
	if n := l.Stats().Overrides; n != 1 {
		t.Errorf("%d overrides", n)
	}
	l.Override(nil) // and the bucket is as empty as the override had found it
	if n := taken(t.Context(), l, ratelimit.Read, key, 100); n != 0 {
		t.Errorf("taking an override away filled the bucket: %d", n)
	}
}

func TestLoginsThatFail(t *testing.T) {
	t.Parallel()
	c := newClock()
	l := newLimiter(t, ratelimit.Config{Limits: all(6, 2), Clock: c.Now})
	at := func(address string) context.Context { return ratelimit.WithAddress(t.Context(), address) }
	account := ratelimit.Account("a@b.example")
	for range 100 { // those that succeed are free
		login, err := l.BeginLogin(at("192.0.2.1"), account)
		if err = errors.Join(err, l.CheckLogin(at("192.0.2.1"), account)); err != nil {
			t.Fatal(err)
		}
		login.Succeeded()
	}
	for i, address := range []string{"192.0.2.1", "192.0.2.2", "192.0.2.3"} { // of one account, wherever from
		_, err := l.BeginLogin(at(address), account)
		if (err == nil) != (i < 2) || (l.CheckLogin(at(address), account) == nil) != (i < 1) {
			t.Errorf("attempt %d: %v", i, err)
		}
	}
	if err := l.CheckLogin(at("192.0.2.3"), ratelimit.Account("other")); err != nil {
		t.Errorf("another account from an address that only met a refusal: %v", err)
	}
	let := 0
	for i := range 100 { // from one address, whatever the account; one attempt has failed already
		guess := ratelimit.Account(string(rune('a' + i)))
		if l.CheckLogin(at("192.0.2.1"), guess) == nil {
			let++
			l.FailedLogin(at("192.0.2.1"), guess)
		}
	}
	if want := 2*ratelimit.AddressFactor - 1; let != want {
		t.Errorf("%d accounts tried from one address, want %d", let, want)
	}
	c.add(10 * time.Second)
	if _, err := l.BeginLogin(at("192.0.2.9"), account); err != nil {
		t.Errorf("after the wait: %v", err)
	}
	if err := l.CheckLogin(ratelimit.Exempt(at("192.0.2.9")), account); err != nil {
		t.Errorf("an upload that has begun: %v", err)
	}
}

func TestAttemptsAtTheSameTimeDoNotGetPastTheLimit(t *testing.T) {
	t.Parallel()
	l := newLimiter(t, ratelimit.Config{Limits: all(1, 4), Clock: newClock().Now})
	var group sync.WaitGroup
	begun := make(chan struct{}, 100)
	for range 100 {
		group.Go(func() {
			if _, err := l.BeginLogin(t.Context(), ratelimit.Account("a")); err == nil {
				begun <- struct{}{}
			}
		})
	}
	group.Wait()
	if len(begun) != 4 {
		t.Errorf("%d attempts at once, want 4", len(begun))
	}
}

// TestNoFloodResetsABucket: whoever else comes, no key is ever let through more often than its limit says, and those in
// memory never exceed the bound.
func TestNoFloodResetsABucket(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		const perMinute, burst = 60, 5
		c := newClock()
		l := newLimiter(t, ratelimit.Config{Limits: all(perMinute, burst), Keys: ratelimit.MinKeys, Clock: c.Now}) // one bucket a shard
		keys := make([]ratelimit.Key, 150)
		for i := range keys {
			keys[i] = ratelimit.User(uuid.UUID{byte(i)})
		}
		type history struct{ tokens, last float64 }
		allowed := map[int]*history{} // the fullest bucket that each key may have
		elapsed := 0.0
		for range rapid.IntRange(1, 800).Draw(t, "steps") {
			wait := rapid.SampledFrom([]int{0, 0, 0, 0, 10, 300, 2000, 20_000}).Draw(t, "wait")
			c.add(time.Duration(wait) * time.Millisecond)
			elapsed += float64(wait) / 1000
			i := rapid.IntRange(0, len(keys)-1).Draw(t, "key")
			if rapid.Bool().Draw(t, "favourite") {
				i %= 3
			}
			h := allowed[i]
			if h == nil {
				h = &history{tokens: burst}
				allowed[i] = h
			}
			h.tokens = math.Min(burst, h.tokens+(elapsed-h.last)*perMinute/60)
			h.last = elapsed
			if l.Take(context.Background(), ratelimit.Read, keys[i]) == nil {
				h.tokens--
			}
			if h.tokens < -1e-6 {
				t.Fatalf("key %d got more than its limit", i)
			}
			if n := l.Stats().Keys; n > ratelimit.MinKeys {
				t.Fatalf("%d buckets", n)
			}
		}
	})
}

func TestAFloodOfAddressesSharesAndCostsNoUserAnything(t *testing.T) {
	t.Parallel()
	c := newClock()
	l := newLimiter(t, ratelimit.Config{Limits: all(60, 10), Keys: 1000, Clock: c.Now})
	let := 0
	for i := range 100_000 {
		if l.Take(t.Context(), ratelimit.Read, ratelimit.Key{ID: [16]byte{1, byte(i >> 16), byte(i >> 8), byte(i)}}) == nil {
			let++
		}
	}
	if stats := l.Stats(); stats.Keys > 1000 || let > 500+32*10 || stats.Classes[ratelimit.Read].Shared < 90_000 {
		t.Errorf("%d let through, %+v", let, stats)
	}
	if n := taken(t.Context(), l, ratelimit.Read, ratelimit.User(uuid.New()), 20); n != 10 {
		t.Errorf("a user among the flood: %d, want 10", n)
	}
	c.add(time.Minute)
	if n := taken(t.Context(), l, ratelimit.Read, ratelimit.Address("192.0.2.1"), 20); n != 10 {
		t.Errorf("an address after the flood: %d, want 10", n)
	}
}

func TestRefusesWhatCannotWork(t *testing.T) {
	t.Parallel()
	for _, cfg := range []ratelimit.Config{{}, {Keys: ratelimit.MinKeys - 1}, {Keys: 1000, Replicas: -1}} {
		if _, err := ratelimit.New(cfg); err == nil {
			t.Errorf("%+v works", cfg)
		}
	}
}

func TestScaled(t *testing.T) {
	t.Parallel()
	limits := ratelimit.Limits{Read: ratelimit.Limit{PerMinute: 10, Burst: 3}, Write: ratelimit.Limit{Burst: 9}}
	want := ratelimit.Limits{Read: ratelimit.Limit{PerMinute: 5, Burst: 1}}
	if got := limits.Scaled(0.5); got != want {
		t.Errorf("%+v", got)
	}
	if got := limits.Scaled(0); got.Read != (ratelimit.Limit{PerMinute: 1, Burst: 1}) {
		t.Errorf("times nothing: %+v", got)
	}
}
