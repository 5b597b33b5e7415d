package content

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"github.com/opencontainers/go-digest"
)

func TestFlushesComeAtAnIntervalAndOnceAfterTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan struct{})
		flushes := 0
		go func() {
			defer close(done)
			flushEvery(ctx, time.Minute, func(ctx context.Context) {
				flushes++
				if ctx.Err() != nil {
					t.Error("a flush whose context has ended")
				}
			})
		}()
		time.Sleep(3*time.Minute + time.Second)
		synctest.Wait()
		if flushes != 3 {
			t.Errorf("%d flushes in three minutes", flushes)
		}
		stop()
		<-done
		if flushes != 4 {
			t.Errorf("%d flushes after the end, want 4", flushes)
		}
	})
}

func TestNotedPullsAreBounded(t *testing.T) {
	var p pulls
	repository := uuid.Must(uuid.NewV7())
	first := manifestKey{repository, digest.FromString("first")}
	p.note(first, 1)
	for i := range 2 * maxPulls {
		p.note(manifestKey{uuid.Must(uuid.NewV7()), first.digest}, int64(i+1))
	}
	p.note(first, 7)
	p.note(first, 3)
	taken := p.take()
	if len(taken) != maxPulls || taken[first] != 7 {
		t.Errorf("%d noted, the first at %d; want %d and 7", len(taken), taken[first], maxPulls)
	}
	if len(p.take()) != 0 {
		t.Error("what was taken is still there")
	}
}
