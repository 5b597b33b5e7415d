package database_test

import (
	"database/sql"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/pressly/goose/v3"

	"github.com/berthregistry/berth/internal/database"
	"github.com/berthregistry/berth/migrations"
)

// lastRelease is the last migration of the version before this one, whose replicas go on while ours are started beside
// them. With a release it becomes the newest migration of that, and testdata/rows.sql what that writes.
const lastRelease = 8

// TestUpgradeFromTheLastRelease: a database of the version before, with a row in every table, gets the newest schema. Its
// rows stay as they were, and the version before goes on writing as it did.
func TestUpgradeFromTheLastRelease(t *testing.T) {
	eachURL(t, func(t *testing.T, url, driver, source string) {
		db := open(t, url)
		conn, err := sql.Open(driver, source)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close() }()
		if _, err := provider(t, db.Dialect(), conn).UpTo(t.Context(), lastRelease); err != nil {
			t.Fatal(err)
		}
		fill(t, conn, db.Dialect(), 1)
		tables := schemaOf(t, driver, source).Tables
		before := contents(t, conn, tables)
		for name, rows := range before {
			if len(rows) == 0 {
				t.Errorf("testdata/rows.sql has no row of %s", name)
			}
		}

		want := migrationCount(t, db.Dialect()) - lastRelease
		if applied, err := db.Migrate(t.Context()); err != nil || applied != want {
			t.Fatalf("applied %d, want %d: %v", applied, want, err)
		}
		if diff := cmp.Diff(before, contents(t, conn, tables)); diff != "" {
			t.Errorf("what the version before wrote is another now: - before, + after\n%s", diff)
		}
		fill(t, conn, db.Dialect(), 2)
		for name, rows := range contents(t, conn, tables) {
			if added := len(rows) - len(before[name]); added != 1 && name != "collection_schedule" {
				t.Errorf("the version before adds %d rows to %s, want one", added, name)
			}
		}
	})
}

// TestProgramBeforeTheSchema: who goes back to the version before starts it on a schema that it does not know all of.
func TestProgramBeforeTheSchema(t *testing.T) {
	eachURL(t, func(t *testing.T, url, driver, source string) {
		db := open(t, url)
		if _, err := db.Migrate(t.Context()); err != nil {
			t.Fatal(err)
		}
		conn, err := sql.Open(driver, source)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close() }()
		const newer = `INSERT INTO goose_db_version (version_id, is_applied) VALUES (99999, true)`
		if _, err := conn.ExecContext(t.Context(), newer); err != nil {
			t.Fatal(err)
		}
		if applied, err := db.Migrate(t.Context()); err != nil || applied != 0 {
			t.Errorf("applied %d: %v", applied, err)
		}
		newProject(t, db)
	})
}

// provider is goose over the migrations of a dialect.
func provider(t *testing.T, dialect string, conn *sql.DB) *goose.Provider {
	t.Helper()
	files, err := fs.Sub(migrations.FS, dialect)
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]goose.Dialect{database.SQLite: goose.DialectSQLite3, database.Postgres: goose.DialectPostgres}
	p, err := goose.NewProvider(names[dialect], conn, files, goose.WithDisableGlobalRegistry(true))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// fill inserts the rows of testdata/rows.sql, the n-th time.
func fill(t *testing.T, conn *sql.DB, dialect string, n int) {
	t.Helper()
	text, err := os.ReadFile("testdata/rows.sql")
	if err != nil {
		t.Fatal(err)
	}
	bytes := map[string]string{database.SQLite: "x'00ff'", database.Postgres: `'\x00ff'`}
	filled := strings.NewReplacer("{n}", fmt.Sprint(n), "{bytes}", bytes[dialect]).Replace(string(text))
	for statement := range strings.SplitSeq(filled, ";\n") {
		if _, err := conn.ExecContext(t.Context(), statement); err != nil {
			t.Fatalf("%v in %s", err, statement)
		}
	}
}

// contents gives every row of some tables, in the columns that the tables had then, as text.
func contents(t *testing.T, conn *sql.DB, tables map[string]*table) map[string][]string {
	t.Helper()
	all := map[string][]string{}
	for name, table := range tables {
		columns := make([]string, len(table.Columns))
		for i, column := range table.Columns {
			columns[i] = fmt.Sprintf("coalesce(CAST(%s AS TEXT), 'NULL')", column.Name)
		}
		all[name] = texts(t, conn, "SELECT "+strings.Join(columns, " || ' ' || ")+" FROM "+name)
	}
	return all
}

// texts gives the rows, of one text each, that a query finds.
func texts(t *testing.T, conn *sql.DB, query string) (found []string) {
	t.Helper()
	rows, err := conn.QueryContext(t.Context(), query)
	if err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var row string
		if err := rows.Scan(&row); err != nil {
			t.Fatal(err)
		}
		found = append(found, row)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	slices.Sort(found)
	return found
}
