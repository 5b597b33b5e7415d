package e2e

import (
	"bufio"
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/berthregistry/berth/internal/database"
	"github.com/berthregistry/berth/internal/database/dbtest"
	"github.com/berthregistry/berth/internal/testenv"
)

// statementsFile has the statements of the last release, a JSON text on each line. A release writes it anew:
//
//	go test ./test/e2e -run TestStatementsOfTheLastRelease -update
const statementsFile = "testdata/statements.jsonl"

var update = flag.Bool("update", false, "write testdata/statements.jsonl instead of asking the newest schema about it")

// made are the statements of the program, before tests make some of their own.
var made = database.Texts()

// TestStatementsOfTheLastRelease: replicas of the version before serve on when the first one of this version has migrated
// the schema. So each of their statements still has to mean something: the tables, columns and types that it names.
func TestStatementsOfTheLastRelease(t *testing.T) {
	t.Parallel()
	if *update {
		writeStatements(t)
		return
	}
	statements := readStatements(t)
	if len(statements) < 300 {
		t.Fatalf("there are only %d statements", len(statements))
	}
	t.Run(database.Postgres, func(t *testing.T) {
		t.Parallel()
		url := testenv.Postgres(t)
		dbtest.Open(t, url)
		conn, err := pgx.Connect(t.Context(), url)
		must(t, err)
		t.Cleanup(func() { _ = conn.Close(t.Context()) })
		prepares := func(text string) error {
			_, err := conn.Prepare(t.Context(), "", database.SQL(text).String())
			return err
		}
		wantAll(t, statements, prepares)
	})
	t.Run(database.SQLite, func(t *testing.T) {
		t.Parallel()
		db := dbtest.Open(t, "sqlite:"+filepath.Join(t.TempDir(), "berth.db"))
		wantAll(t, statements, func(text string) error {
			rows, err := db.Query(t.Context(), database.SQL("EXPLAIN "+text), make([]any, parameters(text))...)
			if err == nil {
				err = rows.Err()
				rows.Close()
			}
			return err
		})
	})
}

// TestNoStatementIsCompiledAgain keeps parameters out of the places where SQLite would compile a statement anew for each
// execution; see the fragments limit and pattern.
func TestNoStatementIsCompiledAgain(t *testing.T) {
	t.Parallel()
	again := regexp.MustCompile(`\b(LIMIT|LIKE|GLOB)\s+(\$|\{(bigint|text|uuid):)`)
	for _, text := range made {
		if again.MatchString(text) {
			t.Errorf("use {limit:} or {pattern:} in\n%s", text)
		}
	}
	if !again.MatchString("SELECT 1 LIMIT {bigint:$1}") || len(made) < 300 {
		t.Errorf("%d statements", len(made))
	}
}

// wantAll fails the test for each statement that is refused, and unless a wrong one is.
func wantAll(t *testing.T, statements []string, accepts func(string) error) {
	t.Helper()
	for _, text := range statements {
		if err := accepts(text); err != nil {
			t.Errorf("a replica of the version before fails with: %v\n%s", err, text)
		}
	}
	for _, wrong := range []string{"SELECT no_such_column FROM projects WHERE id = $1", "INSERT INTO no_such_table (id) VALUES ($1)"} {
		if accepts(wrong) == nil {
			t.Errorf("accepted: %s", wrong)
		}
	}
}

var parameter = regexp.MustCompile(`\$(\d+)`)

// parameters is how many a statement has.
func parameters(text string) (count int) {
	for _, found := range parameter.FindAllStringSubmatch(text, -1) {
		n, _ := strconv.Atoi(found[1]) // digits
		count = max(count, n)
	}
	return count
}

func readStatements(t *testing.T) (statements []string) {
	t.Helper()
	content, err := os.ReadFile(statementsFile)
	must(t, err)
	for lines := bufio.NewScanner(bytes.NewReader(content)); lines.Scan(); {
		var text string
		must(t, json.Unmarshal(lines.Bytes(), &text))
		statements = append(statements, text)
	}
	return statements
}

func writeStatements(t *testing.T) {
	t.Helper()
	var out bytes.Buffer
	lines := json.NewEncoder(&out)
	lines.SetEscapeHTML(false)
	for _, text := range slices.Compact(slices.Sorted(slices.Values(made))) {
		if text == "BEGIN IMMEDIATE" || strings.Contains(text, "sqlite_master") {
			continue // SQLite's own
		}
		must(t, lines.Encode(text))
	}
	must(t, os.WriteFile(statementsFile, out.Bytes(), 0o600))
}
