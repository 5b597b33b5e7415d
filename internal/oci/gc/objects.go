package gc

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"

	"github.com/berthregistry/berth/internal/database"
)

var (
	// takeObjects keeps other replicas away, for so long that this one has died if it is not done by then. It takes nothing
	// while somebody holds the removal of objects.
	takeObjects = database.SQL(`
		WITH due AS MATERIALIZED (
			SELECT object_key FROM doomed_objects WHERE delete_after <= $1
			  AND NOT EXISTS (SELECT 1 FROM collection_schedule s WHERE s.id = 1 AND s.hold_until > {instant})
			ORDER BY delete_after LIMIT {limit:$3} {skip})
		UPDATE doomed_objects SET delete_after = $2 WHERE object_key IN (SELECT object_key FROM due)
		RETURNING object_key, size`)
	haveRows = database.SQL(`
		SELECT object_key FROM chunks WHERE object_key IN (SELECT each.value FROM {each:$1})`)
	areDoomed = database.SQL(`
		SELECT object_key FROM doomed_objects WHERE object_key IN (SELECT each.value FROM {each:$1})`)
	forgetObjects = database.SQL(`
		DELETE FROM doomed_objects WHERE object_key IN (SELECT each.value FROM {each:$1})`)
	postponeObjects = database.SQL(`
		UPDATE doomed_objects SET delete_after = $2 WHERE object_key IN (SELECT each.value FROM {each:$1})`)
)

// removeObjects removes objects whose time has come from storage. Those that storage keeps are tried again later, and do
// not stand in the way of others.
func (r *run) removeObjects(ctx context.Context) (int64, error) {
	now := r.now()
	sizes := map[string]int64{}
	b := &database.Batch{}
	b.Query(func(rows database.Rows) error {
		var key string
		var size int64
		err := rows.Scan(&key, &size)
		sizes[key] = size
		return err
	}, takeObjects, now, now+r.Lease.Microseconds()+1, int64(r.Batch))
	if err := r.DB.Run(ctx, b); err != nil {
		return 0, fmt.Errorf("take objects: %w", err)
	}
	if len(sizes) == 0 {
		return 0, nil
	}
	took := int64(len(sizes))
	keys, err := r.withoutRow(ctx, sizes)
	if err != nil {
		return 0, err
	}
	if err := r.Store.Delete(ctx, keys...); err != nil {
		b := &database.Batch{}
		b.Exec(postponeObjects, database.Strings(keys), now+r.Retry.Microseconds())
		if perr := r.DB.Run(ctx, b); perr != nil {
			return 0, fmt.Errorf("postpone objects: %w", perr)
		}
		r.Logger.WarnContext(ctx, "objects were not removed, and are tried again later", slog.String("error", err.Error()))
		return took, nil
	}
	forget := &database.Batch{}
	forget.Exec(forgetObjects, database.Strings(keys))
	if err := r.DB.Run(ctx, forget); err != nil {
		return 0, fmt.Errorf("forget objects: %w", err)
	}
	for _, key := range keys {
		r.figures.RemovedObjects++
		r.figures.RemovedBytes += sizes[key]
	}
	return took, nil
}

// withoutRow gives the keys that no chunk has. What has a row is never removed, whatever doomed it; it leaves the list.
func (r *run) withoutRow(ctx context.Context, sizes map[string]int64) ([]string, error) {
	keys := slices.Collect(maps.Keys(sizes))
	var needed []string
	if err := r.DB.Each(ctx, each(&needed), haveRows, database.Strings(keys)); err != nil {
		return nil, fmt.Errorf("look for rows of objects: %w", err)
	}
	if len(needed) == 0 {
		return keys, nil
	}
	r.Logger.ErrorContext(ctx, "objects that have a row were doomed; they stay", slog.Any("keys", needed))
	b := &database.Batch{}
	b.Exec(forgetObjects, database.Strings(needed))
	if err := r.DB.Run(ctx, b); err != nil {
		return nil, fmt.Errorf("spare objects: %w", err)
	}
	for _, key := range needed {
		delete(sizes, key)
	}
	return slices.Collect(maps.Keys(sizes)), nil
}

// each collects the texts of a column.
func each(to *[]string) func(database.Rows) error {
	return func(rows database.Rows) error {
		var text string
		err := rows.Scan(&text)
		*to = append(*to, text)
		return err
	}
}
