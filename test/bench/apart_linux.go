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
	threads, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return nil, fmt.Errorf("find the threads: %w", err)
	}
	for _, one := range threads { // a thread that begins now comes from one of them, and inherits
		id, err := strconv.Atoi(one.Name())
		if err != nil {
			return nil, fmt.Errorf("find the threads: %w", err)
		}
		if err := ours.give(id); err != nil && !errors.Is(err, unix.ESRCH) {
			return nil, err
		}
	}
	runtime.GOMAXPROCS(len(ours))
	return theirs, nil
}
