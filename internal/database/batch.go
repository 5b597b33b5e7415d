package database

// Batch is a list of statements for [DB.Run], in order; each sees what the ones before it did. The zero value is an
// empty batch. It may be run again, but not concurrently.
type Batch struct {
	ops []op
}

// op is one statement of a batch.
type op struct {
	texts     *texts
	args      []any
	otherwise error            // of Require
	scan      func(Rows) error // of Query
}

// postgres is what PostgreSQL is to execute.
func (o *op) postgres() named {
	if o.otherwise != nil {
		return o.texts.require
	}
	return o.texts.postgres
}

// Exec adds a statement whose result does not matter.
func (b *Batch) Exec(stmt Stmt, args ...any) {
	b.ops = append(b.ops, op{texts: stmt.mustTexts(), args: args})
}

// Require adds a statement that must return at least one row (SELECT, or … RETURNING): if not, the whole batch is
// rolled back, the statements after it are not executed, and Run returns otherwise, which must not be nil.
//
// On PostgreSQL the statement becomes a common table expression: it may begin with WITH, but then only its main part
// may write.
func (b *Batch) Require(otherwise error, stmt Stmt, args ...any) {
	if otherwise == nil {
		panic("database: Batch.Require without an error")
	}
	b.ops = append(b.ops, op{texts: stmt.mustTexts(), args: args, otherwise: otherwise})
}

// Query adds a statement and calls scan once for each row that it returns, positioned on it: scan only needs to call
// Scan. A scan that loops over Next instead sees the remaining rows, that one first.
//
// Run calls scan itself, after the commit, and holds no connection then: no row is seen that is undone or retried, and
// an error of scan, which Run returns, undoes nothing. The rows are in memory, so stmt should not return many.
func (b *Batch) Query(scan func(Rows) error, stmt Stmt, args ...any) {
	if scan == nil {
		panic("database: Batch.Query without a scan function")
	}
	b.ops = append(b.ops, op{texts: stmt.mustTexts(), args: args, scan: scan})
}

// Len is the number of statements.
func (b *Batch) Len() int { return len(b.ops) }

// scanRows gives rows to scan as [Batch.Query] says, and returns scan's error. The rows are those of one statement,
// before the first.
func scanRows(rows Rows, scan func(Rows) error) error {
	for rows.Next() {
		if err := scan(&positioned{Rows: rows}); err != nil {
			return err
		}
	}
	return nil
}

// positioned is rows on a row, which the first Next therefore leaves in place.
type positioned struct {
	Rows
	looping bool
}

// Next implements Rows.
func (p *positioned) Next() bool {
	if !p.looping {
		p.looping = true
		return true
	}
	return p.Rows.Next()
}
