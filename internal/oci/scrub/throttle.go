package scrub

import (
	"context"
	"time"
)

// throttle spreads reading out to a number of bytes a second.
type throttle struct {
	rate  int64 // 0: any number
	clock func() time.Time
	sleep func(context.Context, time.Duration) error
	free  time.Time // when what was read so far is paid for
}

// slack is what may be saved up while nothing is read.
const slack = time.Second

// pay waits for so long that n more bytes keep to the rate.
func (t *throttle) pay(ctx context.Context, n int) error {
	if t.rate <= 0 {
		return ctx.Err() //nolint:wrapcheck // by the callers
	}
	now := t.clock()
	if earliest := now.Add(-slack); t.free.Before(earliest) {
		t.free = earliest
	}
	t.free = t.free.Add(time.Duration(float64(n) / float64(t.rate) * float64(time.Second)))
	return t.sleep(ctx, t.free.Sub(now))
}
