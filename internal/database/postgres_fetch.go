package database

import (
	"slices"
	"sync"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
)

// fetchedRows are the undecoded rows of a [Batch.Query]. They are decoded once the transaction has committed: a scan
// can neither see what is undone nor see a row again when the batch is retried.
type fetchedRows struct {
	fields []pgconn.FieldDescription
	values [][][]byte
}

func fetch(results pgx.BatchResults) (*fetchedRows, error) {
	rows, err := results.Query()
	if err != nil {
		return nil, err // classified by the caller
	}
	defer rows.Close()
	f := &fetchedRows{fields: slices.Clone(rows.FieldDescriptions())}
	for rows.Next() {
		f.values = append(f.values, copyValues(rows.RawValues()))
	}
	rows.Close()
	return f, rows.Err() // classified by the caller
}

// copyValues copies a row out of the connection's buffer, in one piece.
func copyValues(raw [][]byte) [][]byte {
	size := 0
	for _, v := range raw {
		size += len(v)
	}
	buffer := make([]byte, 0, size)
	values := make([][]byte, len(raw))
	for i, v := range raw {
		if v == nil {
			continue
		}
		start := len(buffer)
		buffer = append(buffer, v...)
		values[i] = buffer[start:len(buffer):len(buffer)]
	}
	return values
}

// typeMaps are decoders; they are costly to make and not safe for concurrent use.
var typeMaps = sync.Pool{New: func() any { return pgtype.NewMap() }}

// scanFetched gives the rows of a committed batch to its scan functions. No connection is held meanwhile.
func scanFetched(ops []op, fetched map[int]*fetchedRows) error {
	if fetched == nil {
		return nil
	}
	types, _ := typeMaps.Get().(*pgtype.Map)
	defer typeMaps.Put(types)
	for i := range ops {
		if ops[i].scan == nil {
			continue
		}
		if err := scanRows(&fetchedCursor{types: types, fetchedRows: fetched[i], at: -1}, ops[i].scan); err != nil {
			return err
		}
	}
	return nil
}

// fetchedCursor is fetchedRows as Rows.
type fetchedCursor struct {
	*fetchedRows
	types *pgtype.Map
	at    int
}

// Next implements Rows.
func (c *fetchedCursor) Next() bool {
	if c.at+1 >= len(c.values) {
		return false
	}
	c.at++
	return true
}

// Scan implements Rows.
func (c *fetchedCursor) Scan(dest ...any) error {
	return pgx.ScanRow(c.types, c.fields, c.values[c.at], dest...) // about the destinations
}

// Err implements Rows.
func (c *fetchedCursor) Err() error { return nil }

// Close implements Rows.
func (c *fetchedCursor) Close() {}
