package testenv

import (
	"errors"
	"os"
	"sync"
	"testing"
)

// Server is a server of a test's own, for tests of what happens when it goes away. It ends with the test.
type Server struct {
	engine engine
	mu     sync.Mutex
	proc   *process
}

// engine is what differs between the kinds of servers.
type engine interface {
	// launch starts the server, always on the same address and with the same data, and waits until it answers.
	launch() (*process, error)
	// fresh makes an empty database or bucket and returns its URL.
	fresh(tb testing.TB) string
	// files are what the server leaves behind.
	files() []string
}

func newServer(tb testing.TB, e engine, proc *process) *Server {
	s := &Server{engine: e, proc: proc}
	tb.Cleanup(func() {
		s.Stop(tb)
		var errs []error
		for _, file := range e.files() {
			errs = append(errs, os.RemoveAll(file))
		}
		if err := errors.Join(errs...); err != nil {
			tb.Errorf("remove the server's files: %v", err)
		}
	})
	return s
}

// URL returns the URL of a fresh, empty database or bucket on the server.
func (s *Server) URL(tb testing.TB) string {
	tb.Helper()
	return s.engine.fresh(tb)
}

// Stop ends the server at once, as a crash would: connections break. A stopped server stays as it is.
func (s *Server) Stop(tb testing.TB) {
	tb.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.proc == nil {
		return
	}
	s.proc.stop()
	s.proc = nil
}

// Start starts the server again, on the same address and with the same data, and returns when it answers. A running
// server stays as it is.
func (s *Server) Start(tb testing.TB) {
	tb.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.proc != nil {
		return
	}
	proc, err := s.engine.launch()
	if err != nil {
		tb.Fatal(err)
	}
	s.proc = proc
}

// Restart is Stop and Start.
func (s *Server) Restart(tb testing.TB) {
	tb.Helper()
	s.Stop(tb)
	s.Start(tb)
}
