package server

import (
	"context"
	"runtime/debug"
	"time"
)

// settled is how long after its start a server has done what it does only then.
const settled = 3 * time.Second

// frugal is the worker that gives back, once, the memory of the heap that only the start needed.
type frugal struct{}

// Run implements front.Worker.
func (frugal) Run(ctx context.Context) error {
	timer := time.NewTimer(settled)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return nil
	case <-timer.C:
		debug.FreeOSMemory()
	}
	<-ctx.Done()
	return nil
}
