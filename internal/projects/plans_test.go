package projects

import (
	"context"
	"strconv"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/berthregistry/berth/internal/database"
	"github.com/berthregistry/berth/internal/database/dbtest"
	"github.com/berthregistry/berth/internal/events"
	"github.com/berthregistry/berth/internal/limits"
	"github.com/berthregistry/berth/internal/projects/quota"
	"github.com/berthregistry/berth/internal/testenv"
)

// TestListsGoByIndexes: where a statement could use no index, PostgreSQL would read a whole table even though it is told
// to avoid that. What a list sorts is what it has found, never a table. The statements of limits, quotas and the outbox
// are looked at here, too.
func TestListsGoByIndexes(t *testing.T) {
	statements := map[string]database.Stmt{
		"members": listMembers, "grants": listGrants, "first repositories": firstRepositories, "next repositories": nextRepositories,
		"repository": repositoryByPath, "tags": listTags, "manifests": listManifests, "usage": usage, "pushed before": pushedBefore,
		"expire": expire, "expiring": expiring, "end reservations": endReservations, "old slug": takeOldSlug,
	}
	for room, more := range map[string]map[string]database.Stmt{
		"limits: ": limits.Statements(), "quota: ": quota.Statements(), "events: ": events.Statements(),
	} {
		for name, stmt := range more {
			statements[room+name] = stmt
		}
	}
	for shape, stmt := range listStatements {
		statements["list "+strings.Trim(strings.Join(shape.names(), " "), " ")] = stmt
	}
	url := testenv.Postgres(t)
	dbtest.Open(t, url)
	conn, err := pgconn.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.WithoutCancel(t.Context())) })
	ask(t, conn, `SET enable_seqscan = off; SET plan_cache_mode = force_generic_plan`)
	for name, stmt := range statements {
		if plan := explain(t, conn, stmt); wholeTable(plan) {
			t.Errorf("%s reads a whole table:\n%s", name, plan)
		}
	}
	if plan := explain(t, conn, database.SQL(`SELECT 1 FROM projects WHERE description = $1`)); !wholeTable(plan) {
		t.Errorf("the plan of a statement without an index does not tell:\n%s", plan)
	}
}

func wholeTable(plan string) bool {
	return strings.Contains(plan, "Seq Scan on") || !strings.Contains(plan, "Index")
}

// explain gives the plan that a prepared statement has for all values of its parameters.
func explain(t *testing.T, conn *pgconn.PgConn, stmt database.Stmt) string {
	t.Helper()
	n := 0
	for strings.Contains(stmt.String(), "$"+strconv.Itoa(n+1)) {
		n++
	}
	arguments := ""
	if n > 0 {
		arguments = "(" + strings.TrimSuffix(strings.Repeat("NULL,", n), ",") + ")"
	}
	return ask(t, conn, `PREPARE asked AS `+stmt.String()+`; EXPLAIN EXECUTE asked`+arguments+`; DEALLOCATE asked`)
}

// ask gives all that statements return, a line for each row.
func ask(t *testing.T, conn *pgconn.PgConn, statements string) string {
	t.Helper()
	results, err := conn.Exec(t.Context(), statements).ReadAll()
	if err != nil {
		t.Fatalf("%s: %v", statements, err)
	}
	var lines strings.Builder
	for _, result := range results {
		for _, row := range result.Rows {
			lines.Write(row[0])
			lines.WriteByte('\n')
		}
	}
	return lines.String()
}

func (l listShape) names() []string {
	var names []string
	for name, on := range map[string]bool{"of a member": l.member, "by state": l.state, "by prefix": l.prefix} {
		if on {
			names = append(names, name)
		}
	}
	return names
}
