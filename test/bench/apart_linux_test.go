package main

import (
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// A process inherits the processors of the thread that starts it.
func TestProcessorsOfAThread(t *testing.T) {
	t.Parallel()
	var before unix.CPUSet
	if err := unix.SchedGetaffinity(0, &before); err != nil {
		t.Fatal(err)
	}
	last := 0
	for n := range 1024 {
		if before.IsSet(n) {
			last = n
		}
	}
	type outcome struct {
		set unix.CPUSet
		err error
	}
	done := make(chan outcome)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		var o outcome
		if o.err = (processors{last}).take(); o.err == nil {
			o.err = processors(nil).take() // changes nothing
		}
		if o.err == nil {
			o.err = unix.SchedGetaffinity(0, &o.set)
		}
		done <- o
	}()
	o := <-done
	if o.err != nil {
		t.Fatal(o.err)
	}
	if o.set.Count() != 1 || !o.set.IsSet(last) {
		t.Errorf("the thread runs on %d processors, want number %d alone", o.set.Count(), last)
	}
}
