package main

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// benchmark measures one or more rows of the report.
type benchmark struct {
	name string
	run  func(context.Context, *lab) ([]row, error)
}

// benchmarks are all of them, in the order in which they run.
func benchmarks() []benchmark {
	var all []benchmark
	for _, kind := range []string{onFolder, onS3} {
		all = append(all,
			benchmark{"append/" + kind, func(ctx context.Context, l *lab) ([]row, error) { return measureAppend(ctx, l, kind) }},
			benchmark{"finish/" + kind, func(ctx context.Context, l *lab) ([]row, error) { return measureFinish(ctx, l, kind) }},
			benchmark{"stalled/" + kind, func(ctx context.Context, l *lab) ([]row, error) { return measureStalled(ctx, l, kind) }},
			benchmark{"memory/" + kind, func(ctx context.Context, l *lab) ([]row, error) { return measureMemory(ctx, l, kind) }},
		)
	}
	for _, kind := range []string{onFolder, onReplicas} {
		all = append(all, benchmark{"abuser/" + kind, func(ctx context.Context, l *lab) ([]row, error) { return measureAbuser(ctx, l, kind) }})
	}
	all = append(all, benchmark{"manifest", measureManifests}, benchmark{"collect", measureCollection}, benchmark{"replicas", measureReplicas})
	for _, size := range sizes {
		all = append(all,
			benchmark{"pull/" + size.name, func(ctx context.Context, l *lab) ([]row, error) { return measurePull(ctx, l, size) }},
			benchmark{"push/" + size.name, func(ctx context.Context, l *lab) ([]row, error) { return measurePush(ctx, l, size) }},
		)
	}
	return all
}

// measure runs the benchmark, and again where a bound is missed: other work on the machine makes figures worse, rarely
// better. The rows tell how often it took.
func (b benchmark) measure(ctx context.Context, l *lab) ([]row, error) {
	var rows []row
	for attempt := 1; ; attempt++ {
		began, before := time.Now(), loadAverage()
		next, err := b.run(ctx, l)
		if err != nil {
			return rows, fmt.Errorf("%s: %w", b.name, err)
		}
		load := (before + loadAverage()) / 2
		for i := range next {
			next[i].Attempt, next[i].Load = attempt, load
			if attempt > 1 && i < len(rows) {
				next[i].Earlier = slices.Concat(rows[i].Earlier, []float64{rows[i].Measured})
			}
		}
		rows = next
		l.say("%s: %.0f s, load %.1f", b.name, time.Since(began).Seconds(), load)
		if !anyMissed(rows) || attempt >= l.attempts {
			return rows, nil
		}
		l.say("%s: a bound is missed, once more", b.name)
	}
}

// size is a size of blobs to compare servers with.
type size struct {
	name  string
	bytes int64
	// bound is how many times the throughput of the peer Berth must reach.
	bound float64
}

const megabyte = 1_000_000

// Small blobs, like manifests, are about the cost of a request; large ones about that of a byte, which the disk sets.
const (
	boundSmall = 1.5
	boundLarge = 1.0
	// boundFiles is the share of the throughput of Go's own file server that large pulls must reach.
	boundFiles = 0.85
)

var sizes = []size{
	{"1MB", megabyte, boundSmall},
	{"10MB", 10 * megabyte, boundLarge},
	{"100MB", 100 * megabyte, boundLarge},
}
