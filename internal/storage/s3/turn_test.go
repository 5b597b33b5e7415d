package s3

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/berthregistry/berth/internal/storage"
)

// TestTurns: whoever waits for a place to send waits as long as others are done now and then, and no longer than the idle
// timeout when none is.
func TestTurns(t *testing.T) {
	const idle = 20 * time.Second
	for name, tt := range map[string]struct {
		sent, free, want time.Duration // when others are done, every so often; when a place is free; when the wait ends
		err              error
	}{
		"a free place in time":        {sent: time.Hour, free: 10 * time.Second, want: 10 * time.Second},
		"a server that hangs":         {sent: time.Hour, free: time.Hour, want: idle, err: storage.ErrUnavailable},
		"a server that is slow":       {sent: 15 * time.Second, free: 2 * time.Minute, want: 2 * time.Minute},
		"a server that is too slow":   {sent: 25 * time.Second, free: time.Hour, want: idle, err: storage.ErrUnavailable},
		"a caller that does not wait": {sent: time.Second, free: time.Hour, want: 3 * time.Minute, err: context.DeadlineExceeded},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &Store{options: Options{IdleTimeout: idle}, puts: make(chan struct{}, maxPuts)}
				for range maxPuts {
					s.puts <- struct{}{}
				}
				ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
				defer cancel()
				go func() {
					for tick := time.Tick(tt.sent); ; {
						select {
						case <-tick:
							now := time.Now()
							s.sent.Store(&now)
						case <-ctx.Done():
							return
						}
					}
				}()
				time.AfterFunc(tt.free, func() { <-s.puts })
				began := time.Now()
				if err := s.takeTurn(ctx, "2026-01-02/a/b"); !errors.Is(err, tt.err) || time.Since(began) != tt.want {
					t.Errorf("after %s: %v, want %v after %s", time.Since(began), err, tt.err, tt.want)
				}
			})
		})
	}
}
