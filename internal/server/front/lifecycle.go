package front

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"golang.org/x/sync/errgroup"
)

// Drainer is a plane with transfers that can be ended in good order.
type Drainer interface {
	// Drain is called once, when running requests have used up half of their time: uploads commit what they have and
	// answer 503. It must not block.
	Drain()
}

// Worker does something in the background.
type Worker interface {
	// Run works until ctx is done and then returns nil; an error before that stops the whole server. ctx outlives the
	// requests.
	Run(ctx context.Context) error
}

// closeGrace is how long handlers may go on after their connections were closed, before the database is.
const closeGrace = 5 * time.Second

// Serve answers on a listener until ctx is done or something fails, drains, and stops the workers last. started is called
// once, when connections are accepted. Serve closes the listener. It returns nil after a stop by ctx, also where it had
// to cut requests; other errors are those of the listener and of the workers. It may be called once.
func (s *Server) Serve(ctx context.Context, listener net.Listener, started func()) error {
	// The workers' context outlives ctx: they serve requests that are still running.
	workCtx, stopWork := context.WithCancel(context.WithoutCancel(ctx))
	defer stopWork()
	workers, workCtx := errgroup.WithContext(workCtx)
	for _, w := range s.workers {
		workers.Go(func() error { return w.Run(workCtx) })
	}
	served := make(chan error, 1)
	go func() { served <- s.accept(listener) }()
	started()

	select {
	case <-ctx.Done():
		s.leave(workCtx, served)
	case err := <-served:
		served <- err
	case <-workCtx.Done(): // a worker failed: its error comes from Wait
	}
	s.drain(context.WithoutCancel(ctx))
	err := <-served
	stopWork()
	return errors.Join(err, workersError(workers.Wait()))
}

func workersError(err error) error {
	if err == nil || errors.Is(err, context.Canceled) {
		return nil
	}
	return fmt.Errorf("background work: %w", err)
}

func (s *Server) accept(listener net.Listener) error {
	var err error
	if s.http.TLSConfig != nil {
		err = s.http.ServeTLS(listener, "", "")
	} else {
		err = s.http.Serve(listener)
	}
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return fmt.Errorf("serve: %w", err)
}

// leave says that the server is no longer ready and goes on accepting until whoever balances the load has noticed.
func (s *Server) leave(workCtx context.Context, served chan error) {
	s.health.draining.Store(true)
	if s.drainDelay <= 0 {
		return
	}
	s.logger.InfoContext(workCtx, "stopping: no longer ready, accepting for a while", slog.Duration("delay", s.drainDelay))
	timer := time.NewTimer(s.drainDelay)
	defer timer.Stop()
	select {
	case <-timer.C:
	case err := <-served:
		served <- err
	case <-workCtx.Done():
	}
}

// drain ends the serving: no new connections and no readiness at once, then half of the time for what runs, the other
// half for the planes' own end of it, then the cut.
func (s *Server) drain(ctx context.Context) {
	s.health.draining.Store(true)
	half := s.drainTimeout / 2
	s.logger.InfoContext(ctx, "stopping: running requests may finish", slog.Duration("timeout", s.drainTimeout))
	if s.shutdown(ctx, half) {
		s.logger.InfoContext(ctx, "stopped: every request finished")
		return
	}
	s.logger.WarnContext(ctx, "requests still run: ending them in good order", slog.Duration("timeout", s.drainTimeout-half))
	for _, p := range s.planes {
		if d, ok := p.(Drainer); ok {
			d.Drain()
		}
	}
	if s.shutdown(ctx, s.drainTimeout-half) {
		s.logger.InfoContext(ctx, "stopped: the last requests were ended in good order")
		return
	}
	s.edge.cutting.Store(true)
	_ = s.http.Close() // what it says is about connections that are to be cut
	if s.awaitHandlers(closeGrace) {
		s.logger.WarnContext(ctx, "stopped: requests were cut")
		return
	}
	s.logger.ErrorContext(ctx, "stopped: requests did not end")
}

// shutdown waits for the connections to become idle and says whether they did in time.
func (s *Server) shutdown(ctx context.Context, timeout time.Duration) bool {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	return s.http.Shutdown(ctx) == nil && s.awaitHandlers(closeGrace)
}

// awaitHandlers waits for handlers whose connections are gone, and says whether they returned.
func (s *Server) awaitHandlers(timeout time.Duration) bool {
	done := make(chan struct{})
	go func() { s.edge.inFlight.Wait(); close(done) }()
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	select {
	case <-done:
		return true
	case <-timer.C:
		return false
	}
}
