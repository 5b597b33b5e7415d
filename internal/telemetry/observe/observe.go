// Package observe is how components are observed while they work: a span and a duration for each of their operations,
// figures that are read when somebody asks for them, and the requests themselves. It needs nothing but the API of
// OpenTelemetry; where spans and metrics go is decided elsewhere (package otelsetup).
//
// Everything here works on nil and then does nothing, so a server without telemetry pays for one comparison.
//
// What metrics tell apart is bounded: kinds, classes, routes and outcomes that the program itself names. No name of a
// tenant, repository or user, and no text of a client, becomes an attribute of a metric.
package observe

import (
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"
)

// scope names who makes the spans and metrics.
const scope = "github.com/berthregistry/berth"

// Observer makes what components are observed with. A nil one makes nothing.
type Observer struct {
	tracer trace.Tracer // nil: no spans
	meter  metric.Meter // nil: no metrics
}

// New makes an Observer. Either provider may be nil, for no spans or no metrics; with neither, the Observer is nil too.
func New(spans trace.TracerProvider, metrics metric.MeterProvider) *Observer {
	if spans == nil && metrics == nil {
		return nil
	}
	o := &Observer{}
	if spans != nil {
		o.tracer = spans.Tracer(scope)
	}
	if metrics != nil {
		o.meter = metrics.Meter(scope)
	}
	return o
}

// Tracer returns what makes spans, or nil where there are to be none.
func (o *Observer) Tracer() trace.Tracer {
	if o == nil {
		return nil
	}
	return o.tracer
}

// measures tells whether there are metrics.
func (o *Observer) measures() bool { return o != nil && o.meter != nil }

// Attr is an attribute of a metric or span.
type Attr = attribute.KeyValue

// Text makes an attribute.
func Text(key, value string) Attr { return attribute.String(key, value) }

// recording is the options of a measurement, made once: a slice that is passed on as it is costs no memory.
type recording struct {
	record []metric.RecordOption
	add    []metric.AddOption
}

func newRecording(attrs ...Attr) *recording {
	set := metric.WithAttributeSet(attribute.NewSet(attrs...))
	return &recording{record: []metric.RecordOption{set}, add: []metric.AddOption{set}}
}

// histogram makes a histogram of seconds.
func (o *Observer) histogram(name, help string, bounds []float64) (metric.Float64Histogram, error) {
	return o.meter.Float64Histogram(name, //nolint:wrapcheck // names the instrument
		metric.WithUnit("s"), metric.WithDescription(help), metric.WithExplicitBucketBoundaries(bounds...))
}

func (o *Observer) counter(name, unit, help string) (metric.Int64Counter, error) {
	return o.meter.Int64Counter(name, metric.WithUnit(unit), metric.WithDescription(help)) //nolint:wrapcheck // names the instrument
}
