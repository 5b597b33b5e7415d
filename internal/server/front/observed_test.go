package front

import (
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/propagation"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/berthregistry/berth/internal/telemetry/observe"
	"github.com/berthregistry/berth/internal/telemetry/reqlog"
)

// TestWhatBecameOfARequest holds spans and metrics of answers, refusals, panics and broken connections.
func TestWhatBecameOfARequest(t *testing.T) {
	t.Parallel()
	kept, reader := tracetest.NewInMemoryExporter(), sdkmetric.NewManualReader()
	observer := observe.New(sdktrace.NewTracerProvider(sdktrace.WithSyncer(kept)),
		sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader)))
	server, lines := newFront(t, func(c *Config) { c.Requests = observer.Requests(propagation.TraceContext{}) }, routes{
		"/v2/*path": func(w http.ResponseWriter, r *http.Request) {
			what := strings.TrimPrefix(r.URL.Path, "/v2/")
			reqlog.Set(r.Context(), reqlog.Route, "oci."+what)
			switch what {
			case "refused":
				w.WriteHeader(http.StatusNotFound)
			case "failed":
				panic("a secret")
			case "aborted":
				_, _ = io.WriteString(w, "half of")
				panic(http.ErrAbortHandler)
			}
		},
	})
	for _, path := range []string{"/v2/fine", "/v2/refused", "/v2/failed", "/v2/aborted", "/nowhere", "/healthz"} {
		func() {
			defer func() { _ = recover() }() // as net/http does
			r := httptest.NewRequestWithContext(t.Context(), http.MethodPatch, path+"?token=a-secret", strings.NewReader("body"))
			r.Header.Set("Traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
			server.ServeHTTP(httptest.NewRecorder(), r)
		}()
	}
	var spans []string
	for _, span := range kept.GetSpans() {
		attrs := attribute.NewSet(span.Attributes...)
		failure, _ := attrs.Value("error.type")
		spans = append(spans, span.Name+" "+span.Status.Code.String()+" "+failure.AsString())
		if span.SpanContext.TraceID().String() != "0af7651916cd43dd8448eb211c80319c" {
			t.Errorf("%s is in the trace %s", span.Name, span.SpanContext.TraceID())
		}
		for _, attr := range span.Attributes {
			if strings.Contains(attr.Value.String(), "secret") {
				t.Errorf("%s tells a secret: %v", span.Name, attr)
			}
		}
	}
	want := []string{"oci.fine Unset ", "oci.refused Unset ", "oci.failed Error 500", "oci.aborted Unset ", "PATCH Unset "}
	if !slices.Equal(spans, want) {
		t.Errorf("spans %q, want %q", spans, want)
	}
	if outcomes, want := outcomesOf(t, reader), []string{"oci.aborted aborted", "oci.failed error", "oci.fine ok", "oci.refused refused"}; !slices.Equal(outcomes, want) {
		t.Errorf("outcomes %q, want %q", outcomes, want)
	}
	if line := lines.with(t, "request")[0]; line["trace_id"] != "0af7651916cd43dd8448eb211c80319c" || line["span_id"] == nil {
		t.Errorf("line %v", line)
	}
}

// outcomesOf are the operations that were measured, each with its outcome.
func outcomesOf(t *testing.T, reader sdkmetric.Reader) []string {
	t.Helper()
	var measured metricdata.ResourceMetrics
	if err := reader.Collect(t.Context(), &measured); err != nil {
		t.Fatal(err)
	}
	var outcomes []string
	for _, metric := range measured.ScopeMetrics[0].Metrics {
		histogram, ok := metric.Data.(metricdata.Histogram[float64])
		if !ok || metric.Name != "berth.oci.operation.duration" {
			continue
		}
		for _, point := range histogram.DataPoints {
			operation, _ := point.Attributes.Value("oci.operation")
			outcome, _ := point.Attributes.Value("berth.outcome")
			outcomes = append(outcomes, operation.AsString()+" "+outcome.AsString())
		}
	}
	slices.Sort(outcomes)
	return outcomes
}
