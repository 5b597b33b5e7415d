package database

import "context"

// recordedEngine is an engine that tells somebody each statement before it runs.
type recordedEngine struct {
	engine
	record func(statement string)
}

// recorded leaves an engine as it is where nobody wants to know.
func recorded(e engine, record func(string)) engine {
	if record == nil {
		return e
	}
	return &recordedEngine{engine: e, record: record}
}

func (e *recordedEngine) tell(t *texts) {
	if e.dialect() == SQLite {
		e.record(t.sqlite)
		return
	}
	e.record(t.postgres.text)
}

func (e *recordedEngine) queryRow(ctx context.Context, t *texts, args, dest []any) error {
	e.tell(t)
	return e.engine.queryRow(ctx, t, args, dest)
}

func (e *recordedEngine) query(ctx context.Context, t *texts, args []any) (Rows, error) {
	e.tell(t)
	return e.engine.query(ctx, t, args)
}

func (e *recordedEngine) run(ctx context.Context, b *Batch) error {
	for i := range b.ops {
		e.tell(b.ops[i].texts)
	}
	return e.engine.run(ctx, b)
}
