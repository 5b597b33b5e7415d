package audit

import (
	"context"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/berthregistry/berth/internal/database/dbtest"
	"github.com/berthregistry/berth/internal/testenv"
)

// TestListsGoByIndexes: where a statement could use no index, PostgreSQL would read a whole table even though it is told to
// avoid that.
func TestListsGoByIndexes(t *testing.T) {
	t.Parallel()
	url := testenv.Postgres(t)
	dbtest.Open(t, url)
	conn, err := pgconn.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.WithoutCancel(t.Context())) })
	ask := func(statements string) string {
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
	ask(`SET enable_seqscan = off; SET plan_cache_mode = force_generic_plan`)
	for shape, stmt := range listStatements {
		n := 7
		for _, more := range []bool{shape.project, shape.actor, shape.action} {
			if more {
				n++
			}
		}
		arguments := strings.TrimSuffix(strings.Repeat("NULL,", n), ",")
		plan := ask(`PREPARE asked AS ` + stmt.String() + `; EXPLAIN EXECUTE asked(` + arguments + `); DEALLOCATE asked`)
		if strings.Contains(plan, "Seq Scan on") || !strings.Contains(plan, "Index") {
			t.Errorf("%+v reads a whole table:\n%s", shape, plan)
		}
	}
	arguments := "NULL,NULL"
	if plan := ask(`PREPARE asked AS ` + removeOld.String() + `; EXPLAIN EXECUTE asked(` + arguments + `); DEALLOCATE asked`); strings.Contains(plan, "Seq Scan on") {
		t.Errorf("retention reads a whole table:\n%s", plan)
	}
}
