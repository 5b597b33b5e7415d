package audit

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/berthregistry/berth/internal/database"
	"github.com/berthregistry/berth/internal/rounds"
)

const (
	// keepInterval is about how often a replica looks for entries that are too old, keepBatch how many it removes at a time.
	keepInterval = 10 * time.Minute
	keepBatch    = 1000
)

// removeOld leaves what another replica is removing.
var removeOld = database.SQL(`
	WITH due AS MATERIALIZED (SELECT id FROM audit_log WHERE id < $1 ORDER BY id LIMIT {limit:$2} {skip})
	DELETE FROM audit_log WHERE id IN (SELECT id FROM due)
	RETURNING 1`)

// Keeper removes entries by age. Any number of replicas may do so at once.
type Keeper struct {
	db     *database.DB
	life   time.Duration
	now    func() time.Time
	logger *slog.Logger
}

// NewKeeper makes a Keeper of entries that live that long; 0 is for ever.
func NewKeeper(db *database.DB, life time.Duration, now func() time.Time, logger *slog.Logger) *Keeper {
	return &Keeper{db: db, life: life, now: now, logger: logger}
}

// Run works until ctx ends. It returns nil: what fails is logged and tried again.
func (k *Keeper) Run(ctx context.Context) error {
	rounds.Every(ctx, keepInterval, func(ctx context.Context) {
		if err := k.Tidy(ctx); err != nil && ctx.Err() == nil {
			k.logger.WarnContext(ctx, "remove old entries of the audit log", slog.String("error", err.Error()))
		}
	})
	return nil
}

// Tidy removes every entry that is too old. Errors: the context's and the database's.
func (k *Keeper) Tidy(ctx context.Context) error {
	if k.life <= 0 {
		return nil
	}
	oldest := boundary(k.now().Add(-k.life))
	for {
		removed := 0
		b := &database.Batch{}
		b.Query(func(database.Rows) error {
			removed++
			return nil
		}, removeOld, oldest, int64(keepBatch))
		if err := k.db.Run(ctx, b); err != nil {
			return fmt.Errorf("audit: remove old entries: %w", err)
		}
		if removed < keepBatch {
			return nil
		}
	}
}
