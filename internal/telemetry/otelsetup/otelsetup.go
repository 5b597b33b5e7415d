// Package otelsetup decides where spans and metrics go: by the standard OTEL_* variables to a collector, and to whoever
// scrapes /metrics. What is not asked for is not made.
package otelsetup

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/google/uuid"
	promclient "github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.opentelemetry.io/contrib/exporters/autoexport"
	"go.opentelemetry.io/contrib/instrumentation/runtime"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/prometheus"
	"go.opentelemetry.io/otel/propagation"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/berthregistry/berth/internal/telemetry/observe"
)

// flushTimeout bounds how long the end of the process waits for a collector that does not answer.
const flushTimeout = 5 * time.Second

// Config is what a Telemetry is made of.
type Config struct {
	// Version is that of the program.
	Version string
	// Scrape makes metrics for Handler, whatever the environment says.
	Scrape bool
	// Spans takes all spans besides the collector. Nil: none.
	Spans sdktrace.SpanExporter
	// Logger hears of what could not be sent.
	Logger *slog.Logger
}

// Telemetry is where spans and metrics go. Make one with [Start].
type Telemetry struct {
	spans    *sdktrace.TracerProvider
	metrics  *sdkmetric.MeterProvider
	registry *promclient.Registry
	observer *observe.Observer
}

// Start reads the environment and begins to send what it asks for. Nothing is sent to a collector that it does not name.
// Errors: settings that cannot work, naming their variables.
func Start(ctx context.Context, cfg Config) (*Telemetry, error) {
	asked, err := readEnvironment()
	if err != nil {
		return nil, err
	}
	t := &Telemetry{}
	if !asked.traces && !asked.metrics && !cfg.Scrape && cfg.Spans == nil {
		return t, nil
	}
	// It is global to the process; otherwise what goes wrong is written to the standard error as it is.
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) {
		cfg.Logger.WarnContext(context.WithoutCancel(ctx), "telemetry could not be sent", slog.String("error", err.Error()))
	}))
	about, err := describe(ctx, cfg)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(t.startSpans(ctx, cfg, asked, about), t.startMetrics(ctx, cfg, asked, about)); err != nil {
		return nil, errors.Join(err, t.Stop(ctx))
	}
	t.observer = t.observe()
	return t, nil
}

// observe leaves out what there is none of: a provider that is a nil pointer is not nil for package observe.
func (t *Telemetry) observe() *observe.Observer {
	switch {
	case t.spans == nil && t.metrics == nil:
		return nil
	case t.spans == nil:
		return observe.New(nil, t.metrics)
	case t.metrics == nil:
		return observe.New(t.spans, nil)
	}
	return observe.New(t.spans, t.metrics)
}

// describe says who sends: OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES come last and so count. Replicas are told
// apart by an ID of each process.
func describe(ctx context.Context, cfg Config) (*resource.Resource, error) {
	instance, err := uuid.NewRandom()
	if err != nil {
		return nil, fmt.Errorf("telemetry: %w", err)
	}
	about, err := resource.New(ctx,
		resource.WithTelemetrySDK(),
		resource.WithAttributes(
			attribute.String("service.name", "berth"), attribute.String("service.version", cfg.Version),
			attribute.String("service.instance.id", instance.String()),
		),
		resource.WithFromEnv(),
	)
	if err != nil {
		return nil, fmt.Errorf("OTEL_RESOURCE_ATTRIBUTES: %w", err)
	}
	return about, nil
}

// startSpans makes spans. Which requests are traced is for OTEL_TRACES_SAMPLER, which the SDK reads itself.
func (t *Telemetry) startSpans(ctx context.Context, cfg Config, asked environment, about *resource.Resource) error {
	if !asked.traces && cfg.Spans == nil {
		return nil
	}
	options := []sdktrace.TracerProviderOption{sdktrace.WithResource(about)}
	if cfg.Spans != nil {
		options = append(options, sdktrace.WithSyncer(cfg.Spans))
	}
	if asked.traces {
		exporter, err := autoexport.NewSpanExporter(ctx)
		if err != nil {
			return fmt.Errorf("OTEL_TRACES_EXPORTER: %w", err)
		}
		options = append(options, sdktrace.WithBatcher(exporter))
	}
	t.spans = sdktrace.NewTracerProvider(options...)
	return nil
}

func (t *Telemetry) startMetrics(ctx context.Context, cfg Config, asked environment, about *resource.Resource) error {
	if !asked.metrics && !cfg.Scrape {
		return nil
	}
	options := []sdkmetric.Option{sdkmetric.WithResource(about)}
	if cfg.Scrape {
		t.registry = promclient.NewRegistry()
		reader, err := prometheus.New(prometheus.WithRegisterer(t.registry), prometheus.WithoutScopeInfo())
		if err != nil {
			return fmt.Errorf("metrics: %w", err)
		}
		options = append(options, sdkmetric.WithReader(reader))
	}
	if asked.metrics {
		reader, err := autoexport.NewMetricReader(ctx)
		if err != nil {
			return fmt.Errorf("OTEL_METRICS_EXPORTER: %w", err)
		}
		options = append(options, sdkmetric.WithReader(reader))
	}
	t.metrics = sdkmetric.NewMeterProvider(options...)
	if err := runtime.Start(runtime.WithMeterProvider(t.metrics)); err != nil {
		return fmt.Errorf("metrics of the runtime: %w", err)
	}
	return nil
}

// Observer is what components are observed with, nil where nothing is asked for.
func (t *Telemetry) Observer() *observe.Observer { return t.observer }

// Propagator finds the trace that a request belongs to in its header traceparent. Baggage is left alone: nothing here
// reads it, and a client could send any amount.
func (t *Telemetry) Propagator() propagation.TextMapPropagator { return propagation.TraceContext{} }

// Handler answers scrapes of Prometheus, or is nil where metrics are not made for them.
func (t *Telemetry) Handler() http.Handler {
	if t.registry == nil {
		return nil
	}
	return promhttp.HandlerFor(t.registry, promhttp.HandlerOpts{})
}

// Stop sends what has not been sent yet, for some seconds at most, and ends. ctx may be done already.
func (t *Telemetry) Stop(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), flushTimeout)
	defer cancel()
	var err error
	if t.spans != nil {
		err = t.spans.Shutdown(ctx)
	}
	if t.metrics != nil {
		err = errors.Join(err, t.metrics.Shutdown(ctx))
	}
	if err != nil {
		return fmt.Errorf("send the last telemetry: %w", err)
	}
	return nil
}
