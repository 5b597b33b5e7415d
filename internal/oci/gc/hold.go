package gc

import (
	"context"
	"fmt"
	"time"

	"github.com/berthregistry/berth/internal/audit"
	"github.com/berthregistry/berth/internal/database"
)

var (
	hold = database.SQL(`
		UPDATE collection_schedule SET hold_until = {now} + {bigint:$1} WHERE id = 1 RETURNING hold_until`)
	lookAgain = database.SQL(`
		UPDATE swept_days SET done_at = NULL, lease_until = 0 WHERE done_at IS NOT NULL RETURNING 1`)
)

// Hold keeps all replicas from removing objects for as long, so that the storage can be copied; 0 lets them again. What goes
// meanwhile waits, and is removed afterwards. It returns until when, by the database's clock. Errors: the context's and the
// database's.
func (c *Collector) Hold(ctx context.Context, d time.Duration) (time.Time, error) {
	var until int64
	b := &database.Batch{}
	b.Query(func(rows database.Rows) error { return rows.Scan(&until) }, hold, d.Microseconds())
	entry := audit.Entry{Action: audit.BackupRelease, Object: "storage"}
	if d > 0 {
		entry = audit.Entry{Action: audit.BackupHold, Object: "storage", Detail: map[string]any{"seconds": int64(d.Seconds())}}
	}
	audit.Append(ctx, b, entry)
	if err := c.DB.Run(ctx, b); err != nil {
		return time.Time{}, fmt.Errorf("hold the removal of objects: %w", err)
	}
	return database.FromMicros(until), nil
}

// LookAgain makes the next collections look through the objects of all days again that were looked through before, and
// returns how many those are. Errors: the context's and the database's.
func (c *Collector) LookAgain(ctx context.Context) (int64, error) {
	var days int64
	b := &database.Batch{}
	b.Query(counting(&days), lookAgain)
	audit.Append(ctx, b, audit.Entry{Action: audit.ScrubRun, Object: "orphans"})
	if err := c.DB.Run(ctx, b); err != nil {
		return 0, fmt.Errorf("note days: %w", err)
	}
	return days, nil
}
