package main

import (
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/berthregistry/berth/test/crash/faults"
	"github.com/berthregistry/berth/test/crash/history"
)

// stats counts what happened. It is safe for concurrent use.
type stats struct {
	mu        *sync.Mutex
	kills     map[faults.Step]int
	missed    map[faults.Step]int
	faults    map[string]int
	ops       map[string]map[history.Outcome]int
	rounds    int
	registers int
	steps     int
	read      int // manifests and blobs read back at rest
	trees     int // manifests whose blobs were all read
	objects   int // held against rows
	orphans   int // left by kills, for the collector
	swept     int // objects that were released and are gone
	bytes     int64
}

func newStats() stats {
	return stats{
		mu: &sync.Mutex{}, kills: map[faults.Step]int{}, missed: map[faults.Step]int{}, faults: map[string]int{},
		ops: map[string]map[history.Outcome]int{},
	}
}

func (s *stats) change(f func(s *stats)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f(s)
}

func (s *stats) kill(step faults.Step) { s.change(func(s *stats) { s.kills[step]++ }) }
func (s *stats) miss(step faults.Step) { s.change(func(s *stats) { s.missed[step]++ }) }
func (s *stats) fault(name string)     { s.change(func(s *stats) { s.faults[name]++ }) }

// op counts a request.
func (s *stats) op(what string, outcome history.Outcome) {
	s.change(func(s *stats) {
		if s.ops[what] == nil {
			s.ops[what] = map[history.Outcome]int{}
		}
		s.ops[what][outcome]++
	})
}

func (s *stats) killed() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return total(s.kills)
}

func total[K comparable](counts map[K]int) int {
	sum := 0
	for n := range maps.Values(counts) {
		sum += n
	}
	return sum
}

// rarest is a step that has had the fewest kills and attempts, one of several by chance.
func (s *stats) rarest(steps []faults.Step, random *rand.Rand) faults.Step {
	s.mu.Lock()
	defer s.mu.Unlock()
	had := func(step faults.Step) int { return s.kills[step] + s.missed[step] }
	fewest := had(steps[0])
	for _, step := range steps {
		fewest = min(fewest, had(step))
	}
	few := slices.DeleteFunc(slices.Clone(steps), func(step faults.Step) bool { return had(step) > fewest })
	return few[random.IntN(len(few))]
}

// summarize prints what happened.
func (h *harness) summarize(out io.Writer) {
	s := &h.stats
	s.mu.Lock()
	defer s.mu.Unlock()
	took := time.Since(h.began)
	done, all := 0, 0
	for outcomes := range maps.Values(s.ops) {
		done += outcomes[history.Done]
		all += total(outcomes)
	}
	_, _ = fmt.Fprintf(out, "\n%s: %d kills in %d rounds and %s\n", h.o.backend, total(s.kills), s.rounds, took.Round(time.Second))
	for _, step := range h.steps() {
		_, _ = fmt.Fprintf(out, "  %5d %s", s.kills[step], step)
		if missed := s.missed[step]; missed > 0 {
			_, _ = fmt.Fprintf(out, " (%d times no replica came there)", missed)
		}
		_, _ = fmt.Fprintln(out)
	}
	_, _ = fmt.Fprintf(out, "  %5d %s\n", s.kills[sweeping], sweeping)
	_, _ = fmt.Fprintf(out, "%d faults\n", total(s.faults))
	for _, name := range slices.Sorted(maps.Keys(s.faults)) {
		_, _ = fmt.Fprintf(out, "  %5d %s\n", s.faults[name], name)
	}
	_, _ = fmt.Fprintf(out, "%d requests, %.0f done a second, %d MB pushed\n", all, float64(done)/took.Seconds(), s.bytes>>20)
	for _, what := range slices.Sorted(maps.Keys(s.ops)) {
		outcomes := s.ops[what]
		_, _ = fmt.Fprintf(out, "  %6d done %6d unclear %6d failed  %s\n",
			outcomes[history.Done], outcomes[history.Unclear], outcomes[history.Failed], what)
	}
	_, _ = fmt.Fprintf(out, "checked: %d registers with %d steps, %d manifests and blobs read back, %d manifests complete, %d objects and rows\n",
		s.registers, s.steps, s.read, s.trees, s.objects)
	_, _ = fmt.Fprintf(out, "swept: %d released objects; %d objects without a row wait for the collector\n", s.swept, s.orphans)
	_, _ = fmt.Fprintf(out, "violations: %d, undecided: %d, seed %d\n", len(h.violations), len(h.undecided), h.o.seed)
}
