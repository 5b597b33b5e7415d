package main

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/berthregistry/berth/internal/testenv"
	"github.com/berthregistry/berth/test/crash/faults"
	"github.com/berthregistry/berth/test/crash/history"
)

// decideWithin bounds the search for an order of the operations of one register.
const decideWithin = 30 * time.Second

// harness is one run.
type harness struct {
	o        options
	dir      string
	database string // URLs of the servers themselves, past the proxies
	storage  string
	chunk    int
	progress io.Writer
	log      *history.Log
	out      *os.File // of the history, or nil
	traps    faults.Traps
	replicas []*replica
	began    time.Time
	// plant breaks what is at rest, in tests of this program. It may be nil.
	plant func(ctx context.Context, a *audit) error

	mu         sync.Mutex
	violations []history.Violation
	undecided  []string
	stats      stats
	finals     []final // what earlier rounds ended with
}

func newHarness(tb testing.TB, o options, dir string, out io.Writer) (*harness, error) {
	tb.Helper()
	h := &harness{o: o, dir: dir, progress: out, began: time.Now(), stats: newStats()}
	count := 1
	if o.backend == backendPostgres {
		count, h.chunk = 2, 5<<20
		h.database, h.storage = testenv.Postgres(tb), testenv.S3(tb)
	} else {
		h.chunk = 1 << 20
		h.database, h.storage = "sqlite:"+filepath.Join(dir, "berth.db"), "file:"+filepath.Join(dir, "objects")
	}
	if o.history != "" {
		out, err := os.Create(o.history)
		if err != nil {
			return nil, fmt.Errorf("write the history: %w", err)
		}
		h.out = out
		h.log = history.NewLog(out)
	} else {
		h.log = history.NewLog(nil)
	}
	for i := range count {
		r, err := h.newReplica(i)
		if err != nil {
			return nil, err
		}
		h.replicas = append(h.replicas, r)
	}
	return h, nil
}

func (h *harness) close() {
	for _, r := range h.replicas {
		r.close()
	}
	if h.out != nil {
		_ = h.out.Close()
	}
}

// random draws for one purpose of one round: what one part of the run draws changes nothing for the others.
func (h *harness) random(round int, purpose string) *rand.Rand {
	stream := uint64(round) << 32
	for _, c := range purpose {
		stream = stream*31 + uint64(c)
	}
	return rand.New(rand.NewPCG(h.o.seed, stream))
}

// violated notes what the registry did wrong.
func (h *harness) violated(about, format string, args ...any) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.violations = append(h.violations, history.Violation{About: about, Problem: fmt.Sprintf(format, args...)})
}

func (h *harness) broken() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.violations) > 0
}

// run goes on, round by round, until it has killed enough, its time is over, or something is wrong. Each round works on
// repositories of its own, and ends with a check of everything at rest.
func (h *harness) run(ctx context.Context) error {
	for round := 0; !h.enough(ctx) && !h.broken(); round++ {
		if err := h.round(ctx, round); err != nil {
			return fmt.Errorf("round %d: %w", round, err)
		}
		_, _ = fmt.Fprintf(h.progress, "%8s round %d is checked, %d kills so far, %d violations\n",
			time.Since(h.began).Round(time.Second), round, h.stats.killed(), len(h.violations))
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("stopped: %w", err)
	}
	if h.broken() {
		return nil
	}
	return h.last(ctx)
}

func (h *harness) enough(ctx context.Context) bool {
	return ctx.Err() != nil ||
		h.o.kills > 0 && h.stats.killed() >= h.o.kills ||
		h.o.duration > 0 && time.Since(h.began) >= h.o.duration
}

// round lets the clients work while the killer and the faults do, then checks.
func (h *harness) round(ctx context.Context, round int) error {
	if err := h.startAll(ctx); err != nil {
		return err
	}
	c := newCatalog(round)
	working, stop := context.WithCancel(ctx)
	defer stop()
	var clients, nemesis sync.WaitGroup
	for i := range h.o.workers {
		w := h.newWorker(round, i, c)
		clients.Go(func() { w.run(working) })
	}
	failing, heal := context.WithCancel(ctx)
	defer heal()
	nemesis.Go(func() { h.fail(failing, h.random(round, "faults")) })
	kills := h.o.round
	if h.o.kills > 0 {
		kills = min(kills, h.o.kills-h.stats.killed())
	}
	err := h.kill(ctx, h.random(round, "kills"), kills)
	heal()
	nemesis.Wait()
	stop()
	clients.Wait()
	if err != nil {
		return err
	}
	return h.check(ctx, round, c)
}
