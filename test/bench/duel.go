package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// turn is what the clients of one registry did in one turn.
type turn struct {
	tallies map[string]*tally
	elapsed time.Duration
	cpu     time.Duration
	memory  int64
}

// tally is what became of one operation.
type tally struct {
	took   []time.Duration
	bytes  int64
	errors int
	first  error // of the errors
}

func (t *tally) add(other *tally) {
	t.took, t.bytes, t.errors = append(t.took, other.took...), t.bytes+other.bytes, t.errors+other.errors
	if t.first == nil {
		t.first = other.first
	}
}

// perSecond counts what succeeded.
func (t turn) perSecond() float64 {
	n := 0
	for _, one := range t.tallies {
		n += len(one.took)
	}
	return float64(n) / t.elapsed.Seconds()
}

// errorPause keeps a client whose operations fail at once from doing nothing else.
const errorPause = 10 * time.Millisecond

// duel lets registries take turns in one case. Those that do not have what it is about take none.
func (d *driving) duel(ctx context.Context, one kase, catalogs []*catalog) (drivenCase, error) {
	steps, turns := make([][]step, len(catalogs)), make([][]turn, len(catalogs))
	for i, k := range catalogs {
		next := one.prepare(k, d.every)
		_, _, err := next(0)(ctx)
		if errors.Is(err, errUnsupported) {
			continue
		}
		if err != nil {
			return drivenCase{}, fmt.Errorf("%s: %w", one.name, err)
		}
		for client := range d.clients {
			steps[i] = append(steps[i], next(client))
		}
		if d.warmUp > 0 {
			if _, err := d.turn(ctx, catalogs[i], steps[i], d.warmUp); err != nil {
				return drivenCase{}, err
			}
		}
	}
	for round := range d.rounds {
		for i := range catalogs {
			i = (i + round) % len(catalogs) // nobody is always first
			if steps[i] == nil {
				continue
			}
			t, err := d.turn(ctx, catalogs[i], steps[i], d.duration/time.Duration(d.rounds))
			if err != nil {
				return drivenCase{}, err
			}
			turns[i] = append(turns[i], t)
		}
	}
	return newDrivenCase(one.name, catalogs, turns), nil
}

// turn runs the steps of all clients for a while, one step at least for each.
func (d *driving) turn(ctx context.Context, k *catalog, steps []step, length time.Duration) (turn, error) {
	t := turn{tallies: map[string]*tally{}}
	pid := k.repositories[0].pid()
	before, err := cpuOf(pid)
	if err != nil {
		return t, err
	}
	var mu sync.Mutex
	var clients sync.WaitGroup
	began := time.Now()
	for i, next := range steps {
		clients.Go(func() {
			mine := d.client(ctx, next, began, length, i)
			mu.Lock()
			defer mu.Unlock()
			for op, one := range mine {
				if t.tallies[op] == nil {
					t.tallies[op] = &tally{}
				}
				t.tallies[op].add(one)
			}
		})
	}
	clients.Wait()
	t.elapsed = time.Since(began)
	if err := ctx.Err(); err != nil {
		return t, fmt.Errorf("stopped: %w", err)
	}
	after, err := cpuOf(pid)
	if err != nil {
		return t, err
	}
	t.cpu = after - before
	if pid != 0 {
		t.memory, err = residentMemory(pid)
	}
	return t, err
}

func cpuOf(pid int) (time.Duration, error) {
	if pid == 0 {
		return 0, nil
	}
	return cpuTime(pid)
}

// client runs the steps of one client. With a rate, an operation counts from when it was to begin: one that waits behind
// a slow one is slow, too.
func (d *driving) client(ctx context.Context, next step, began time.Time, length time.Duration, number int) map[string]*tally {
	mine := map[string]*tally{}
	var every time.Duration
	due := began
	if d.rate > 0 {
		every = time.Duration(float64(time.Second) * float64(d.clients) / d.rate)
		due = began.Add(every * time.Duration(number) / time.Duration(d.clients))
	}
	for first := true; first || time.Since(began) < length && ctx.Err() == nil; first = false {
		start := time.Now()
		if every > 0 {
			wait(ctx, time.Until(due))
			start, due = due, due.Add(every)
		}
		op, n, err := next(ctx)
		took := time.Since(start)
		one := mine[op]
		if one == nil {
			one = &tally{}
			mine[op] = one
		}
		if err != nil {
			one.errors++
			if one.first == nil {
				one.first = err
			}
			wait(ctx, errorPause)
			continue
		}
		one.took, one.bytes = append(one.took, took), one.bytes+n
	}
	return mine
}

func wait(ctx context.Context, d time.Duration) {
	if d <= 0 {
		return
	}
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
