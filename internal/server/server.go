// Package server is the composition root: it turns settings into a running Berth. It alone knows every other package;
// none of them knows it.
package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"time"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/berthregistry/berth/internal/api"
	"github.com/berthregistry/berth/internal/config"
	"github.com/berthregistry/berth/internal/server/front"
	"github.com/berthregistry/berth/internal/telemetry/otelsetup"
)

// Options is what [Run] gets besides the settings. The zero value of each field works.
type Options struct {
	// Logger takes the access log and everything else that is worth knowing. Nil: [NewLogger] on io.Discard.
	Logger *slog.Logger
	// Stdout takes what a person at the terminal needs: the credentials of the first start, which are shown nowhere
	// else, and where the server listens. Nil: nowhere.
	Stdout io.Writer
	// Ready is called once, when the server accepts connections.
	Ready func(Addresses)
	// Clock tells the time to everything but the network. Nil: time.Now.
	Clock func() time.Time
	// Version is what the start of the log, and telemetry, say.
	Version string
	// Spans takes all spans, besides the collector that OTEL_* variables name. Nil: none.
	Spans sdktrace.SpanExporter
}

// Addresses is where a running server is.
type Addresses struct {
	// API is the address of the listener.
	API net.Addr
	// Operator is the address of /metrics and /debug/pprof, nil where there is none.
	Operator net.Addr
	// Endpoints are the public names.
	Endpoints config.Endpoints
}

func (o Options) withDefaults() Options {
	if o.Stdout == nil {
		o.Stdout = io.Discard
	}
	if o.Logger == nil {
		o.Logger = NewLogger(io.Discard, config.Log{Level: "info", Format: "text"})
	}
	if o.Ready == nil {
		o.Ready = func(Addresses) {}
	}
	if o.Clock == nil {
		o.Clock = time.Now
	}
	return o
}

// Run starts a whole server and serves until ctx is done; then it drains and returns nil. Everything that it opened is
// closed when it returns. Errors: config.Problems for bad settings, and whatever kept it from starting or serving.
func Run(ctx context.Context, cfg config.Config, opts Options) (err error) {
	opts = opts.withDefaults()
	if err := Validate(cfg); err != nil {
		return err
	}
	go api.Prepare() // while the backends are opened
	announce(ctx, cfg, opts)

	telemetry, err := startTelemetry(ctx, cfg, opts)
	if err != nil {
		return err
	}
	defer stopTelemetry(ctx, telemetry, opts.Logger)

	backends, err := openBackends(ctx, cfg, opts, telemetry.Observer())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, backends.close()) }()
	if err := backends.openCache(cfg.Storage, opts); err != nil {
		return err
	}

	var lc net.ListenConfig
	listener, err := lc.Listen(ctx, "tcp", cfg.HTTP.Addr)
	if err != nil {
		return fmt.Errorf("BERTH_ADDR: %w", err)
	}
	defer listener.Close() //nolint:errcheck // closed twice after serving; before it, there is nothing to lose
	endpoints := cfg.Endpoints(listener.Addr().String())

	services, err := newServices(backends, cfg, endpoints, opts, telemetry.Observer())
	if err != nil {
		return err
	}
	web, err := newFront(cfg, opts, backends, services, telemetry)
	if err != nil {
		return err
	}
	operator, err := startOperator(ctx, cfg.Operation.MetricsAddr, telemetry.Handler(), opts.Logger)
	if err != nil {
		return err
	}
	defer operator.close()

	// Last of all: credentials are shown once, so nothing may keep the server from starting afterwards.
	if err := ensureAdmin(ctx, services.auth, cfg.Admin, endpoints, opts.Stdout); err != nil {
		if !cfg.Operation.Migrate {
			err = fmt.Errorf("%w (BERTH_MIGRATE is off: has berth migrate been run?)", err)
		}
		return err
	}
	return web.Serve(ctx, listener, func() { //nolint:wrapcheck // its own words
		_, _ = fmt.Fprintf(opts.Stdout, "berth is listening on %s, public URL %s\n", listener.Addr(), endpoints.PublicURL) // the log says so too
		opts.Logger.InfoContext(ctx, "listening",
			slog.String("address", listener.Addr().String()), slog.String("metrics_address", operator.address()),
			slog.String("public_url", endpoints.PublicURL))
		if err := notifyManager("READY=1"); err != nil {
			opts.Logger.WarnContext(ctx, "the service manager cannot be told that the server listens", slog.String("error", err.Error()))
		}
		opts.Ready(Addresses{API: listener.Addr(), Operator: operator.addr(), Endpoints: endpoints})
	})
}

// newFront puts the services behind HTTP.
func newFront(
	cfg config.Config, opts Options, b *backends, s *services, telemetry *otelsetup.Telemetry,
) (*front.Server, error) {
	return front.New(front.Config{ //nolint:wrapcheck // names the variables
		HTTP: cfg.HTTP, TLS: cfg.TLS, Logger: opts.Logger, Clock: opts.Clock,
		Planes: s.planes, Workers: s.workers, Checks: b.checks(),
		Requests: telemetry.Observer().Requests(telemetry.Propagator()),
	})
}

// announce logs what was asked for and what of it looks like a mistake.
func announce(ctx context.Context, cfg config.Config, opts Options) {
	opts.Logger.InfoContext(ctx, "starting", slog.String("version", opts.Version),
		slog.String("database", cfg.Database.URL.String()), slog.String("storage", cfg.Storage.URL.String()))
	opts.Logger.DebugContext(ctx, "settings", slog.Any("settings", cfg))
	for _, warning := range cfg.Warnings() {
		opts.Logger.WarnContext(ctx, "settings that are probably not meant", slog.String("warning", warning))
	}
}
