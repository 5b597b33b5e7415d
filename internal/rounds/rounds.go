// Package rounds repeats what a replica does by itself in the background, so that replicas which start together do not
// go on together.
package rounds

import (
	"context"
	"math/rand/v2"
	"time"
)

// Every does a round at once, and then again and again until ctx ends, with pauses of half to one and a half of the
// interval, drawn at random. A round that wants to end early looks at its context.
func Every(ctx context.Context, interval time.Duration, round func(context.Context)) {
	EveryOr(ctx, interval, nil, round)
}

// EveryOr is Every that also ends a pause when it receives from wake, which may be nil.
func EveryOr(ctx context.Context, interval time.Duration, wake <-chan struct{}, round func(context.Context)) {
	for ctx.Err() == nil {
		round(ctx)
		pause := interval / 2
		if interval > 0 {
			pause += rand.N(interval)
		}
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
		case <-wake:
		case <-timer.C:
		}
		timer.Stop()
	}
}
