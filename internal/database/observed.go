package database

import (
	"context"
	"errors"
	"regexp"
	"strings"
	"sync"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"

	"github.com/berthregistry/berth/internal/telemetry/observe"
)

// durationBounds are the buckets of db.client.operation.duration, as the semantic conventions advise, with one below.
var durationBounds = []float64{0.0001, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10}

// batchOperation is the operation of [DB.Run].
const batchOperation = "BATCH"

// observedEngine is an engine with a span and a duration for each call: one exchange with the database, or one
// transaction. A span names statements by what they do and to which table; their texts are constants of the program, and
// their parameters are told to nobody.
type observedEngine struct {
	engine
	calls *observe.Operations
}

// observed leaves an engine as it is where nobody watches.
func observed(e engine, o *observe.Observer) engine {
	calls := watched(e.dialect(), o)
	if calls == nil {
		return e
	}
	return &observedEngine{engine: e, calls: calls}
}

func watched(dialect string, o *observe.Observer) *observe.Operations {
	system := map[string]string{Postgres: "postgresql", SQLite: "sqlite"}[dialect]
	return o.Operations(observe.Component{
		Metric: "db.client.operation.duration", Help: "Duration of database client operations.", Bounds: durationBounds,
		Attrs:     []observe.Attr{observe.Text("db.system.name", system)},
		Operation: "db.operation.name", SpanKind: trace.SpanKindClient, Classify: failureWord,
	})
}

// failureWord names an error. What the statements themselves are there to find out is no failure of the database.
func failureWord(err error) (word string, failed bool) {
	switch {
	case errors.Is(err, ErrNoRows):
		return "", false
	case errors.Is(err, ErrUnclear):
		return "unclear", true
	case errors.Is(err, ErrUnavailable):
		return "unavailable", true
	case errors.Is(err, ErrConflict):
		return "conflict", false
	case errors.Is(err, ErrForeignKey):
		return "foreign_key", false
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return "canceled", false
	}
	return "_OTHER", true
}

func (e *observedEngine) queryRow(ctx context.Context, t *texts, args, dest []any) error {
	one := summaryOf(t)
	ctx, call := e.calls.Start(ctx, one.verb, one.text, nil)
	err := e.engine.queryRow(ctx, t, args, dest)
	call.End(err)
	return err
}

// query's span ends with its rows.
func (e *observedEngine) query(ctx context.Context, t *texts, args []any) (Rows, error) {
	one := summaryOf(t)
	ctx, call := e.calls.Start(ctx, one.verb, one.text, nil)
	rows, err := e.engine.query(ctx, t, args)
	if err != nil {
		call.End(err)
		return nil, err
	}
	return &observedRows{Rows: rows, call: call}, nil
}

func (e *observedEngine) run(ctx context.Context, b *Batch) error {
	ctx, call := e.calls.Start(ctx, batchOperation, batchOperation, b.describe)
	err := e.engine.run(ctx, b)
	if b.asked(err) {
		call.End(nil)
		return err
	}
	call.End(err)
	return err
}

// asked tells whether err is the answer of a Require, or of a scan: not the database's.
func (b *Batch) asked(err error) bool {
	if err == nil {
		return false
	}
	for i := range b.ops {
		if otherwise := b.ops[i].otherwise; otherwise != nil && errors.Is(err, otherwise) {
			return true
		}
	}
	return false
}

// maxSummary bounds the text that describes a batch, in bytes.
const maxSummary = 255

func (b *Batch) describe() []observe.Attr {
	var text strings.Builder
	for i := range b.ops {
		one := summaryOf(b.ops[i].texts).text
		if text.Len()+len(one)+2 > maxSummary {
			break
		}
		if i > 0 {
			text.WriteString("; ")
		}
		text.WriteString(one)
	}
	return []observe.Attr{
		attribute.Int("db.operation.batch.size", len(b.ops)), observe.Text("db.query.summary", text.String()),
	}
}

// observedRows end the call that read them.
type observedRows struct {
	Rows
	call observe.Call
}

// Next implements Rows.
func (r *observedRows) Next() bool {
	if r.Rows.Next() {
		return true
	}
	r.call.End(r.Err())
	return false
}

// Close implements Rows.
func (r *observedRows) Close() {
	r.Rows.Close()
	r.call.End(r.Err())
}

// summary is a statement in two words, such as "SELECT tags".
type summary struct{ verb, text string }

var (
	summaries sync.Map // of *texts
	target    = regexp.MustCompile(`(?i)\b(?:FROM|INTO|UPDATE)\s+([a-z_]+)`)
	verbs     = map[string]bool{"SELECT": true, "INSERT": true, "UPDATE": true, "DELETE": true, "WITH": true}
)

func summaryOf(t *texts) summary {
	if known, ok := summaries.Load(t); ok {
		return known.(summary) //nolint:errcheck,forcetypeassert // nothing else is in it
	}
	made := summarize(t.sqlite)
	summaries.Store(t, made)
	return made
}

func summarize(text string) summary {
	verb := "OTHER"
	if fields := strings.Fields(text); len(fields) > 0 && verbs[strings.ToUpper(fields[0])] {
		verb = strings.ToUpper(fields[0])
	}
	if table := target.FindStringSubmatch(text); table != nil {
		return summary{verb, verb + " " + strings.ToLower(table[1])}
	}
	return summary{verb, verb}
}
