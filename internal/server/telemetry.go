package server

import (
	"context"
	"log/slog"

	"github.com/berthregistry/berth/internal/config"
	"github.com/berthregistry/berth/internal/telemetry/otelsetup"
)

// startTelemetry makes metrics where there is an address to scrape them from, and what the OTEL_* variables ask for.
func startTelemetry(ctx context.Context, cfg config.Config, opts Options) (*otelsetup.Telemetry, error) {
	return otelsetup.Start(ctx, otelsetup.Config{ //nolint:wrapcheck // names the variables
		Version: opts.Version, Scrape: cfg.Operation.MetricsAddr != "", Spans: opts.Spans, Logger: opts.Logger,
	})
}

// stopTelemetry sends what is left. A collector that does not answer is no reason for the server to fail.
func stopTelemetry(ctx context.Context, t *otelsetup.Telemetry, logger *slog.Logger) {
	if err := t.Stop(ctx); err != nil {
		logger.WarnContext(ctx, "the last telemetry is lost", slog.String("error", err.Error()))
	}
}
