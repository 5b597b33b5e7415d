package main

import (
	"context"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/berthregistry/berth/test/crash/faults"
)

// Steps that the clients see.
const (
	bodyHalf         faults.Step = "client: half of a body is sent"
	bodySent         faults.Step = "client: a body is sent, not answered"
	uploadBegun      faults.Step = "client: an upload is begun"
	chunkAnswered    faults.Step = "client: a chunk is acknowledged"
	blobAnswered     faults.Step = "client: a blob is acknowledged"
	mountAnswered    faults.Step = "client: a mount is acknowledged"
	manifestAnswered faults.Step = "client: a manifest is acknowledged"
	deleteAnswered   faults.Step = "client: a deletion is acknowledged"
	readHalf         faults.Step = "client: half of a blob is read"
)

// Steps that the files of the embedded backend show.
const (
	objectCreated faults.Step = "folder: an object's file is created"
	objectGrows   faults.Step = "folder: an object's file grows"
	objectClosed  faults.Step = "folder: an object's file is closed"
	objectRemoved faults.Step = "folder: an object's file is removed"
	walWritten    faults.Step = "sqlite: the log is written"
	fileWritten   faults.Step = "sqlite: a checkpoint writes the database"
)

// Steps without a trap.
const (
	atRandom faults.Step = "at a random time"
	starting faults.Step = "while it starts"
	sweeping faults.Step = "before a sweep, to have one at the start"
)

var (
	clientSteps = []faults.Step{
		bodyHalf, bodySent, uploadBegun, chunkAnswered, blobAnswered, mountAnswered, manifestAnswered, deleteAnswered, readHalf,
	}
	serverSteps = []faults.Step{
		faults.StatementSent, faults.BeforeCommit, faults.CommitWithheld, faults.CommitAnswered, faults.PutBegun, faults.PutHalf,
		faults.PutWithheld, faults.PutAnswered, faults.GetHalf, faults.DeleteBegun, faults.DeleteWithheld,
	}
	// sweepSteps come when a replica tidies up, which it does first of all when it starts.
	sweepSteps = []faults.Step{faults.DeleteBegun, faults.DeleteWithheld, objectRemoved}
)

const (
	trapWithin = 3 * time.Second
	mostSkips  = 6
	longestGap = 300 * time.Millisecond
)

// steps are those at which this run kills.
func (h *harness) steps() []faults.Step {
	steps := append([]faults.Step{atRandom, starting}, clientSteps...)
	if h.o.backend == backendPostgres {
		return append(steps, serverSteps...)
	}
	return append(steps, watchedSteps...)
}

// kill ends replicas one after the other and starts them again at once. Each kill is at the step that has had the
// fewest, or at a random time where no replica comes to that step.
func (h *harness) kill(ctx context.Context, random *rand.Rand, kills int) error {
	stop, err := h.watchFiles()
	if err != nil {
		return err
	}
	defer stop()
	for last := h.stats.killed() + kills; h.stats.killed() < last; {
		if !wait(ctx, time.Duration(random.Int64N(int64(longestGap)))) || h.o.duration > 0 && time.Since(h.began) >= h.o.duration {
			return nil
		}
		if err := h.killOnce(ctx, random); err != nil {
			return err
		}
	}
	return nil
}

func (h *harness) killOnce(ctx context.Context, random *rand.Rand) error {
	step := h.stats.rarest(h.steps(), random)
	skip, victim := random.IntN(mostSkips), h.replicas[random.IntN(len(h.replicas))]
	switch {
	case step == atRandom:
		return h.killNow(ctx, victim, atRandom)
	case step == starting:
		return h.killStarting(ctx, victim, random)
	case slices.Contains(sweepSteps, step):
		skip = 0
	}
	sprung := h.set(step, skip)
	if slices.Contains(sweepSteps, step) {
		if err := h.killNow(ctx, victim, sweeping); err != nil {
			return err
		}
	}
	select {
	case index := <-sprung:
		return h.killedAt(ctx, step, index, victim)
	case <-ctx.Done():
		h.traps.Disarm()
		return nil
	case <-time.After(trapWithin):
	}
	if !h.traps.Disarm() { // it has sprung at the last moment
		return h.killedAt(ctx, step, <-sprung, victim)
	}
	return h.killedAt(ctx, step, nobody, victim)
}

// nobody is the replica that a trap has ended which none came to, or one that was being ended already.
const nobody = -1

// killedAt starts a replica again that a trap has ended, or else ends one at a random time.
func (h *harness) killedAt(ctx context.Context, step faults.Step, index int, victim *replica) error {
	if index == nobody {
		h.stats.miss(step)
		return h.killNow(ctx, victim, atRandom)
	}
	h.stats.kill(step)
	return h.replicas[index].start(ctx)
}

// set arms a trap and gives the replica that it ends, or nobody.
func (h *harness) set(step faults.Step, skip int) <-chan int {
	sprung := make(chan int, 1)
	spring := func(replica int) {
		if h.replicas[replica].kill() {
			sprung <- replica
		} else {
			sprung <- nobody
		}
	}
	h.traps.Arm(step, faults.AnyReplica, skip, spring)
	return sprung
}

func (h *harness) killNow(ctx context.Context, victim *replica, step faults.Step) error {
	if victim.kill() {
		h.stats.kill(step)
	}
	return victim.start(ctx)
}

// killStarting kills a replica, and once more while it starts.
func (h *harness) killStarting(ctx context.Context, victim *replica, random *rand.Rand) error {
	if victim.kill() {
		h.stats.kill(atRandom)
	}
	delay := time.Duration(random.Int64N(int64(longestGap)))
	again := make(chan struct{})
	go func() {
		defer close(again)
		if wait(ctx, delay) && victim.kill() {
			h.stats.kill(starting)
		}
	}()
	err := victim.start(ctx)
	<-again
	if err != nil {
		return err
	}
	return victim.startIfDown(ctx)
}

// wait waits for a time, and says whether it is over before the context is.
func wait(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}
