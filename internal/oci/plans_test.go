package oci_test

import (
	"bytes"
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
// testdata/plans: which indexes lead to which tables, and by which columns. PostgreSQL is told to avoid reading whole
// tables, which it would otherwise prefer for these small ones; where it does all the same, there is no index. It knows
// nothing of the tables, as on a new database: then it is most at liberty.
func TestHotStatementsGoByIndexes(t *testing.T) {
	for dialect, open := range map[string]func(testing.TB) string{
		database.SQLite:   func(tb testing.TB) string { tb.Helper(); return "sqlite:" + filepath.Join(tb.TempDir(), "berth.db") },
		database.Postgres: testenv.Postgres,
	} {
		t.Run(dialect, func(t *testing.T) {
			env, url, statements := hotStatements(t, dialect, open)
			explain := explainer(t, env.DB, url)
			for _, hot := range statements {
				var text strings.Builder
				for _, statement := range hot.statements {
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

// step is one that reads a large table, and the columns by which it is led there.
var step = regexp.MustCompile(`(?m)Scan (?:Backward )?(?:using \w+ )?on (tags|manifests|repository_blobs)\b[^(\n]*(?:\(([\w, ]*)\))?$`)

// notByKey is a step of a plan that finds rows of a large table by less than two columns: every tag of that name, or all of a
// repository. A limit counts the tags of a repository, and no more.
func notByKey(statement, plan string) string {
	for _, found := range step.FindAllStringSubmatch(plan, -1) {
		columns := strings.Split(found[2], ", ")
		slices.Sort(columns)
		counts := strings.Contains(statement, "limit_overrides") && found[1] == "tags" && found[2] == "repository_id"
		if len(slices.Compact(columns)) < 2 && !counts {
			return found[0]
		}
	}
	return ""
}

func TestNotByKey(t *testing.T) {
	for plan, want := range map[string]bool{
		"  Index Scan using a on tags t (repository_id, name)\n":               false,
		"  Index Scan using a on tags t (name)\n":                              true,
		"  Index Only Scan Backward using a on manifests ()\n":                 true,
		"  Index Scan using a on repository_blobs l\n":                         true,
		"  Index Scan using a on manifests m (digest, digest)\n":               true,
		"  Seq Scan on tags\n":                                                 true,
		"  Index Scan using a on tag_rules k (project_id)\n  Insert on tags\n": false,
	} {
		if got := notByKey("SELECT", plan) != ""; got != want {
			t.Errorf("%q: %v", plan, got)
		}
	}
	if found := notByKey("SELECT 1 FROM limit_overrides", "Index Only Scan using a on tags t (repository_id)"); found != "" {
		t.Error(found)
	}
}

// TestHotStatementsNameWholeKeys holds the plans of PostgreSQL to leading to a tag, a manifest or a link by its whole key,
// whatever it knows of the tables: nothing yet, that they are small, or that one repository has very many.
func TestHotStatementsNameWholeKeys(t *testing.T) {
	env, url, statements := hotStatements(t, database.Postgres, testenv.Postgres)
	explain, ask := explainer(t, env.DB, url), asker(t, url)
	check := func(known string) {
		t.Helper()
		for _, hot := range statements {
			for _, statement := range hot.statements {
				plan := explain(statement)
				if found := notByKey(statement, plan); found != "" {
					t.Errorf("%s, %s: %s:\n%s\n%s", hot.name, known, found, statement, plan)
				}
			}
		}
	}
	check("nothing known")
	ask(`ANALYZE`)
	check("small tables")
	ask(manyRows)
	check("many rows, not known")
	ask(`ANALYZE`)
	check("many rows, known")
}

// manyRows fills the repository demo/app, and a thousand others, which share its manifests and blobs.
const manyRows = `
	CREATE TEMP TABLE app AS SELECT r.id, r.project_id FROM repositories r JOIN projects p ON p.id = r.project_id
		WHERE p.slug = 'demo' AND r.path = 'app';
	INSERT INTO repositories (id, project_id, path, created_at)
		SELECT gen_random_uuid(), project_id, 'many/' || n, 1 FROM app, generate_series(1, 1000) AS n;
	INSERT INTO blobs (id, digest, size, created_at)
		SELECT gen_random_uuid(), 'sha256:' || n, 1, 1 FROM generate_series(1, 3000) AS n;
	CREATE TEMP TABLE held AS
		SELECT app.id, n FROM app, generate_series(1, 3000) AS n
		UNION ALL SELECT r.id, n FROM repositories r, generate_series(1, 5) AS n WHERE r.path LIKE 'many/%';
	INSERT INTO repository_blobs (repository_id, digest, blob_id, created_at, keep_until)
		SELECT held.id, b.digest, b.id, 1, 1 FROM held JOIN blobs b ON b.digest = 'sha256:' || held.n;
	INSERT INTO manifests (repository_id, digest, media_type, size, content, pushed_by, created_at)
		SELECT id, 'sha256:m' || n, 'm', 1, 'm', 'test', 1 FROM held;
	INSERT INTO tags (repository_id, name, digest, pushed_by, created_at, updated_at)
		SELECT id, 'v' || n, 'sha256:m' || n, 'test', 1, 1 FROM held ON CONFLICT DO NOTHING;`

// hotStatements runs every hot request and returns the statements of each.
func hotStatements(t *testing.T, dialect string, open func(testing.TB) string) (*ocitest.Env, string, []hotRequest) {
	t.Helper()
	log := &statementLog{}
	url := open(t)
	env := &ocitest.Env{DB: openRecorded(t, url, log), Name: dialect}
	store, err := storeurl.Open(t.Context(), "file:"+filepath.Join(t.TempDir(), "objects"), storeurl.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	env.Store = store
	requests := hotRequests(t, env)
	for i := range requests {
		log.take()
		requests[i].do()
		requests[i].statements = log.take()
	}
	return env, url, requests
}

type hotRequest struct {
	name       string
	do         func()
	statements []string
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
		{name: "token", do: func() { robot.Token("repository:demo/app:pull,push") }},
		{name: "manifest GET by tag", do: get("GET", "/manifests/v1", http.StatusOK)},
		{name: "manifest GET by digest", do: get("GET", "/manifests/"+m, http.StatusOK)},
		{name: "blob GET", do: get("GET", "/blobs/"+d, http.StatusOK)},
		{name: "blob HEAD", do: get("HEAD", "/blobs/"+d, http.StatusOK)},
		{name: "tags", do: get("GET", "/tags/list?n=1&last=a", http.StatusOK)},
		{name: "referrers", do: get("GET", "/referrers/"+m, http.StatusOK)},
		{name: "blob push", do: func() { robot.Push("demo/app", []byte("another")) }},
		{name: "blob mount", do: func() {
			robot.Want(http.StatusCreated, "POST", "/v2/demo/other/blobs/uploads/?from=demo/app&mount="+d, nil)
		}},
		{name: "blob mount without a source", do: func() {
			robot.Want(http.StatusCreated, "POST", "/v2/demo/third/blobs/uploads/?mount="+d, nil)
		}},
		{name: "manifest PUT", do: func() {
			robot.PutManifest("demo/app", "v2", v1.MediaTypeImageManifest, imageOf(t, layer, []byte("another")))
		}},
		{name: "manifest PUT with a foreign layer", do: func() {
			foreign := bytes.Replace(imageOf(t, layer, []byte("another")), []byte("image.layer.v1"), []byte("image.layer.nondistributable.v1"), 1)
			robot.PutManifest("demo/app", "v3", v1.MediaTypeImageManifest, foreign)
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
	ask := asker(t, url)
	ask(`SET enable_seqscan = off; SET enable_bitmapscan = off; SET plan_cache_mode = force_generic_plan`)
	return func(statement string) string {
		execute := "EXECUTE asked"
		if n := parameters(statement); n > 0 {
			execute += "(" + strings.TrimSuffix(strings.Repeat("NULL,", n), ",") + ")"
		}
		lines := ask(`PREPARE asked AS ` + statement + `; EXPLAIN (COSTS OFF) ` + execute + `; DEALLOCATE asked`)
		for i, line := range lines[1:] {
			if _, condition, ok := strings.Cut(line, "Index Cond: "); ok {
				lines[i] += " (" + strings.Join(columns(condition), ", ") + ")"
			}
		}
		return steps(lines, regexp.MustCompile(`((?:Index|Index Only|Seq|Bitmap Index) Scan .*|(?:Insert|Update|Delete) on .*)$`))
	}
}

// asker sends statements to PostgreSQL and returns the first column of all that they answer.
func asker(t *testing.T, url string) func(text string) []string {
	t.Helper()
	conn, err := pgconn.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.WithoutCancel(t.Context())) })
	return func(text string) []string {
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
}

// columns are those that an index is searched by.
func columns(condition string) []string {
	var all []string
	for _, found := range regexp.MustCompile(`\((\w+) (?:=|<|>|<=|>=) `).FindAllStringSubmatch(condition, -1) {
		all = append(all, found[1])
	}
	return all
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
