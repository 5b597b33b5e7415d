package gc

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/berthregistry/berth/internal/database"
	"github.com/berthregistry/berth/internal/storage"
)

const (
	// maxFailures is how often in a row a phase waits for what does not answer before it is left to the next run.
	maxFailures = 4
	// backOffFirst is the first such wait; each further one is twice as long.
	backOffFirst = 250 * time.Millisecond
	// longestRest bounds what one slow step makes of a pause.
	longestRest = 30 * time.Second
)

// isPassing tells whether the same step may succeed by itself later.
func isPassing(err error) bool {
	return errors.Is(err, database.ErrUnavailable) || errors.Is(err, storage.ErrUnavailable)
}

// pacer spreads work out. A step that takes long because the database is busy makes the pause after it longer.
type pacer struct {
	pause time.Duration
	load  int
}

// rest waits so long that the work is the wanted part of the time.
func (p pacer) rest(ctx context.Context, worked time.Duration) error {
	pause := min(worked*time.Duration(100-p.load)/time.Duration(p.load), longestRest)
	return wait(ctx, max(pause, p.pause))
}

// backOff waits after a failure.
func (p pacer) backOff(ctx context.Context, failures int) error {
	return wait(ctx, backOffFirst<<(failures-1))
}

func wait(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err() //nolint:wrapcheck // by drain's callers
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("between steps: %w", ctx.Err())
	}
}
