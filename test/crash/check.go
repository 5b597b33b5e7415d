package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/berthregistry/berth/test/crash/history"
)

// collectByDefault says whether runs also use the program's gc command.
const collectByDefault = true

const (
	restWithin = 3 * time.Minute        // until nothing is under way any more
	lastWithin = 10 * time.Minute       // the same at the end of the run, with all that it has left
	restEvery  = 100 * time.Millisecond // between two looks
	tidyWithin = 2 * time.Second        // until a replica has done what is due, before it is started once more
	readers    = 4
)

// atOnce lets everything that waits for its time be done now, also the search for objects that never had a row.
var atOnce = []string{"BERTH_UPLOAD_TTL=1ms", "BERTH_SWEEP_DELAY=1ms", "BERTH_GC_ORPHAN_AGE=0", "BERTH_GC_LOAD=100"}

// final is how a round ended: what was there then, and is to be there at the end of the run, and what was not.
type final struct {
	catalog *catalog
	state   map[history.Register]string // digests of tags, Present or Absent of the others
}

// check brings everything to rest, holds database and storage against each other, reads everything back, and decides
// about the history of the round.
func (h *harness) check(ctx context.Context, round int, c *catalog) error {
	if err := h.rest(ctx, false); err != nil {
		return err
	}
	if err := h.startAll(ctx); err != nil {
		return err
	}
	state := h.readAll(ctx, round, c)
	ops, err := h.log.Take()
	if err != nil {
		return fmt.Errorf("write the history: %w", err)
	}
	verdict := history.Check(ops, decideWithin)
	trees := c.trees()
	dangling := history.Dangling(trees, func(r history.Register) bool { return state[r] == history.Present })
	h.mu.Lock()
	defer h.mu.Unlock()
	for i, v := range h.violations {
		if len(v.Slice) == 0 {
			h.violations[i].Slice = concerning(ops, v)
		}
	}
	h.violations = slices.Concat(verdict.Violations, dangling, h.violations)
	for _, register := range verdict.Undecided {
		h.undecided = append(h.undecided, register.String())
	}
	h.finals = append(h.finals, final{c, state})
	h.stats.change(func(s *stats) {
		s.rounds++
		s.registers += verdict.Registers
		s.steps += verdict.Steps
		s.trees += len(trees)
	})
	return nil
}

// digests finds what a violation is about.
var digests = regexp.MustCompile(`sha256:[0-9a-f]{64}`)

// mostTold is how many operations are told of what was not decided by their order.
const mostTold = 12

// concerning are the last operations on the content that a violation is about.
func concerning(ops []history.Op, v history.Violation) []history.Op {
	d := digests.FindString(v.About)
	if d == "" {
		return nil
	}
	var told []history.Op
	for _, op := range ops {
		if strings.Contains(op.What, d) {
			told = append(told, op)
		}
	}
	return told[max(0, len(told)-mostTold):]
}

// last looks once more at all that the rounds have left, after everything that expires has expired: what was there has
// to be there, and what was deleted not.
func (h *harness) last(ctx context.Context) error {
	if err := h.rest(ctx, true); err != nil {
		return err
	}
	if err := h.startAll(ctx); err != nil {
		return err
	}
	for round, f := range h.finals {
		for register, now := range h.readAll(ctx, round, f.catalog) {
			if then := f.state[register]; then != now {
				h.violated(register.String(), "at the end of round %d it held %q, at the end of the run %q", round, then, now)
			}
		}
	}
	if err := h.scrub(ctx); err != nil {
		return err
	}
	if !h.o.collect {
		return nil
	}
	return h.age(ctx)
}

// readAll reads everything that the clients of a round may have pushed, through all replicas in turn.
func (h *harness) readAll(ctx context.Context, round int, c *catalog) map[history.Register]string {
	registers := make(chan history.Register)
	state, mu := map[history.Register]string{}, sync.Mutex{}
	var wg sync.WaitGroup
	for i := range readers {
		w := h.newWorker(round, -1-i, c)
		wg.Go(func() {
			defer w.transport.CloseIdleConnections()
			for r := range registers {
				value := w.final(ctx, r)
				mu.Lock()
				state[r] = value
				mu.Unlock()
			}
		})
	}
	for _, repo := range c.names {
		for _, tag := range tagNames {
			registers <- history.Register{Kind: history.Tag, Repo: repo, Name: tag}
		}
		known := c.of(repo)
		for _, m := range known.manifests {
			registers <- history.Register{Kind: history.Manifest, Repo: repo, Name: m.digest.String()}
		}
		for _, b := range known.blobs {
			registers <- history.Register{Kind: history.Blob, Repo: repo, Name: b.digest.String()}
		}
	}
	close(registers)
	wg.Wait()
	h.stats.change(func(s *stats) { s.read += len(state) })
	return state
}

// final reads a register, with its content.
func (w *worker) final(ctx context.Context, r history.Register) string {
	if r.Kind != history.Blob {
		content, ok := w.getManifest(ctx, r.Repo, r.Name)
		switch {
		case !ok:
			return history.Absent
		case r.Kind == history.Tag:
			return digest.FromBytes(content).String()
		}
		return history.Present
	}
	switch status := w.getBlob(ctx, r.Repo, digest.Digest(r.Name)); status {
	case http.StatusOK:
		return history.Present
	case http.StatusNotFound:
		return history.Absent
	default:
		w.h.violated(r.String(), "cannot be read at rest: status %d", status)
		return history.Absent
	}
}

// rest kills every replica, lets what they have sent come to its end, has one of them expire and sweep everything that
// is due, and compares what is left. At the end of the run, sessions are waited for that writers still lease.
func (h *harness) rest(ctx context.Context, last bool) error {
	h.killAll()
	a, err := h.openAudit(ctx)
	if err != nil {
		return err
	}
	defer a.close()
	within := restWithin
	if last {
		within = lastWithin
	}
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	if err := until(ctx, "the database works on", a.idle); err != nil {
		return err
	}
	if err := a.bringForward(ctx); err != nil {
		return err
	}
	released, err := a.due(ctx, last)
	if err != nil {
		return err
	}
	tidy := func(ctx context.Context) (bool, error) { return h.tidy(ctx, a, last) }
	if err := until(ctx, "sessions or released objects are left", tidy); err != nil {
		return err
	}
	h.stats.change(func(s *stats) { s.swept += released })
	if h.plant != nil {
		if err := h.plant(ctx, a); err != nil {
			return err
		}
	}
	return a.compare(ctx)
}

// tidy has a replica, and the collector, do what is due, and says whether nothing is left to do.
func (h *harness) tidy(ctx context.Context, a *audit, all bool) (bool, error) {
	if err := h.replicas[0].start(ctx, atOnce...); err != nil {
		return false, err
	}
	defer h.replicas[0].end()
	if h.o.collect {
		if err := h.collect(ctx, restWithin, atOnce...); err != nil {
			return false, err
		}
	}
	soon, cancel := context.WithTimeout(ctx, tidyWithin)
	defer cancel()
	err := until(soon, "", func(ctx context.Context) (bool, error) {
		due, err := a.due(ctx, all)
		return due == 0, err
	})
	return err == nil, ignoreDeadline(err)
}

func ignoreDeadline(err error) error {
	if errors.Is(err, context.DeadlineExceeded) {
		return nil
	}
	return err
}

// until asks again and again, until the answer is yes or the context ends.
func until(ctx context.Context, otherwise string, ask func(context.Context) (bool, error)) error {
	for {
		done, err := ask(ctx)
		if err != nil || done {
			return err
		}
		if !wait(ctx, restEvery) {
			return fmt.Errorf("%s: %w", otherwise, ctx.Err())
		}
	}
}

// scrub has the program read everything that is stored, as an operator does: whatever is not whole is a violation.
func (h *harness) scrub(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, restWithin)
	defer cancel()
	cmd := exec.CommandContext(ctx, h.o.program, "scrub", "--restart") //nolint:gosec // our own program
	cmd.Env = slices.Concat(os.Environ(), h.replicas[0].env)
	out, err := cmd.CombinedOutput()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) && ctx.Err() == nil {
		h.violated("the scrub of all that is stored", "%s", out)
		return nil
	}
	if err != nil {
		return fmt.Errorf("scrub: %w\n%s", err, out)
	}
	return nil
}

// collect runs the collector once, as an operator does. The command is killed when it takes longer.
func (h *harness) collect(ctx context.Context, within time.Duration, settings ...string) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	cmd := exec.CommandContext(ctx, h.o.program, "gc") //nolint:gosec // our own program
	cmd.Env = slices.Concat(os.Environ(), h.replicas[0].env, settings)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("collect: %w\n%s", err, out)
	}
	return nil
}
