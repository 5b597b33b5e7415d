package observe

import (
	"context"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"
)

// Component describes a part of the program that other parts ask for something.
type Component struct {
	// Metric names the histogram of how long its operations take, Help describes it, Bounds are its buckets in seconds.
	Metric, Help string
	Bounds       []float64
	// Attrs are those of all its spans and measurements.
	Attrs []Attr
	// Operation is the key of the attribute that names an operation.
	Operation string
	// SpanKind says what its spans are.
	SpanKind trace.SpanKind
	// Classify names an error in a word, from a small set; "" is no failure. failed says whether the span failed, too.
	// It is never asked about nil.
	Classify func(err error) (word string, failed bool)
}

// Operations observes a component. A nil one observes nothing.
type Operations struct {
	component Component
	tracer    trace.Tracer
	durations metric.Float64Histogram
	outcomes  cache[outcome, recording]
}

// outcome is what a measurement of a component tells apart.
type outcome struct{ operation, failure string }

// Operations prepares the observation of a component. It panics for a description that OpenTelemetry does not accept:
// that is a mistake in the program, found when it starts.
func (o *Observer) Operations(c Component) *Operations {
	if o == nil {
		return nil
	}
	ops := &Operations{component: c, tracer: o.tracer}
	if o.measures() {
		ops.durations = must(o.histogram(c.Metric, c.Help, c.Bounds))
	}
	return ops
}

func must[T any](value T, err error) T {
	if err != nil {
		panic("observe: " + err.Error())
	}
	return value
}

// Call is an operation under way. The zero value is one that nobody observes.
type Call struct {
	ops       *Operations
	operation string
	began     time.Time
	span      trace.Span
}

// Start begins an operation. operation must be one of a few; span names the span where that says more. The returned
// context carries the span. attrs are called only if the span is kept. End the call.
func (ops *Operations) Start(ctx context.Context, operation, span string, attrs func() []Attr) (context.Context, Call) {
	if ops == nil {
		return ctx, Call{}
	}
	call := Call{ops: ops, operation: operation, began: time.Now()}
	// Without a span around it, it is the program's own doing: checks, workers. Those would be traces of one span each.
	if ops.tracer == nil || !trace.SpanContextFromContext(ctx).IsSampled() {
		return ctx, call
	}
	ctx, call.span = ops.tracer.Start(ctx, span, trace.WithSpanKind(ops.component.SpanKind), trace.WithTimestamp(call.began))
	call.span.SetAttributes(ops.component.Attrs...)
	call.span.SetAttributes(attribute.String(ops.component.Operation, operation))
	if attrs != nil {
		call.span.SetAttributes(attrs()...)
	}
	return ctx, call
}

// Note adds attributes to the span, if there is one.
func (c *Call) Note(attrs ...Attr) {
	if c.span != nil {
		c.span.SetAttributes(attrs...)
	}
}

// Link links the span to another one, if there are both.
func (c *Call) Link(other trace.SpanContext) {
	if c.span != nil && other.IsValid() {
		c.span.AddLink(trace.Link{SpanContext: other})
	}
}

// End ends the operation. It does nothing when it is called again.
func (c *Call) End(err error) {
	ops := c.ops
	if ops == nil {
		return
	}
	c.ops = nil
	word, failed := "", false
	if err != nil {
		word, failed = ops.component.Classify(err)
	}
	if c.span != nil {
		c.endSpan(word, failed)
	}
	if ops.durations == nil {
		return
	}
	options := ops.outcomes.get(outcome{c.operation, word}, ops.recording)
	ctx := context.Background()
	if c.span != nil { // whose IDs become an exemplar
		ctx = trace.ContextWithSpan(ctx, c.span)
	}
	ops.durations.Record(ctx, time.Since(c.began).Seconds(), options.record...)
}

// endSpan tells only the word: the error itself may hold what a trace must not, and is in the log.
func (c *Call) endSpan(word string, failed bool) {
	if word != "" {
		c.span.SetAttributes(attribute.String("error.type", word))
	}
	if failed {
		c.span.SetStatus(codes.Error, word)
	}
	c.span.End()
}

func (ops *Operations) recording(o outcome) *recording {
	attrs := append([]Attr{attribute.String(ops.component.Operation, o.operation)}, ops.component.Attrs...)
	if o.failure != "" {
		attrs = append(attrs, attribute.String("error.type", o.failure))
	}
	return newRecording(attrs...)
}
