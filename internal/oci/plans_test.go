package oci_test

import (
	"context"
	"errors"
	"flag"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/berthregistry/berth/internal/database"
	"github.com/berthregistry/berth/internal/oci/ocitest"
	"github.com/berthregistry/berth/internal/rbac"
	"github.com/berthregistry/berth/internal/storage/storeurl"
	"github.com/berthregistry/berth/internal/testenv"
)

var updatePlans = flag.Bool("update-plans", false, "write the plans of hot statements anew")

// scan is a step of a plan that reads all rows of something, whatever the dialect.
var scan = regexp.MustCompile(`(?m)^ *(?:Seq Scan on|SCAN) ([a-z_]+)(?: [a-z]+)?$|^ *SCAN ([a-z_]+) USING`)

// readsWholeTable tells whether a plan reads all rows of a table. SQLite calls it a scan, too, where a statement reads what
// another part of it has found; that has a name which no table has.
func readsWholeTable(tb testing.TB, db *database.DB, statement, plan string) bool {
	tb.Helper()
	for _, step := range scan.FindAllStringSubmatch(plan, -1) {
		if db.Dialect() == database.Postgres {
			return true
		}
		name := step[1] + step[2]
		if table := regexp.MustCompile(`(?:FROM|JOIN) ([a-z_]+) (?:AS )?` + name + `\b`).FindStringSubmatch(statement); table != nil {
			name = table[1]
		}
		var tables int
		if err := db.QueryRow(tb.Context(), isTable, name).Scan(&tables); err != nil {
			tb.Fatal(err)
		}
		if tables > 0 {
			return true
		}
	}
	return false
}

var isTable = database.SQL(`SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = $1`)

// TestHotStatementsGoByIndexes runs every hot request with nothing remembered, and holds the plans of its statements to
// testdata/plans: which indexes lead to which tables. PostgreSQL is told to avoid reading whole tables, which it
// would otherwise prefer for these small ones; where it does all the same, there is no index.
func TestHotStatementsGoByIndexes(t *testing.T) {
	for dialect, open := range map[string]func(testing.TB) string{
		database.SQLite:   func(tb testing.TB) string { tb.Helper(); return "sqlite:" + filepath.Join(tb.TempDir(), "berth.db") },
		database.Postgres: testenv.Postgres,
	} {
		t.Run(dialect, func(t *testing.T) {
			log := &statementLog{}
			url := open(t)
			env := &ocitest.Env{DB: openRecorded(t, url, log), Name: dialect}
			store, err := storeurl.Open(t.Context(), "file:"+filepath.Join(t.TempDir(), "objects"), storeurl.Options{})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = store.Close() })
			env.Store = store
			explain := explainer(t, env.DB, url)
			for _, hot := range hotRequests(t, env) {
				log.take()
				hot.do()
				var text strings.Builder
				for _, statement := range log.take() {
					plan := explain(statement)
					if readsWholeTable(t, env.DB, statement, plan) {
						t.Errorf("%s reads a whole table:\n%s\n%s", hot.name, statement, plan)
					}
					text.WriteString(strings.Join(strings.Fields(statement), " ") + "\n" + plan + "\n")
				}
				holdGolden(t, filepath.Join("testdata", "plans", dialect, strings.ReplaceAll(hot.name, " ", "-")+".txt"), text.String())
			}
			without := `SELECT 1 FROM projects WHERE description = $1`
			if plan := explain(without); !readsWholeTable(t, env.DB, without, plan) {
				t.Errorf("the plan of a statement without an index does not tell:\n%s", plan)
			}
		})
	}
}

type hotRequest struct {
	name string
	do   func()
}

func hotRequests(t *testing.T, env *ocitest.Env) []hotRequest {
	t.Helper()
	replica := env.Replica(t, ocitest.Options{CacheTTL: time.Nanosecond})
	admin := replica.Client
	layer := []byte("a layer")
	image, _ := admin.Image("demo/app", "v1", layer)
	admin.Image("demo/other", "v1", []byte("another layer"))
	w := &tenants{tb: t, env: env, r: replica, admin: admin}
	robot := w.robot("demo", rbac.RoleDeveloper)
	d, m := digest.FromBytes(layer).String(), digest.FromBytes(image).String()
	get := func(method, path string, want int) func() {
		return func() { robot.Want(want, method, "/v2/demo/app"+path, nil) }
	}
	return []hotRequest{
		{"token", func() { robot.Token("repository:demo/app:pull,push") }},
		{"manifest GET by tag", get("GET", "/manifests/v1", http.StatusOK)},
		{"manifest GET by digest", get("GET", "/manifests/"+m, http.StatusOK)},
		{"blob GET", get("GET", "/blobs/"+d, http.StatusOK)},
		{"blob HEAD", get("HEAD", "/blobs/"+d, http.StatusOK)},
		{"tags", get("GET", "/tags/list?n=1&last=a", http.StatusOK)},
		{"referrers", get("GET", "/referrers/"+m, http.StatusOK)},
		{"blob push", func() { robot.Push("demo/app", []byte("another")) }},
		{"blob mount", func() {
			robot.Want(http.StatusCreated, "POST", "/v2/demo/other/blobs/uploads/?from=demo/app&mount="+d, nil)
		}},
		{"manifest PUT", func() {
			robot.PutManifest("demo/app", "v2", v1.MediaTypeImageManifest, imageOf(t, layer, []byte("another")))
		}},
	}
}

func openRecorded(t *testing.T, url string, log *statementLog) *database.DB {
	t.Helper()
	db, err := database.Open(t.Context(), database.Config{URL: url, Record: log.add})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	if _, err := db.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	return db
}

// statementLog has the statements since it was last asked, each once, in the order in which they ran first.
type statementLog struct {
	mu  sync.Mutex
	all []string
}

func (l *statementLog) add(statement string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !slices.Contains(l.all, statement) {
		l.all = append(l.all, statement)
	}
}

func (l *statementLog) take() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	taken := l.all
	l.all = nil
	return taken
}

// explainer gives the steps of a statement's plan that touch tables, each once, sorted: neither costs nor the order of
// joins, which change with the version of the database.
func explainer(t *testing.T, db *database.DB, url string) func(statement string) string {
	t.Helper()
	if db.Dialect() == database.SQLite {
		return func(statement string) string { return explainSQLite(t, db, statement) }
	}
	conn, err := pgconn.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.WithoutCancel(t.Context())) })
	ask := func(text string) []string {
		results, err := conn.Exec(t.Context(), text).ReadAll()
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		var lines []string
		for _, result := range results {
			for _, row := range result.Rows {
				lines = append(lines, string(row[0]))
			}
		}
		return lines
	}
	ask(`ANALYZE; SET enable_seqscan = off; SET enable_bitmapscan = off; SET plan_cache_mode = force_generic_plan`)
	return func(statement string) string {
		execute := "EXECUTE asked"
		if n := parameters(statement); n > 0 {
			execute += "(" + strings.TrimSuffix(strings.Repeat("NULL,", n), ",") + ")"
		}
		lines := ask(`PREPARE asked AS ` + statement + `; EXPLAIN (COSTS OFF) ` + execute + `; DEALLOCATE asked`)
		return steps(lines, regexp.MustCompile(`((?:Index|Index Only|Seq|Bitmap Index) Scan .*|(?:Insert|Update|Delete) on .*)$`))
	}
}

// parameters is how many a statement has, which the dialects write as $1 and as ?1.
func parameters(statement string) int {
	n := 0
	for next := "1"; strings.Contains(statement, "$"+next) || strings.Contains(statement, "?"+next); next = strconv.Itoa(n + 1) {
		n++
	}
	return n
}

func explainSQLite(t *testing.T, db *database.DB, statement string) string {
	t.Helper()
	rows, err := db.Query(t.Context(), database.SQL("EXPLAIN QUERY PLAN "+statement), make([]any, parameters(statement))...)
	if err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
	defer rows.Close()
	var lines []string
	for rows.Next() {
		var id, parent, unused int64
		var detail string
		if err := rows.Scan(&id, &parent, &unused, &detail); err != nil {
			t.Fatal(err)
		}
		lines = append(lines, detail)
	}
	if err := rows.Err(); err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
	return steps(lines, regexp.MustCompile(`((?:SEARCH|SCAN) .*)$`))
}

// steps keeps what matches.
func steps(lines []string, wanted *regexp.Regexp) string {
	var kept []string
	for _, line := range lines {
		if found := wanted.FindString(line); found != "" {
			kept = append(kept, "  "+found+"\n")
		}
	}
	slices.Sort(kept)
	return strings.Join(slices.Compact(kept), "")
}

func holdGolden(t *testing.T, file, got string) {
	t.Helper()
	if *updatePlans {
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o750), os.WriteFile(file, []byte(got), 0o600)); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("the plans of %s are others now (go test ./internal/oci -run TestHotStatementsGoByIndexes -update-plans writes them anew):\n%s", file, got)
	}
}
