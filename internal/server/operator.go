package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"syscall"
	"time"
)

// operatorHeaderTimeout bounds the headers of an operator's request; profiles themselves take as long as was asked.
const operatorHeaderTimeout = 10 * time.Second

// operatorServer serves /metrics and /debug/pprof to operators. It has no authentication and so an address of its own. Nil works
// and serves nothing.
type operatorServer struct {
	http     *http.Server
	listener net.Listener
	done     chan struct{}
}

// startOperator serves on addr, if there is one. A taken port is no reason not to serve the registry: with the default
// address every second server on a machine would fail.
func startOperator(ctx context.Context, addr string, metrics http.Handler, logger *slog.Logger) (*operatorServer, error) {
	if addr == "" {
		return nil, nil
	}
	var lc net.ListenConfig
	listener, err := lc.Listen(ctx, "tcp", addr)
	if errors.Is(err, syscall.EADDRINUSE) {
		logger.WarnContext(ctx, "the address for metrics and profiles is taken, going on without them: set BERTH_METRICS_ADDR to another, or to nothing",
			slog.String("address", addr))
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("BERTH_METRICS_ADDR: %w", err)
	}
	s := &operatorServer{listener: listener, done: make(chan struct{}), http: &http.Server{
		Handler: operatorHandler(metrics), ReadHeaderTimeout: operatorHeaderTimeout,
		ErrorLog: slog.NewLogLogger(logger.Handler(), slog.LevelDebug),
	}}
	go func() {
		defer close(s.done)
		if err := s.http.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			logger.WarnContext(ctx, "metrics and profiles are no longer served", slog.String("error", err.Error()))
		}
	}()
	return s, nil
}

func (s *operatorServer) addr() net.Addr {
	if s == nil {
		return nil
	}
	return s.listener.Addr()
}

// address is addr as text; empty: nowhere.
func (s *operatorServer) address() string {
	if addr := s.addr(); addr != nil {
		return addr.String()
	}
	return ""
}

// close cuts what runs: a profile is not worth waiting for.
func (s *operatorServer) close() {
	if s == nil {
		return
	}
	_ = s.http.Close() // about connections that are to be cut
	<-s.done
}

func operatorHandler(metrics http.Handler) http.Handler {
	mux := http.NewServeMux()
	if metrics != nil {
		mux.Handle("GET /metrics", metrics)
	}
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/cmdline", hideCommandLine)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	return mux
}

// hideCommandLine stands in for pprof.Cmdline: settings given as flags may be secrets.
func hideCommandLine(w http.ResponseWriter, _ *http.Request) {
	http.Error(w, "the command line is not shown: it may hold secrets", http.StatusForbidden)
}
