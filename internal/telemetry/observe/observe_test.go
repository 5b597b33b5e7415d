package observe_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"go.opentelemetry.io/otel/propagation"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/berthregistry/berth/internal/telemetry/observe"
	"github.com/berthregistry/berth/internal/telemetry/reqlog"
)

func TestNobodyObserves(t *testing.T) {
	t.Parallel()
	o := observe.New(nil, nil)
	if o != nil || o.Tracer() != nil {
		t.Fatalf("an observer %v", o)
	}
	o.Publish(observe.Figure{Name: "never"})
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
	requests, operations := o.Requests(propagation.TraceContext{}), o.Operations(observe.Component{})
	ctx, exchange := requests.Begin(r, false)
	if ctx != r.Context() {
		t.Error("another context")
	}
	exchange.End(r, observe.Result{})
	ctx, call := operations.Start(t.Context(), "x", "x", nil)
	if ctx != t.Context() {
		t.Error("another context")
	}
	call.Note(observe.Text("a", "b"))
	call.Link(trace.SpanContext{})
	call.End(errors.New("x"))
}

func TestNobodyObservesForNothing(t *testing.T) { //nolint:paralleltest // counts allocations
	var o *observe.Observer
	requests, operations := o.Requests(nil), o.Operations(observe.Component{})
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
	if n := testing.AllocsPerRun(100, func() {
		_, exchange := requests.Begin(r, false)
		ctx, call := operations.Start(r.Context(), "read", "read", nil)
		_ = ctx
		call.End(nil)
		exchange.End(r, observe.Result{})
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestMetricsOfARequestAllocateNothing(t *testing.T) { //nolint:paralleltest // counts allocations
	o := observe.New(nil, sdkmetric.NewMeterProvider(sdkmetric.WithReader(sdkmetric.NewManualReader())))
	requests := o.Requests(nil)
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
	result := observe.Result{
		Facts: reqlog.Facts{Route: "oci.manifest.get", Principal: "user", Project: "active-private"}, Status: 200, Out: 10, Took: time.Millisecond,
	}
	if n := testing.AllocsPerRun(100, func() {
		_, exchange := requests.Begin(r, false)
		exchange.End(r, result)
	}); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

// errGone is a failure, errBusy none.
var errGone, errBusy = errors.New("gone: a secret"), errors.New("busy")

func watched(o *observe.Observer) *observe.Operations {
	return o.Operations(observe.Component{
		Metric: "test.duration", Help: "Tests.", Bounds: []float64{1}, Operation: "test.operation", SpanKind: trace.SpanKindClient,
		Attrs: []observe.Attr{observe.Text("test.kind", "unit")},
		Classify: func(err error) (string, bool) {
			if errors.Is(err, errBusy) {
				return "busy", false
			}
			return "gone", true
		},
	})
}

func TestAnOperationIsASpanAndAMeasurement(t *testing.T) {
	t.Parallel()
	kept, reader := tracetest.NewInMemoryExporter(), sdkmetric.NewManualReader()
	tracing := sdktrace.NewTracerProvider(sdktrace.WithSyncer(kept))
	operations := watched(observe.New(tracing, sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader))))

	_, alone := operations.Start(t.Context(), "read", "reading", nil) // outside a request: no span
	alone.End(nil)
	ctx, request := tracing.Tracer("test").Start(t.Context(), "request")
	for _, err := range []error{nil, errGone, errBusy} {
		_, call := operations.Start(ctx, "read", "reading", func() []observe.Attr { return []observe.Attr{observe.Text("more", "yes")} })
		call.End(err)
		call.End(errGone) // the second time it has no effect
	}
	spans := kept.GetSpans()
	if len(spans) != 3 {
		t.Fatalf("%d spans", len(spans))
	}
	for i, want := range []string{"{Unset }", "{Error gone}", "{Unset }"} {
		if got := spans[i]; got.Name != "reading" || got.Parent.SpanID() != request.SpanContext().SpanID() || len(got.Events) > 0 {
			t.Errorf("span %+v", got)
		} else if status := "{" + got.Status.Code.String() + " " + got.Status.Description + "}"; status != want {
			t.Errorf("status %s, want %s", status, want)
		}
	}
	var measured metricdata.ResourceMetrics
	if err := reader.Collect(context.Background(), &measured); err != nil {
		t.Fatal(err)
	}
	histogram, _ := measured.ScopeMetrics[0].Metrics[0].Data.(metricdata.Histogram[float64])
	counts := map[string]uint64{}
	for _, point := range histogram.DataPoints {
		word, _ := point.Attributes.Value("error.type")
		counts[word.AsString()] += point.Count
	}
	if counts[""] != 2 || counts["gone"] != 1 || counts["busy"] != 1 {
		t.Errorf("counts %v", counts)
	}
}
