package database_test

import (
	"io/fs"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/berthregistry/berth/migrations"
)

// intolerable are changes that replicas of the version before, which serve on while the first one of this version
// migrates, do not survive, or after which they cannot come back: each with what to do instead.
var intolerable = []struct {
	change  *regexp.Regexp
	instead string
}{
	{regexp.MustCompile(`\bDROP TABLE\b`), "stop using it now, drop it a release later"},
	{regexp.MustCompile(`\bDROP COLUMN\b`), "stop using it now, drop it a release later"},
	{regexp.MustCompile(`\bRENAME\b`), "add the new name, write both, and drop the old one a release later"},
	{regexp.MustCompile(`\bALTER COLUMN \S+ (SET DATA )?TYPE\b`), "add a column of the new type"},
	{regexp.MustCompile(`\bALTER COLUMN \S+ (SET NOT NULL|DROP DEFAULT)\b`), "do so a release after everything writes it"},
	{regexp.MustCompile(`\bADD COLUMN (IF NOT EXISTS )?(\S+) (.*)\bNOT NULL\b`), "give it a default, or let it be NULL"},
	{regexp.MustCompile(`\bADD (CONSTRAINT|CHECK|UNIQUE|PRIMARY KEY|FOREIGN KEY)\b`), "hold to it in the program, and constrain a release later"},
	{regexp.MustCompile(`\bCREATE UNIQUE INDEX\b`), "the version before may insert what it refuses: a release later"},
	{regexp.MustCompile(`\bTRUNCATE\b`), "delete in the background"},
}

// excused are the intolerable changes that were made all the same, with the reason: what they touch, no release has used.
var excused = map[string]string{
	"00002_product_api ALTER COLUMN TYPE": "another collation of the same type, before the first release",
	"00005_webhooks DROP TABLE":           "events_outbox was never written",
	"00007_lifecycle DROP TABLE":          "tag_rules was never written",
}

// TestMigrationsAreTolerable keeps changes out that would need every replica to stop.
func TestMigrationsAreTolerable(t *testing.T) {
	found := map[string]bool{}
	err := fs.WalkDir(migrations.FS, ".", func(file string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		text, err := fs.ReadFile(migrations.FS, file)
		if err != nil {
			return err
		}
		name := strings.TrimSuffix(file[strings.IndexByte(file, '/')+1:], ".sql")
		for _, finding := range lint(string(text)) {
			found[name+" "+finding.change] = true
			if _, ok := excused[name+" "+finding.change]; !ok {
				t.Errorf("%s: replicas of the version before do not survive %s: %s (docs/operations/upgrade.md)", file, finding.change, finding.instead)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for excuse := range excused {
		if !found[excuse] {
			t.Errorf("nothing needs the excuse for %s", excuse)
		}
	}
}

// concurrentSince is the first migration whose indexes of tables that are there are made and dropped beside reads and writes.
const concurrentSince = "postgres/00012"

// TestIndexesAreMadeConcurrently keeps PostgreSQL's writes, and for an index that goes also its reads, from waiting for a migration.
func TestIndexesAreMadeConcurrently(t *testing.T) {
	files, err := fs.Glob(migrations.FS, "postgres/*.sql")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		text, err := fs.ReadFile(migrations.FS, file)
		if err != nil {
			t.Fatal(err)
		}
		if found := waitedFor(string(text)); file >= concurrentSince && len(found) > 0 {
			t.Errorf("%s: others wait for %q: give it CONCURRENTLY, in a file with NO TRANSACTION and nothing else (docs/operations/upgrade.md)", file, found)
		}
	}
}

// waitedFor are the statements about indexes that others wait for.
func waitedFor(migration string) (found []string) {
	text := comments.ReplaceAllString(migration, "")
	made := map[string]bool{}
	for statement := range strings.SplitSeq(text, ";") {
		statement = strings.TrimSpace(statement)
		if table := createTable.FindStringSubmatch(statement); len(table) > 1 {
			made[table[1]] = true
		}
		table := tableOf.FindStringSubmatch(statement)
		ofNew := len(table) > 1 && made[table[1]]
		if aboutIndex.MatchString(statement) && !strings.Contains(statement, "CONCURRENTLY") && !ofNew {
			found = append(found, statement)
		}
	}
	return found
}

func TestLintOfIndexes(t *testing.T) {
	for migration, want := range map[string]int{
		"CREATE TABLE a (id text); CREATE INDEX i ON a (id)":               0,
		"CREATE INDEX CONCURRENTLY i ON a (id); DROP INDEX CONCURRENTLY j": 0,
		"CREATE INDEX i ON a (id)":                                         1,
		"-- CONCURRENTLY\nDROP INDEX i; CREATE UNIQUE INDEX j ON a (id)":   2,
	} {
		if found := waitedFor(migration); len(found) != want {
			t.Errorf("%q: %q", migration, found)
		}
	}
}

type finding struct{ change, instead string }

// lint finds intolerable changes in the part of a migration that goes up. New tables may be what they like: what is done
// to a table that the same migration makes is no change.
func lint(migration string) (findings []finding) {
	up, _, _ := strings.Cut(migration, "-- +goose Down")
	up = strings.Join(strings.Fields(comments.ReplaceAllString(up, "")), " ")
	made := map[string]bool{}
	for statement := range strings.SplitSeq(up, ";") {
		if table := createTable.FindStringSubmatch(statement); len(table) > 1 {
			made[table[1]] = true
			continue
		}
		if table := tableOf.FindStringSubmatch(statement); len(table) > 1 && made[table[1]] {
			continue
		}
		for _, rule := range intolerable {
			match := rule.change.FindString(statement)
			if match == "" || strings.Contains(match, "ADD COLUMN") && strings.Contains(statement, " DEFAULT ") {
				continue
			}
			findings = append(findings, finding{short(match), rule.instead})
		}
	}
	slices.SortFunc(findings, func(a, b finding) int { return strings.Compare(a.change, b.change) })
	return slices.Compact(findings)
}

var (
	comments    = regexp.MustCompile(`(?m)--.*$`)
	createTable = regexp.MustCompile(`^\s*CREATE TABLE (?:IF NOT EXISTS )?(\S+)`)
	aboutIndex  = regexp.MustCompile(`^(CREATE (UNIQUE )?|DROP )INDEX\b`)
	tableOf     = regexp.MustCompile(`(?:ALTER TABLE (?:ONLY )?|INDEX (?:CONCURRENTLY )?(?:IF NOT EXISTS )?\S+ ON )(\S+)`)
)

// short is the change without names.
func short(match string) string {
	words := strings.Fields(match)
	words = slices.DeleteFunc(words, func(word string) bool { return strings.ToUpper(word) != word })
	return strings.Join(words, " ")
}

func TestLintOfMigrations(t *testing.T) {
	for migration, want := range map[string]string{
		"CREATE TABLE a (id text NOT NULL UNIQUE); CREATE UNIQUE INDEX i ON a (id); ALTER TABLE a ADD COLUMN b text NOT NULL": "",
		"ALTER TABLE a ADD COLUMN b text":                                     "",
		"ALTER TABLE a ADD COLUMN b text NOT NULL DEFAULT ''":                 "",
		"ALTER TABLE a ADD COLUMN b text NOT NULL":                            "ADD COLUMN NOT NULL",
		"ALTER TABLE a\n  ADD COLUMN b text\n  NOT NULL; DROP TABLE c":        "ADD COLUMN NOT NULL, DROP TABLE",
		"ALTER TABLE a RENAME COLUMN b TO c":                                  "RENAME",
		"ALTER TABLE a RENAME TO b":                                           "RENAME",
		"ALTER TABLE a DROP COLUMN b":                                         "DROP COLUMN",
		"ALTER TABLE a ALTER COLUMN b TYPE bigint":                            "ALTER COLUMN TYPE",
		"ALTER TABLE a ALTER COLUMN b SET NOT NULL":                           "ALTER COLUMN SET NOT NULL",
		"ALTER TABLE a ADD CONSTRAINT c CHECK (b > 0)":                        "ADD CONSTRAINT",
		"CREATE UNIQUE INDEX i ON a (b)":                                      "CREATE UNIQUE INDEX",
		"-- DROP TABLE a;\nSELECT 1\n-- +goose Down\nDROP TABLE b":            "",
		"CREATE INDEX i ON a (b); DROP INDEX i; INSERT INTO a (b) VALUES (1)": "",
	} {
		var changes []string
		for _, found := range lint(migration) {
			changes = append(changes, found.change)
		}
		if diff := cmp.Diff(want, strings.Join(changes, ", ")); diff != "" {
			t.Errorf("%s: -want +got\n%s", migration, diff)
		}
	}
}
