package recent_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/berthregistry/berth/internal/recent"
)

const ttl = 4 * time.Second

func newCache(t testing.TB, size int) *recent.Cache[string, int] {
	t.Helper()
	c, err := recent.New[string, int](size, ttl, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// counter is a load that answers 1, 2, 3 and so on.
type counter struct{ n atomic.Int64 }

func (c *counter) load(context.Context) (int, error) { return int(c.n.Add(1)), nil }

func get(t *testing.T, c *recent.Cache[string, int], load func(context.Context) (int, error)) int {
	t.Helper()
	v, err := c.Get(t.Context(), "key", load)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestAnAnswerLivesForItsTTL(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, source := newCache(t, 10), &counter{}
		for _, step := range []struct {
			wait time.Duration
			want int
		}{{0, 1}, {ttl - 1, 1}, {1, 2}, {ttl, 3}, {time.Second, 3}} {
			time.Sleep(step.wait)
			if got := get(t, c, source.load); got != step.want {
				t.Errorf("after %s more: %d, want %d", step.wait, got, step.want)
			}
		}
	})
}

func TestTheTTLCountsFromTheQuestion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, source := newCache(t, 10), &counter{}
		slow := func(ctx context.Context) (int, error) {
			time.Sleep(3 * time.Second)
			return source.load(ctx)
		}
		get(t, c, slow)
		time.Sleep(time.Second - 1)
		if got := get(t, c, source.load); got != 1 {
			t.Errorf("%d just before the end, want 1", got)
		}
		time.Sleep(time.Nanosecond)
		if got := get(t, c, source.load); got != 2 {
			t.Errorf("%d at the end, want 2", got)
		}
	})
}

func TestASlowAnswerIsNotKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, source := newCache(t, 10), &counter{}
		get(t, c, func(ctx context.Context) (int, error) {
			time.Sleep(2 * ttl)
			return source.load(ctx)
		})
		time.Sleep(time.Nanosecond)
		if got := get(t, c, source.load); got != 2 {
			t.Errorf("%d, want 2", got)
		}
	})
}

func TestErrorsAreNotKept(t *testing.T) {
	c, source := newCache(t, 10), &counter{}
	down := errors.New("down")
	if _, err := c.Get(t.Context(), "key", func(context.Context) (int, error) { return 7, down }); !errors.Is(err, down) {
		t.Errorf("error %v", err)
	}
	if got := get(t, c, source.load); got != 1 {
		t.Errorf("%d, want 1", got)
	}
}

func TestAHerdAsksOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, source := newCache(t, 10), &counter{}
		var wg sync.WaitGroup
		for range 100 {
			wg.Go(func() {
				if got := get(t, c, func(ctx context.Context) (int, error) {
					time.Sleep(time.Second)
					return source.load(ctx)
				}); got != 1 {
					t.Errorf("%d, want 1", got)
				}
			})
		}
		wg.Wait()
	})
}

// A caller that gives up must not make the ones that wait with it fail.
func TestAWaiterOutlivesTheCallerThatAsks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, source := newCache(t, 10), &counter{}
		load := func(ctx context.Context) (int, error) {
			select {
			case <-ctx.Done():
				return 0, ctx.Err()
			case <-time.After(2 * time.Second):
				return source.load(ctx)
			}
		}
		short, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		var wg sync.WaitGroup
		wg.Go(func() {
			if _, err := c.Get(short, "key", load); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("error %v", err)
			}
		})
		synctest.Wait()
		wg.Go(func() { get(t, c, load) })
		wg.Wait()
	})
}

// What is created while another caller is told that it is missing must not be missing for its creator.
func TestAnAbsenceIsNotSharedWithThoseWhoCameLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache(t, 10)
		absent := errors.New("absent")
		var exists atomic.Bool
		var asked atomic.Int64
		load := func(context.Context) (int, error) {
			asked.Add(1)
			found := exists.Load()
			time.Sleep(time.Second)
			if !found {
				return 0, absent
			}
			return 1, nil
		}
		var wg sync.WaitGroup
		wg.Go(func() {
			if _, err := c.Get(t.Context(), "key", load); !errors.Is(err, absent) {
				t.Errorf("error %v", err)
			}
		})
		synctest.Wait()
		exists.Store(true)
		for range 100 {
			wg.Go(func() { get(t, c, load) })
		}
		wg.Wait()
		if asked.Load() != 2 {
			t.Errorf("asked %d times, want 2", asked.Load())
		}
	})
}

func TestForgetReachesAnAnswerThatIsOnItsWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, source := newCache(t, 10), &counter{}
		var wg sync.WaitGroup
		wg.Go(func() {
			get(t, c, func(ctx context.Context) (int, error) {
				v, err := source.load(ctx)
				time.Sleep(time.Second)
				return v, err
			})
		})
		synctest.Wait()
		c.Forget("key")
		wg.Wait()
		if got := get(t, c, source.load); got < 2 {
			t.Error("the answer from before Forget was kept")
		}
	})
}

func TestTheSizeIsBounded(t *testing.T) {
	c, source := newCache(t, 10), &counter{}
	for i := range 10_000 {
		if _, err := c.Get(t.Context(), string(rune(i)), source.load); err != nil {
			t.Fatal(err)
		}
	}
	kept := 0
	for i := range 10_000 {
		if v, _ := c.Get(t.Context(), string(rune(i)), func(context.Context) (int, error) {
			return 0, context.Canceled
		}); v != 0 {
			kept++
		}
	}
	if kept > 100 { // what is written last may be evicted a little later
		t.Errorf("%d answers kept", kept)
	}
}

func TestANewCacheNeedsALimit(t *testing.T) {
	if _, err := recent.New[string, int](0, ttl, time.Now); err == nil {
		t.Error("size 0 accepted")
	}
	if _, err := recent.New[string, int](1, 0, time.Now); err == nil {
		t.Error("life 0 accepted")
	}
}

func BenchmarkHit(b *testing.B) {
	c, source := newCache(b, 10), &counter{}
	for b.Loop() {
		if _, err := c.Get(b.Context(), "key", source.load); err != nil {
			b.Fatal(err)
		}
	}
}
