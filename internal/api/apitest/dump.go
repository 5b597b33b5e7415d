package apitest

import (
	"fmt"
	"slices"
	"sort"
	"strings"
	"testing"

	"github.com/berthregistry/berth/internal/database"
)

// sampled are the columns that are written some time after a request that did something else.
var sampled = []string{"last_used_at", "last_pulled_at"}

// Dump is every row of the database as text, but for what is sampled, as refusals in the audit log are.
func (e *Env) Dump(tb testing.TB) string {
	tb.Helper()
	var text strings.Builder
	for _, table := range e.tables(tb) {
		rows := e.rows(tb, table)
		sort.Strings(rows)
		for _, row := range rows {
			text.WriteString(table + ":" + row + "\n")
		}
	}
	return text.String()
}

func (e *Env) tables(tb testing.TB) []string {
	tb.Helper()
	query := `SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite%' ORDER BY name`
	if e.DB.Dialect() == database.Postgres {
		query = `SELECT table_name FROM information_schema.tables WHERE table_schema = 'public' ORDER BY table_name`
	}
	var names []string
	Check(tb, e.DB.Gorm().WithContext(tb.Context()).Raw(query).Scan(&names).Error)
	return names
}

func (e *Env) rows(tb testing.TB, table string) []string {
	tb.Helper()
	query := `SELECT * FROM ` + table
	if table == "audit_log" {
		query += ` WHERE outcome = 'done'`
	}
	rows, err := e.DB.Gorm().WithContext(tb.Context()).Raw(query).Rows()
	Check(tb, err)
	defer func() { _ = rows.Close() }()
	columns, err := rows.Columns()
	Check(tb, err)
	var all []string
	for rows.Next() {
		values, into := make([]any, len(columns)), make([]any, len(columns))
		for i := range values {
			into[i] = &values[i]
		}
		Check(tb, rows.Scan(into...))
		all = append(all, rowText(columns, values))
	}
	Check(tb, rows.Err())
	return all
}

func rowText(columns []string, values []any) string {
	var text strings.Builder
	for i, column := range columns {
		if slices.Contains(sampled, column) {
			continue
		}
		if content, ok := values[i].([]byte); ok {
			values[i] = string(content)
		}
		_, _ = fmt.Fprintf(&text, " %s=%q", column, fmt.Sprint(values[i]))
	}
	return text.String()
}

// Exec changes the database behind the servers' backs; parameters are question marks.
func (e *Env) Exec(tb testing.TB, query string, args ...any) {
	tb.Helper()
	Check(tb, e.DB.Gorm().WithContext(tb.Context()).Exec(query, args...).Error)
}
