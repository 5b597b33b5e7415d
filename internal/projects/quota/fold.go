package quota

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/google/uuid"

	"github.com/berthregistry/berth/internal/database"
	"github.com/berthregistry/berth/internal/rounds"
)

const (
	// foldInterval is about how often a replica adds up what was appended to the ledger.
	foldInterval = 2 * time.Second
	// foldBatch is how many deltas it takes at a time.
	foldBatch = 1000
)

var (
	takeDeltas = database.SQL(`
		WITH due AS MATERIALIZED (
			SELECT id FROM usage_deltas WHERE fold IS NULL ORDER BY id LIMIT {limit:$2} {skip})
		UPDATE usage_deltas SET fold = $1 WHERE id IN (SELECT id FROM due)
		RETURNING 1`)
	// Replicas that fold the same projects lock their totals in the same order.
	addToTotals = database.SQL(`
		INSERT INTO usage_totals (project_id, bytes, as_of)
		SELECT project_id, CAST(sum(bytes) AS bigint), {bigint:$2} FROM usage_deltas WHERE fold = $1
		GROUP BY project_id ORDER BY project_id
		ON CONFLICT (project_id) DO UPDATE SET bytes = usage_totals.bytes + excluded.bytes, as_of = excluded.as_of`)
	dropDeltas = database.SQL(`DELETE FROM usage_deltas WHERE fold = $1`)

	dropDeltasOf = database.SQL(`DELETE FROM usage_deltas WHERE project_id = $1`)
	setTotal     = database.SQL(`
		INSERT INTO usage_totals (project_id, bytes, as_of) SELECT p.id, ` + Held + `, {bigint:$2} FROM projects p WHERE p.id = $1
		ON CONFLICT (project_id) DO UPDATE SET bytes = excluded.bytes, as_of = excluded.as_of`)
)

// Folder adds the deltas of the ledger up into the totals of their projects. Any number of replicas may do so at once:
// each takes deltas that no other has, and a delta leaves the ledger in the transaction that adds it to the total.
type Folder struct {
	db     *database.DB
	now    func() time.Time
	logger *slog.Logger
}

// NewFolder makes a Folder.
func NewFolder(db *database.DB, now func() time.Time, logger *slog.Logger) *Folder {
	return &Folder{db: db, now: now, logger: logger}
}

// Run folds until ctx ends. It returns nil: what fails is logged and tried again.
func (f *Folder) Run(ctx context.Context) error {
	rounds.Every(ctx, foldInterval, func(ctx context.Context) {
		if err := f.Fold(ctx); err != nil && ctx.Err() == nil {
			f.logger.WarnContext(ctx, "add up usage", slog.String("error", err.Error()))
		}
	})
	return nil
}

// Fold takes every delta that nobody else takes. Errors: the context's and the database's.
func (f *Folder) Fold(ctx context.Context) error {
	for {
		taken := 0
		id := uuid.Must(uuid.NewV7())
		b := &database.Batch{}
		b.Query(func(database.Rows) error {
			taken++
			return nil
		}, takeDeltas, id, int64(foldBatch))
		b.Exec(addToTotals, id, database.ToMicros(f.now()))
		b.Exec(dropDeltas, id)
		if err := f.db.Run(ctx, b); err != nil {
			return fmt.Errorf("add up usage: %w", err)
		}
		if taken < foldBatch {
			return nil
		}
	}
}

// Recount adds to b what makes the project's total what it holds, whatever the ledger says. The project must be locked
// for update before, which keeps those away who append to its ledger.
func Recount(b *database.Batch, project uuid.UUID, now int64) {
	b.Exec(dropDeltasOf, project)
	b.Exec(setTotal, project, now)
}
