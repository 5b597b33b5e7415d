//go:build !linux

package main

import (
	"errors"
	"syscall"
	"time"
)

func dieWithParent(*syscall.SysProcAttr) {}

func syncDisks() {}

// cpuTime is not known here; a report shows zero.
func cpuTime(int) (time.Duration, error) { return 0, nil }

func peakMemory(int) (int64, error) { return 0, errors.New("peak memory is measured on Linux only") }

func residentMemory(int) (int64, error) { return 0, errors.New("memory is measured on Linux only") }

func loadAverage() float64 { return 0 }

type processors []int

func (processors) take() error { return nil }

func standApart() (processors, error) {
	return nil, errors.New("processors are shared out on Linux only")
}
