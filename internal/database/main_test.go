package database_test

import (
	"errors"
	"testing"

	"github.com/google/uuid"
	"go.uber.org/goleak"

	"github.com/berthregistry/berth/internal/database"
	"github.com/berthregistry/berth/internal/testenv"
)

func TestMain(m *testing.M) { testenv.Main(m) }

// Statements that several tests use.
var (
	insertAccount = database.SQL(`INSERT INTO accounts (id, kind, name, created_at) VALUES ($1, 'personal', $2, {now})`)
	accountName   = database.SQL(`SELECT name FROM accounts WHERE id = $1`)
	insertProject = database.SQL(`
		INSERT INTO projects (id, slug, state, created_by, created_at, updated_at)
		VALUES ($1, $2, 'active', 'test', {now}, {now})`)
	projectEpoch = database.SQL(`SELECT epoch FROM projects WHERE id = $1`)
	raiseEpoch   = database.SQL(`UPDATE projects SET epoch = epoch + 1 WHERE id = $1 RETURNING epoch`)
	// raiseEpochFrom is a compare-and-set.
	raiseEpochFrom = database.SQL(`UPDATE projects SET epoch = epoch + 1 WHERE id = $1 AND epoch = $2 RETURNING epoch`)
	shareProject   = database.SQL(`SELECT 1 FROM projects WHERE id = $1 {share}`)
)

var errUnmet = errors.New("requirement of the test")

// noLeaks fails the test if it leaves goroutines behind that were not there before, other than idle ones of servers.
// It must come before what registers the database's closing.
func noLeaks(tb testing.TB) {
	tb.Helper()
	before := goleak.IgnoreCurrent()
	server := goleak.IgnoreAnyFunction("github.com/berthregistry/berth/internal/testenv.(*process).run") // which the first test that needs it starts
	tb.Cleanup(func() { goleak.VerifyNone(tb, before, server) })
}

func run(tb testing.TB, db *database.DB, fill func(b *database.Batch)) {
	tb.Helper()
	var b database.Batch
	fill(&b)
	if err := db.Run(tb.Context(), &b); err != nil {
		tb.Fatal(err)
	}
}

// newProject returns the ID of a new project, whose epoch is 1.
func newProject(tb testing.TB, db *database.DB) uuid.UUID {
	tb.Helper()
	id := uuid.Must(uuid.NewV7())
	run(tb, db, func(b *database.Batch) { b.Exec(insertProject, id, "p"+id.String()) })
	return id
}

func epochOf(tb testing.TB, db *database.DB, project uuid.UUID) int64 {
	tb.Helper()
	var epoch int64
	if err := db.QueryRow(tb.Context(), projectEpoch, project).Scan(&epoch); err != nil {
		tb.Fatal(err)
	}
	return epoch
}

func wantIs(tb testing.TB, err error, wanted ...error) {
	tb.Helper()
	for _, w := range wanted {
		if !errors.Is(err, w) {
			tb.Fatalf("got error %v, want %v", err, w)
		}
	}
}

func wantIsNot(tb testing.TB, err error, unwanted ...error) {
	tb.Helper()
	if err == nil {
		tb.Fatal("got no error")
	}
	for _, u := range unwanted {
		if errors.Is(err, u) {
			tb.Fatalf("got error %v, which must not be %v", err, u)
		}
	}
}
