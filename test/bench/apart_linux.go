package main

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"

	"golang.org/x/sys/unix"
)

// processors are numbers of processors. Clients are machines of their own in production; where they share processors with
// the servers, what a client costs is in the throughput of every server alike, and hides part of what differs.
type processors []int

// take has the calling thread, and the processes that it starts, run on these processors only; nil changes nothing.
func (p processors) take() error {
	if p == nil {
		return nil
	}
	return p.give(0)
}

// give has a thread run on these processors only; 0 is the calling one.
func (p processors) give(thread int) error {
	var set unix.CPUSet
	for _, n := range p {
		set.Set(n)
	}
	if err := unix.SchedSetaffinity(thread, &set); err != nil {
		return fmt.Errorf("choose processors: %w", err)
	}
	return nil
}

// giveAll has all threads of this process run on these processors only. A thread inherits them from the one that makes it;
// one that was made meanwhile by one that did not have them yet is found by looking again.
func (p processors) giveAll() error {
	given := map[int]bool{}
	for more := true; more; {
		threads, err := os.ReadDir("/proc/self/task")
		if err != nil {
			return fmt.Errorf("find the threads: %w", err)
		}
		more = false
		for _, one := range threads {
			id, err := strconv.Atoi(one.Name())
			if err != nil {
				return fmt.Errorf("find the threads: %w", err)
			}
			if given[id] {
				continue
			}
			if err := p.give(id); err != nil && !errors.Is(err, unix.ESRCH) {
				return err
			}
			given[id], more = true, true
		}
	}
	return nil
}

// standApart leaves the first half of the processors to others, which it returns, and has this process run on the rest.
func standApart() (processors, error) {
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &set); err != nil {
		return nil, fmt.Errorf("find out the processors: %w", err)
	}
	var all processors
	for n := range len(set) * strconv.IntSize {
		if set.IsSet(n) {
			all = append(all, n)
		}
	}
	if len(all) < 2 {
		return nil, errors.New("registries and clients cannot have processors of their own: there is only one")
	}
	theirs, ours := all[:len(all)/2], all[len(all)/2:]
	if err := ours.giveAll(); err != nil {
		return nil, err
	}
	runtime.GOMAXPROCS(len(ours))
	return theirs, nil
}
