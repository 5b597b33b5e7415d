package server

import (
	"context"
	"log/slog"
	"time"
)

// settled is how long after its start a server has done what it does only then.
const settled = 3 * time.Second

// frugal is the worker that gives back, once, what only the start needed.
type frugal struct{ logger *slog.Logger }

// Run implements front.Worker.
func (f frugal) Run(ctx context.Context) error {
	timer := time.NewTimer(settled)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return nil
	case <-timer.C:
	}
	if err := giveBack(); err != nil {
		f.logger.DebugContext(ctx, "memory of the start stays", slog.String("error", err.Error()))
	}
	<-ctx.Done()
	return nil
}
