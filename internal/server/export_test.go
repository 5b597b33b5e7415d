package server

import (
	"context"
	"errors"
	"net/http"

	"github.com/berthregistry/berth/internal/config"
)

// NewHandler makes a whole server without a listener, for benchmarks. close ends it.
func NewHandler(ctx context.Context, cfg config.Config, opts Options) (handler http.Handler, end func() error, err error) {
	opts = opts.withDefaults()
	telemetry, err := startTelemetry(ctx, cfg, opts)
	if err != nil {
		return nil, nil, err
	}
	backends, err := openBackends(ctx, cfg, opts, telemetry.Observer())
	if err != nil {
		return nil, nil, err
	}
	end = func() error { return errors.Join(backends.close(), telemetry.Stop(ctx)) }
	services, err := newServices(backends, cfg, cfg.Endpoints("127.0.0.1:5000"), opts, telemetry.Observer())
	if err != nil {
		return nil, nil, errors.Join(err, end())
	}
	web, err := newFront(cfg, opts, backends, services, telemetry)
	if err != nil {
		return nil, nil, errors.Join(err, end())
	}
	if err := ensureAdmin(ctx, services.auth, cfg.Admin, cfg.Endpoints("127.0.0.1:5000"), opts.Stdout); err != nil {
		return nil, nil, errors.Join(err, end())
	}
	return web, end, nil
}
