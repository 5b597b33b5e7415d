package main

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/berthregistry/berth/test/crash/faults"
)

const (
	faultGap   = 700 * time.Millisecond // between two faults at most
	longPause  = 17 * time.Second       // outlasts the lease of an upload session
	longOneIn  = 40
	mostDelay  = 150 * time.Millisecond
	mostFault  = time.Second
	mostAnswer = 4 // halved, slowed down or lost by one fault
)

// fail makes one thing after the other fail for a while, until ctx ends; then nothing fails any more.
func (h *harness) fail(ctx context.Context, random *rand.Rand) {
	var pauses sync.WaitGroup
	defer pauses.Wait()
	defer func() {
		for _, r := range h.replicas {
			r.heal()
		}
	}()
	for wait(ctx, time.Duration(random.Int64N(int64(faultGap)))) {
		r := h.replicas[random.IntN(len(h.replicas))]
		length := time.Duration(random.Int64N(int64(mostFault)))
		if r.postgres == nil || random.IntN(8) == 0 {
			if random.IntN(longOneIn) == 0 && h.o.large {
				length = longPause
			}
			h.stats.fault("a replica is paused")
			pauses.Go(func() { r.pause(ctx, length) })
			continue
		}
		if random.IntN(2) == 0 {
			h.failDatabase(ctx, r.postgres, random, length)
		} else {
			h.failStorage(ctx, r.s3, random, length)
		}
	}
}

func (r *replica) heal() {
	if r.postgres != nil {
		r.postgres.Heal()
		r.s3.Heal()
	}
}

func (h *harness) failDatabase(ctx context.Context, p *faults.Postgres, random *rand.Rand, length time.Duration) {
	switch random.IntN(5) {
	case 0:
		h.stats.fault("postgres: connections cut")
		p.Cut()
	case 1:
		h.stats.fault("postgres: answers cut in half")
		p.Halve(1 + random.IntN(mostAnswer))
	case 2:
		h.stats.fault("postgres: slow")
		p.Delay(time.Duration(random.Int64N(int64(mostDelay))))
		wait(ctx, length)
		p.Delay(0)
	case 3:
		h.stats.fault("postgres: hangs")
		p.Hang(true)
		wait(ctx, length)
		p.Hang(false)
	default:
		h.stats.fault("postgres: refuses connections")
		p.Refuse(true)
		wait(ctx, length)
		p.Refuse(false)
	}
}

func (h *harness) failStorage(ctx context.Context, s *faults.S3, random *rand.Rand, length time.Duration) {
	switch random.IntN(7) {
	case 0:
		h.stats.fault("s3: connections cut")
		s.Cut()
	case 1:
		h.stats.fault("s3: answers cut in half")
		s.Halve(1 + random.IntN(mostAnswer))
	case 2:
		h.stats.fault("s3: slow")
		s.Delay(time.Duration(random.Int64N(int64(mostDelay))))
		wait(ctx, length)
		s.Delay(0)
	case 3:
		h.stats.fault("s3: hangs")
		s.Hang(true)
		wait(ctx, length)
		s.Hang(false)
	case 4:
		h.stats.fault("s3: answers 503 SlowDown")
		s.SlowDown(1 + random.IntN(3*mostAnswer))
	case 5:
		h.stats.fault("s3: does it, and answers 500")
		s.Lose(1 + random.IntN(mostAnswer))
	default:
		h.stats.fault("s3: refuses connections")
		s.Refuse(true)
		wait(ctx, length)
		s.Refuse(false)
	}
}
