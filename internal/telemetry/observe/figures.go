package observe

import (
	"context"

	"go.opentelemetry.io/otel/metric"
)

// Kind is what a [Figure] is.
type Kind uint8

// The kinds of figures.
const (
	Gauge   Kind = iota // a value that stands by itself, such as a limit
	UpDown              // an amount that rises and falls, and can be summed over replicas
	Counter             // an amount since the start, which only rises
)

// Say tells the value of a figure for some attributes.
type Say func(value int64, attrs ...Attr)

// Figure is a number that a component keeps anyway, and that is read when metrics are collected. That is how a component
// gets metrics without knowing of them: it has a method Stats, which returns a plain struct, and whoever wires it publishes
// the struct's fields:
//
//	observer.Publish(observe.Figure{
//		Name: "berth.webhook.pending", Unit: "{delivery}", Kind: observe.UpDown,
//		Help: "Deliveries that wait.",
//		Read: observe.Value(func() int64 { return dispatcher.Stats().Pending }),
//	})
//
// Attributes take values from a small set that the program names. A counter with attributes says zero for all of them from
// the start, so that the first increase is seen.
type Figure struct {
	// Name is the instrument's, in the form of the semantic conventions: dots between words, no unit, no "total".
	Name string
	// Unit is what is counted: "By", "s", or a thing in braces such as "{request}".
	Unit string
	// Help is one sentence.
	Help string
	// Kind is what it is.
	Kind Kind
	// Read tells the value, or several with different attributes. It must be quick, and may be called at any time.
	Read func(say Say)
}

// Value is the Read of a figure without attributes.
func Value(read func() int64) func(Say) {
	return func(say Say) { say(read()) }
}

// Publish adds figures. It panics for one that OpenTelemetry does not accept: that is a mistake in the program, found
// when it starts.
func (o *Observer) Publish(figures ...Figure) {
	if !o.measures() {
		return
	}
	for _, f := range figures {
		o.publish(f)
	}
}

func (o *Observer) publish(f Figure) {
	read := func(_ context.Context, to metric.Int64Observer) error {
		f.Read(func(value int64, attrs ...Attr) { to.Observe(value, metric.WithAttributes(attrs...)) })
		return nil
	}
	var err error
	switch f.Kind {
	case Counter:
		_, err = o.meter.Int64ObservableCounter(f.Name,
			metric.WithUnit(f.Unit), metric.WithDescription(f.Help), metric.WithInt64Callback(read))
	case UpDown:
		_, err = o.meter.Int64ObservableUpDownCounter(f.Name,
			metric.WithUnit(f.Unit), metric.WithDescription(f.Help), metric.WithInt64Callback(read))
	case Gauge:
		_, err = o.meter.Int64ObservableGauge(f.Name,
			metric.WithUnit(f.Unit), metric.WithDescription(f.Help), metric.WithInt64Callback(read))
	}
	must(f, err)
}
