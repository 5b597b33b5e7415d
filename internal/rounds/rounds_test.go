package rounds_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/berthregistry/berth/internal/rounds"
)

func TestRoundsAreSpread(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		var times []time.Time
		rounds.Every(ctx, time.Minute, func(context.Context) {
			times = append(times, time.Now())
			if len(times) == 50 {
				cancel()
			}
		})
		if len(times) != 50 {
			t.Fatalf("%d rounds after the end of the context at the 50th", len(times))
		}
		pauses := map[time.Duration]bool{}
		for i := 1; i < len(times); i++ {
			pause := times[i].Sub(times[i-1])
			if pause < 30*time.Second || pause >= 90*time.Second {
				t.Errorf("a pause of %s", pause)
			}
			pauses[pause] = true
		}
		if len(pauses) < 40 {
			t.Errorf("only %d different pauses of %d", len(pauses), len(times)-1)
		}
	})
}

func TestWakingEndsAPause(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		wake := make(chan struct{}, 1)
		start := time.Now()
		n := 0
		rounds.EveryOr(ctx, time.Hour, wake, func(context.Context) {
			if n++; n == 3 {
				cancel()
				return
			}
			wake <- struct{}{}
		})
		if n != 3 || time.Since(start) != 0 {
			t.Errorf("%d rounds in %s, want 3 at once", n, time.Since(start))
		}
	})
}

func TestAnEndedContextHasNoRound(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	rounds.Every(ctx, time.Hour, func(context.Context) { t.Error("a round after the end") })
}
