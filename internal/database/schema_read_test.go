package database_test

import (
	"database/sql"
	"fmt"
	"regexp"
	"strings"
	"testing"
)

// reader introspects a schema.
type reader struct {
	t      *testing.T
	db     *sql.DB
	schema schema
}

// each calls row for every row of a query, all of whose columns are text.
func (r *reader) each(query string, row func(values []string), args ...any) {
	r.t.Helper()
	rows, err := r.db.QueryContext(r.t.Context(), query, args...)
	if err != nil {
		r.t.Fatal(err)
	}
	defer func() { _ = rows.Close() }()
	names, err := rows.Columns()
	if err != nil {
		r.t.Fatal(err)
	}
	var all [][]string
	for rows.Next() {
		values, dest := make([]sql.NullString, len(names)), make([]any, len(names))
		for i := range values {
			dest[i] = &values[i]
		}
		if err := rows.Scan(dest...); err != nil {
			r.t.Fatal(err)
		}
		texts := make([]string, len(names))
		for i, v := range values {
			texts[i] = v.String
		}
		all = append(all, texts)
	}
	if err := rows.Err(); err != nil {
		r.t.Fatal(err)
	}
	for _, texts := range all {
		row(texts)
	}
}

func (r *reader) table(name string) *table {
	if r.schema.Tables[name] == nil {
		r.schema.Tables[name] = &table{
			ForeignKeys: make(map[string]bool), Indexes: make(map[string]bool), Checks: make(map[string]bool),
		}
	}
	return r.schema.Tables[name]
}

// index describes an index; those of constraints have no name of their own.
func index(name string, unique bool, columns, where string) string {
	if unique {
		name = ""
	}
	return fmt.Sprintf("%s unique=%t (%s) where %s", name, unique, columns, expression(where))
}

func foreignKey(columns, table, referred, onDelete string) string {
	return fmt.Sprintf("(%s) -> %s (%s) on delete %s", columns, table, referred, onDelete)
}

func (r *reader) postgres() {
	r.each(`SELECT table_name FROM information_schema.tables
		WHERE table_schema = 'public' AND table_name <> 'goose_db_version'`, func(v []string) { r.table(v[0]) })
	classes := map[string]string{
		"uuid": "text", "text": "text", "bigint": "integer", "boolean": "integer", "bytea": "blob",
	}
	bools := strings.NewReplacer("false", "0", "true", "1")
	r.each(`SELECT table_name, column_name, data_type, is_nullable, column_default FROM information_schema.columns
		WHERE table_schema = 'public' AND table_name <> 'goose_db_version' ORDER BY table_name, ordinal_position`,
		func(v []string) {
			t := r.table(v[0])
			t.Columns = append(t.Columns, column{
				Name: v[1], Class: classes[v[2]], NotNull: v[3] == "NO", Default: bools.Replace(expression(v[4])),
			})
		})
	r.each(`SELECT t.relname, i.relname, x.indisprimary::text, x.indisunique::text,
			(SELECT string_agg(pg_get_indexdef(i.oid, k, false), ', ' ORDER BY k) FROM generate_series(1, x.indnatts) k),
			pg_get_expr(x.indpred, x.indrelid)
		FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid JOIN pg_class t ON t.oid = x.indrelid
		JOIN pg_namespace n ON n.oid = t.relnamespace
		WHERE n.nspname = 'public' AND t.relname <> 'goose_db_version'`, func(v []string) {
		if v[2] == "true" {
			r.table(v[0]).PrimaryKey = v[4]
			return
		}
		r.table(v[0]).Indexes[index(v[1], v[3] == "true", v[4], v[5])] = true
	})
	actions := map[string]string{"a": "NO ACTION", "r": "RESTRICT", "c": "CASCADE", "n": "SET NULL", "d": "SET DEFAULT"}
	r.each(`SELECT c.conrelid::regclass::text, c.confrelid::regclass::text, c.confdeltype::text,
			(SELECT string_agg(attname, ', ' ORDER BY k.o) FROM unnest(c.conkey) WITH ORDINALITY k(n, o)
				JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = k.n),
			(SELECT string_agg(attname, ', ' ORDER BY k.o) FROM unnest(c.confkey) WITH ORDINALITY k(n, o)
				JOIN pg_attribute a ON a.attrelid = c.confrelid AND a.attnum = k.n),
			c.confupdtype::text, c.condeferrable::text
		FROM pg_constraint c WHERE c.contype = 'f'`, func(v []string) {
		if v[5] != "a" || v[6] != "false" {
			r.t.Errorf("a foreign key of %s has an update action or is deferrable", v[0])
		}
		r.table(v[0]).ForeignKeys[foreignKey(v[3], v[1], v[4], actions[v[2]])] = true
	})
	r.each(`SELECT conrelid::regclass::text, pg_get_expr(conbin, conrelid) FROM pg_constraint WHERE contype = 'c'
		AND conrelid <> 0`, func(v []string) { r.table(v[0]).Checks[expression(v[1])] = true })
}

func (r *reader) sqlite() {
	definitions := make(map[string]string)
	r.each(`SELECT name, sql FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'
		AND name <> 'goose_db_version'`, func(v []string) {
		definitions[v[0]] = v[1]
		if !strings.HasSuffix(strings.TrimSpace(v[1]), "STRICT") {
			r.t.Errorf("table %s is not STRICT", v[0])
		}
	})
	for name, definition := range definitions {
		t := r.table(name)
		var key []string
		r.each(`SELECT name, lower(type), "notnull", dflt_value, pk FROM pragma_table_info($1) ORDER BY cid`, func(v []string) {
			// A primary key column of SQLite may be NULL by its type, and of PostgreSQL never.
			t.Columns = append(t.Columns, column{
				Name: v[0], Class: v[1], NotNull: v[2] == "1" || v[4] != "0", Default: expression(v[3]),
			})
		}, name)
		r.each(`SELECT name FROM pragma_table_info($1) WHERE pk > 0 ORDER BY pk`, func(v []string) { key = append(key, v[0]) }, name)
		t.PrimaryKey = strings.Join(key, ", ")
		r.sqliteIndexes(name, t)
		r.each(`SELECT "table", group_concat("from", ', ' ORDER BY seq), group_concat("to", ', ' ORDER BY seq), on_delete
			FROM pragma_foreign_key_list($1) GROUP BY id`, func(v []string) {
			t.ForeignKeys[foreignKey(v[1], v[0], v[2], v[3])] = true
		}, name)
		for _, check := range checks(definition) {
			t.Checks[expression(check)] = true
		}
	}
}

var afterWhere = regexp.MustCompile(`(?is)\bwhere\b(.*)$`)

func (r *reader) sqliteIndexes(name string, t *table) {
	r.each(`SELECT l.name, l."unique", group_concat(i.name, ', ' ORDER BY i.seqno), m.sql
		FROM pragma_index_list($1) l JOIN pragma_index_info(l.name) i LEFT JOIN sqlite_master m ON m.name = l.name
		WHERE l.origin <> 'pk' GROUP BY l.name`, func(v []string) {
		where := ""
		if found := afterWhere.FindStringSubmatch(v[3]); found != nil {
			where = found[1]
		}
		t.Indexes[index(v[0], v[1] == "1", v[2], where)] = true
	}, name)
}

// checks are the conditions of the CHECKs in a table's definition.
func checks(definition string) []string {
	var found []string
	definition = regexp.MustCompile(`--[^\n]*`).ReplaceAllString(definition, "")
	for {
		_, rest, ok := strings.Cut(definition, "CHECK (")
		if !ok {
			return found
		}
		depth, end := 1, 0
		for depth > 0 {
			switch rest[end] {
			case '(':
				depth++
			case ')':
				depth--
			}
			end++
		}
		found, definition = append(found, rest[:end-1]), rest[end:]
	}
}
