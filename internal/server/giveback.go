package server

import (
	"context"
	"log/slog"
	"runtime/debug"
	"time"
)

// settled is how long after its start a server has done what it does only then.
const settled = 3 * time.Second

// frugal is the worker that gives back, once, the memory that only the start needed: of the heap, and of the program's file.
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
		if err := dropProgramPages(); err != nil {
			slog.DebugContext(ctx, "memory of the start not given back", slog.Any("error", err))
		}
	}
	<-ctx.Done()
	return nil
}
