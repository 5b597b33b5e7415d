package webhooks

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/berthregistry/berth/internal/rounds"
)

const (
	// lookInterval is about how often a replica looks for events when there are none.
	lookInterval = time.Second
	// tidyInterval is about how often it removes old ones, and sampleInterval how often it counts those that wait.
	tidyInterval   = 10 * time.Minute
	sampleInterval = 30 * time.Second
	// maxRounds bounds how long a webhook is served before others have their turn.
	maxRounds      = 25
	releaseTimeout = 5 * time.Second
)

// errLost says that the webhook is no longer this replica's to serve.
var errLost = errors.New("the lease has ended")

// Run delivers until ctx ends. It returns nil: what fails is logged and tried again. Any number of replicas may run at
// once.
func (s *Service) Run(ctx context.Context) error {
	var work sync.WaitGroup
	work.Go(func() { s.every(ctx, tidyInterval, "remove old events", s.Tidy) })
	work.Go(func() { s.every(ctx, sampleInterval, "count waiting events", s.Sample) })
	rounds.EveryOr(ctx, lookInterval, s.wake, func(ctx context.Context) {
		for n, err := 1, error(nil); n > 0 && err == nil; {
			if n, err = s.start(ctx, &work); err != nil && ctx.Err() == nil {
				s.Logger.WarnContext(ctx, "deliver events", slog.String("error", err.Error()))
			}
		}
	})
	work.Wait()
	s.client.CloseIdleConnections()
	return nil
}

func (s *Service) every(ctx context.Context, interval time.Duration, what string, do func(context.Context) error) {
	rounds.Every(ctx, interval, func(ctx context.Context) {
		if err := do(ctx); err != nil && ctx.Err() == nil {
			s.Logger.WarnContext(ctx, "webhooks", slog.String("work", what), slog.String("error", err.Error()))
		}
	})
}

// Dispatch does what Run does, until nothing is due that it may take.
func (s *Service) Dispatch(ctx context.Context) error {
	for {
		var work sync.WaitGroup
		n, err := s.start(ctx, &work)
		work.Wait()
		if err != nil || n == 0 {
			return err
		}
	}
}

// start takes as many webhooks as there are slots for, and serves them in the background. It waits for the first slot.
func (s *Service) start(ctx context.Context, work *sync.WaitGroup) (int, error) {
	free := s.acquire(ctx)
	if free == 0 {
		return 0, nil // ctx has ended
	}
	taken, err := s.claim(ctx, free)
	for range free - len(taken) {
		<-s.slots
	}
	for _, h := range taken {
		s.shares.take(h.owner)
		work.Go(func() {
			defer s.give(h)
			if err := s.serve(ctx, h); err != nil && ctx.Err() == nil {
				s.Logger.WarnContext(ctx, "deliver events", slog.String("webhook", h.id.String()), slog.String("error", err.Error()))
			}
		})
	}
	return len(taken), err
}

// acquire takes all free slots, and waits until there is one.
func (s *Service) acquire(ctx context.Context) int {
	select {
	case s.slots <- struct{}{}:
	case <-ctx.Done():
		return 0
	}
	n := 1
	for {
		select {
		case s.slots <- struct{}{}:
			n++
		default:
			return n
		}
	}
}

// give ends the use of a slot. Where its owner had no other to be had, what else is to be sent for it may go on.
func (s *Service) give(h *claimed) {
	waiting := s.shares.give(h.owner)
	<-s.slots
	if waiting {
		s.look()
	}
}

// look lets Run look for events without waiting.
func (s *Service) look() {
	select {
	case s.wake <- struct{}{}:
	default: // it is about to
	}
}

// serve sends what a webhook is to get, round by round, and gives it back. After a round in which nothing arrived others have
// their turn: receivers that let every attempt wait for its timeout must not hold all slots.
func (s *Service) serve(ctx context.Context, h *claimed) (err error) {
	defer func() { err = errors.Join(err, s.release(ctx, h)) }()
	for range maxRounds {
		round, err := s.load(ctx, h)
		if errors.Is(err, errLost) {
			return nil
		}
		if err != nil || len(round) == 0 {
			return err
		}
		results := s.sendAll(ctx, h, round)
		if err := s.settle(ctx, h, results); err != nil || !slices.ContainsFunc(results, result.delivered) {
			return err
		}
	}
	return nil
}

// sendAll makes one attempt for each event of a round, at the same time: they are of different objects.
func (s *Service) sendAll(ctx context.Context, h *claimed, round []*due) []result {
	results := make([]result, len(round))
	var sending sync.WaitGroup
	for i, e := range round {
		sending.Go(func() { results[i] = s.send(ctx, h, e) })
	}
	sending.Wait()
	return results
}
