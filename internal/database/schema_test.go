package database_test

import (
	"database/sql"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/berthregistry/berth/internal/database"
	"github.com/berthregistry/berth/internal/testenv"
)

// schema is what both dialects have to agree on.
type schema struct {
	Tables map[string]*table
}

type table struct {
	Columns     []column
	PrimaryKey  string
	ForeignKeys map[string]bool
	Indexes     map[string]bool
	Checks      map[string]bool
}

type column struct {
	Name, Class, Default string
	NotNull              bool
}

// schemaOf introspects a database that has been migrated.
func schemaOf(t *testing.T, driver, source string) schema {
	t.Helper()
	conn, err := sql.Open(driver, source)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	r := reader{t: t, db: conn, schema: schema{Tables: make(map[string]*table)}}
	if driver == "sqlite" {
		r.sqlite()
	} else {
		r.postgres()
	}
	return r.schema
}

func TestSchemasAreAlike(t *testing.T) {
	file, server := "sqlite:"+t.TempDir()+"/berth.db", testenv.Postgres(t)
	for _, url := range []string{file, server} {
		if _, err := open(t, url).Migrate(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	lite, pg := schemaOf(t, "sqlite", strings.TrimPrefix(file, "sqlite:")), schemaOf(t, "pgx", server)
	if len(lite.Tables) < 20 {
		t.Errorf("only %d tables were found", len(lite.Tables))
	}
	counts := map[string]int{}
	for _, table := range lite.Tables {
		counts["foreign keys"] += len(table.ForeignKeys)
		counts["indexes"] += len(table.Indexes)
		counts["checks"] += len(table.Checks)
	}
	for what, n := range counts {
		if n == 0 {
			t.Errorf("no %s were found", what)
		}
	}
	if diff := cmp.Diff(pg, lite); diff != "" {
		t.Errorf("the schemas differ (- PostgreSQL, + SQLite):\n%s", diff)
	}
}

// A comparison that cannot fail would prove nothing.
func TestSchemaComparisonFindsDifferences(t *testing.T) {
	path := t.TempDir() + "/berth.db"
	db := open(t, "sqlite:"+path)
	if _, err := db.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, change := range []string{
		`CREATE TABLE extra (id TEXT PRIMARY KEY) STRICT`,
		`ALTER TABLE users ADD COLUMN extra INTEGER`,
		`CREATE UNIQUE INDEX extra_unique ON accounts (name)`,
		`CREATE INDEX extra_partial ON accounts (name) WHERE name <> ''`,
		`ALTER TABLE accounts ADD COLUMN extra TEXT REFERENCES users (id) ON DELETE CASCADE`,
		`ALTER TABLE blobs ADD COLUMN extra INTEGER NOT NULL DEFAULT 1 CHECK (extra > 0)`,
	} {
		before := schemaOf(t, "sqlite", path)
		run(t, db, func(b *database.Batch) { b.Exec(database.SQL(change)) })
		if cmp.Equal(before, schemaOf(t, "sqlite", path)) {
			t.Errorf("no difference seen after %s", change)
		}
	}
}

var (
	spaces    = regexp.MustCompile(`\s+`)
	casts     = regexp.MustCompile(`::[a-z ]+(\[\])?`)
	anyArray  = regexp.MustCompile(`= ANY \(\(?ARRAY\[([^\]]*)\]\)?\)`)
	oneOf     = regexp.MustCompile(`IN \(('[^']*')\)`)
	brackets  = regexp.MustCompile(`[()]`)
	collation = regexp.MustCompile(` COLLATE "C"`)
)

// expression is an SQL expression without what the dialects write differently.
func expression(text string) string {
	text = collation.ReplaceAllString(casts.ReplaceAllString(text, ""), "")
	text = anyArray.ReplaceAllString(text, "IN ($1)")
	text = oneOf.ReplaceAllString(text, "= $1")
	text = brackets.ReplaceAllString(text, " ")
	return strings.TrimSpace(spaces.ReplaceAllString(strings.ReplaceAll(text, ",", " , "), " "))
}
