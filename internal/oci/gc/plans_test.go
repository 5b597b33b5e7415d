package gc

import (
	"context"
	"strconv"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/berthregistry/berth/internal/database"
	"github.com/berthregistry/berth/internal/database/dbtest"
	"github.com/berthregistry/berth/internal/testenv"
)

// TestNoStepReadsAWholeTable: where a statement could use no index, PostgreSQL would read a whole table even though it is
// told to avoid that.
func TestNoStepReadsAWholeTable(t *testing.T) {
	statements := map[string]database.Stmt{
		"seal repositories": sealRepositories, "take manifests": takeManifests, "lock their links": lockTheirLinks,
		"release links": releaseLinks, "delete their tags": deleteTheirTags, "delete manifests": deleteManifests,
		"purge tags": purgeTags, "due repository": dueRepository, "delete history": deleteHistory, "empty repository": emptyRepository,
		"due project": dueProject, "seal project": sealProject, "take sessions": takeSessions, "doom session": doomSession,
		"delete unnamed": deleteUnnamed, "project's tags": deleteProjectTags, "project's manifests": deleteProjectManifests,
		"mark project's links": markProjectLinks, "review project's blobs": reviewProjectBlobs, "project's links": deleteProjectLinks,
		"project's history": deleteProjectHistory, "project's repositories": deleteProjectRepositories,
		"project's deltas": deleteProjectDeltas, "project's events": deleteProjectEvents, "grants": deleteGrantsOfTokens,
		"sessions":  deleteSessionsOfTokens,
		"due links": dueLinks, "take links": takeLinks, "shrink project": shrinkProject, "review blobs": reviewBlobs, "delete links": deleteLinks,
		"take reviews": takeReviews, "doom chunks": doomChunks, "delete chunks": deleteChunks, "delete blobs": deleteBlobs, "end reviews": endReviews,
		"take objects": takeObjects, "have rows": haveRows, "are doomed": areDoomed, "forget objects": forgetObjects, "doom orphan": doomOrphan,
		"take day": takeDay, "last day": lastDay, "first project": firstProject,
		"take compaction": takeCompaction, "chunks": chunksOf, "raise generation": raiseGeneration, "doom old": doomOld, "insert one": insertOne,
		"end silent": endSilent, "forget runs": forgetRuns, "last runs": lastRuns, "backlog": backlog, "dry run": planContent,
	}
	for i, stmt := range deleteRowsOf {
		statements["rows of "+projectTables[i]] = stmt
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
	if plan := explain(t, conn, database.SQL(`SELECT 1 FROM blobs WHERE size = $1`)); !wholeTable(plan) {
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
	arguments := "(" + strings.TrimSuffix(strings.Repeat("NULL,", n), ",") + ")"
	if n == 0 {
		arguments = ""
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
