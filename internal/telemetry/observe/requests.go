package observe

import (
	"context"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/berthregistry/berth/internal/telemetry/reqlog"
)

var (
	// httpBounds are those that the semantic conventions advise.
	httpBounds = []float64{0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10}
	// operationBounds reach from a manifest in the cache to a layer over a slow line, in few buckets: each counts once
	// for every operation, outcome and kind.
	operationBounds = []float64{0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5, 30, 300}
)

// methods are those that are named; all others are "_OTHER".
var methods = []string{
	http.MethodGet, http.MethodHead, http.MethodPut, http.MethodPatch, http.MethodPost, http.MethodDelete,
	http.MethodOptions, http.MethodConnect, http.MethodTrace, "_OTHER",
}

const (
	// ociPrefix begins the names of the routes that are operations of the registry.
	ociPrefix = "oci."
	// noRoute is the route of a request that no route was found for.
	noRoute = "_OTHER"
	// noKind is the kind of what a request does not have.
	noKind = "none"
)

// Requests observes the requests of the HTTP server. A nil one observes nothing.
type Requests struct {
	tracer     trace.Tracer
	propagator propagation.TextMapPropagator
	durations  metric.Float64Histogram
	operations metric.Float64Histogram
	traffic    metric.Int64Counter
	active     []atomic.Int64 // by method
	served     cache[served, recording]
	operated   cache[operated, recording]
	moved      cache[moved, recording]
}

// The keys of what is measured about a request.
type (
	served struct {
		method int
		route  string
		status int
		tls    bool
	}
	operated struct{ operation, outcome, principal, project string }
	moved    struct {
		out                bool
		principal, project string
	}
)

// Requests prepares the observation of the HTTP server. propagator finds the trace that a request belongs to.
func (o *Observer) Requests(propagator propagation.TextMapPropagator) *Requests {
	if o == nil {
		return nil
	}
	r := &Requests{tracer: o.tracer, propagator: propagator, active: make([]atomic.Int64, len(methods))}
	if !o.measures() {
		return r
	}
	r.durations = must(o.histogram("http.server.request.duration", "Duration of HTTP server requests.", httpBounds))
	r.operations = must(o.histogram("berth.oci.operation.duration",
		"Duration of operations of the registry API, by kinds of projects and principals.", operationBounds))
	r.traffic = must(o.counter("berth.http.io", "By", "Bytes of request bodies in and of answers out."))
	o.Publish(Figure{
		Name: "http.server.active_requests", Unit: "{request}", Help: "Number of active HTTP server requests.", Kind: UpDown,
		Read: func(say Say) {
			for i := range r.active {
				say(r.active[i].Load(), Text("http.request.method", methods[i]))
			}
		},
	})
	return r
}

// Exchange is a request under way.
type Exchange struct {
	requests *Requests
	method   int
	span     trace.Span
}

// Result is what became of a request.
type Result struct {
	// Facts are what the handlers said about it.
	Facts reqlog.Facts
	// Status is that of the answer; 0: none was sent.
	Status int
	// In and Out are the bytes of the bodies.
	In, Out int64
	// Took is how long it was under way.
	Took time.Duration
	// Aborted says that the answer is not complete: the client has gone, or the server gave up.
	Aborted bool
	// RemoteIP is the client's address as far as the server believes it, for the span.
	RemoteIP string
}

// Begin begins the observation of a request. quiet ones, such as probes, have no span. The returned context carries the
// span. End the exchange.
func (rs *Requests) Begin(r *http.Request, quiet bool) (context.Context, Exchange) {
	ctx := r.Context()
	if rs == nil {
		return ctx, Exchange{}
	}
	x := Exchange{requests: rs, method: slices.Index(methods, r.Method)}
	if x.method < 0 {
		x.method = len(methods) - 1
	}
	rs.active[x.method].Add(1)
	if rs.tracer == nil || quiet {
		return ctx, x
	}
	ctx = rs.propagator.Extract(ctx, propagation.HeaderCarrier(r.Header))
	ctx, x.span = rs.tracer.Start(ctx, x.spanName(""),
		trace.WithSpanKind(trace.SpanKindServer), trace.WithAttributes(
			attribute.String("http.request.method", methods[x.method]), attribute.String("url.scheme", scheme(r.TLS != nil))))
	if x.span.IsRecording() {
		x.describe(r)
	}
	return ctx, x
}

// describe adds what is known from the start. The query stays out: it may hold upload state or tokens.
func (x *Exchange) describe(r *http.Request) {
	x.span.SetAttributes(
		attribute.String("url.path", cut(r.URL.EscapedPath())),
		attribute.String("server.address", cut(r.Host)),
		attribute.String("network.protocol.version", strconv.Itoa(r.ProtoMajor)+"."+strconv.Itoa(r.ProtoMinor)),
		attribute.String("user_agent.original", cut(r.UserAgent())),
	)
}

// maxText bounds the texts of a client in a span, in bytes.
const maxText = 256

func cut(s string) string {
	return strings.ToValidUTF8(s[:min(len(s), maxText)], "\uFFFD")
}

func (x *Exchange) spanName(route string) string {
	switch {
	case route != "":
		return route
	case x.method == len(methods)-1:
		return "HTTP"
	}
	return methods[x.method]
}

// End ends the exchange. r is the request as it came.
func (x *Exchange) End(r *http.Request, result Result) {
	rs := x.requests
	if rs == nil {
		return
	}
	rs.active[x.method].Add(-1)
	if result.Status == 0 && !result.Aborted {
		result.Status = http.StatusOK // as net/http answers for a handler that says nothing
	}
	ctx := context.Background()
	if x.span != nil {
		ctx = trace.ContextWithSpan(ctx, x.span)
		x.endSpan(result)
	}
	if rs.durations != nil {
		x.measure(ctx, r.TLS != nil, result)
	}
}

func (x *Exchange) endSpan(result Result) {
	defer x.span.End()
	if !x.span.IsRecording() {
		return
	}
	if route := result.Facts.Route; route != "" {
		x.span.SetName(route)
		x.span.SetAttributes(attribute.String("http.route", route))
	}
	x.span.SetAttributes(
		attribute.Int64("http.request.body.size", result.In), attribute.Int64("http.response.body.size", result.Out),
		attribute.String("client.address", result.RemoteIP),
		attribute.String("berth.principal.kind", orNone(result.Facts.Principal)),
		attribute.String("berth.project.kind", orNone(result.Facts.Project)),
	)
	if result.Status != 0 {
		x.span.SetAttributes(attribute.Int("http.response.status_code", result.Status))
	}
	if failure := failureOf(result.Status); failure != "" {
		x.span.SetAttributes(attribute.String("error.type", failure))
	}
	if result.Status >= http.StatusInternalServerError {
		x.span.SetStatus(codes.Error, "")
	}
}

func (x *Exchange) measure(ctx context.Context, tls bool, result Result) {
	rs, facts, took := x.requests, result.Facts, result.Took.Seconds()
	principal, project := orNone(facts.Principal), orNone(facts.Project)
	route := facts.Route
	if route == "" {
		route = noRoute
	}
	rs.durations.Record(ctx, took, rs.served.get(served{x.method, route, result.Status, tls}, recordServed).record...)
	if strings.HasPrefix(route, ociPrefix) {
		key := operated{route, outcomeOf(result), principal, project}
		rs.operations.Record(ctx, took, rs.operated.get(key, recordOperated).record...)
	}
	if result.In > 0 {
		rs.traffic.Add(ctx, result.In, rs.moved.get(moved{false, principal, project}, recordMoved).add...)
	}
	if result.Out > 0 {
		rs.traffic.Add(ctx, result.Out, rs.moved.get(moved{true, principal, project}, recordMoved).add...)
	}
}

func recordServed(key served) *recording {
	attrs := []Attr{
		attribute.String("http.request.method", methods[key.method]), attribute.String("http.route", key.route),
		attribute.String("url.scheme", scheme(key.tls)),
	}
	if key.status != 0 {
		attrs = append(attrs, attribute.Int("http.response.status_code", key.status))
	}
	if failure := failureOf(key.status); failure != "" {
		attrs = append(attrs, attribute.String("error.type", failure))
	}
	return newRecording(attrs...)
}

func recordOperated(key operated) *recording {
	return newRecording(
		attribute.String("oci.operation", key.operation), attribute.String("berth.outcome", key.outcome),
		attribute.String("berth.principal.kind", key.principal), attribute.String("berth.project.kind", key.project),
	)
}

func recordMoved(key moved) *recording {
	direction := "receive"
	if key.out {
		direction = "transmit"
	}
	return newRecording(
		attribute.String("network.io.direction", direction),
		attribute.String("berth.principal.kind", key.principal), attribute.String("berth.project.kind", key.project),
	)
}

// failureOf is the error.type of a status: that of failures of the server, and of an answer that never began.
func failureOf(status int) string {
	switch {
	case status == 0:
		return "aborted"
	case status >= http.StatusInternalServerError:
		return strconv.Itoa(status)
	}
	return ""
}

func outcomeOf(result Result) string {
	switch {
	case result.Status >= http.StatusInternalServerError:
		return "error"
	case result.Aborted:
		return "aborted"
	case result.Status >= http.StatusBadRequest:
		return "refused"
	}
	return "ok"
}

func scheme(tls bool) string {
	if tls {
		return "https"
	}
	return "http"
}

func orNone(kind string) string {
	if kind == "" {
		return noKind
	}
	return kind
}
