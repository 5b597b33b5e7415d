package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/berthregistry/berth/internal/database"
	"github.com/berthregistry/berth/internal/projects/quota"
	"github.com/berthregistry/berth/internal/storage"
	"github.com/berthregistry/berth/internal/storage/storeurl"
	"github.com/berthregistry/berth/test/crash/history"
)

// audit looks at database and storage directly, past the registry and past the proxies.
type audit struct {
	h     *harness
	db    *database.DB
	store storage.Store
}

func (h *harness) openAudit(ctx context.Context) (*audit, error) {
	db, err := database.Open(ctx, database.Config{URL: h.database, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return nil, fmt.Errorf("open the database: %w", err)
	}
	store, err := storeurl.Open(ctx, h.storage, storeurl.Options{})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open the storage: %w", err), db.Close())
	}
	return &audit{h: h, db: db, store: store}, nil
}

func (a *audit) close() { _ = errors.Join(a.store.Close(), a.db.Close()) }

var (
	othersBusy = database.SQL(`
		SELECT count(*) FROM pg_stat_activity
		WHERE datname = current_database() AND pid <> pg_backend_pid() AND state <> 'idle'`)
	bringForward = database.SQL(`UPDATE doomed_objects SET delete_after = 0`)
	dueSessions  = database.SQL(`
		SELECT count(*) FROM upload_sessions WHERE {bigint:$1} = 1 OR lease_until < {instant}`)
	dueObjects = database.SQL(`SELECT count(*) FROM doomed_objects`)
	// dueLinks are those whose promises were forgotten, and blobs that have lost one. A collection ends where another one is at
	// work, so the end of one does not tell that nothing is left.
	dueLinks = database.SQL(`
		SELECT (SELECT count(*) FROM repository_blobs WHERE NOT held AND keep_until = 0) + (SELECT count(*) FROM blob_reviews)`)
	chunkRows   = database.SQL(`SELECT object_key, size FROM chunks`)
	doomedRows  = database.SQL(`SELECT object_key, size FROM doomed_objects`)
	strayChunks = database.SQL(`
		SELECT c.object_key, c.size FROM chunks c
		WHERE NOT EXISTS (SELECT 1 FROM blobs b WHERE b.id = c.owner_id)
		  AND NOT EXISTS (SELECT 1 FROM upload_sessions u WHERE u.id = c.owner_id)`)
	tornBlobs = database.SQL(`
		SELECT b.digest, b.size FROM blobs b
		WHERE b.size <> (SELECT coalesce(CAST(sum(c.size) AS bigint), 0) FROM chunks c WHERE c.owner_id = b.id)`)
	danglingRows = database.SQL(`
		SELECT m.digest, m.size FROM manifests m
		JOIN manifest_blobs mb ON mb.repository_id = m.repository_id AND mb.manifest_digest = m.digest
		JOIN repository_blobs l ON l.repository_id = mb.repository_id AND l.digest = mb.blob_digest
		WHERE m.deleted_at IS NULL AND l.deleted_at IS NOT NULL`)
	danglingTags = database.SQL(`
		SELECT t.name, m.size FROM tags t
		JOIN manifests m ON m.repository_id = t.repository_id AND m.digest = t.digest
		WHERE t.deleted_at IS NULL AND m.deleted_at IS NOT NULL`)
	projectIDs = database.SQL(`SELECT CAST(id AS text), 0 FROM projects WHERE state <> 'deleted'`)
	heldBytes  = database.SQL(`SELECT ` + quota.Held)
	ledger     = database.SQL(`
		SELECT coalesce((SELECT t.bytes FROM usage_totals t WHERE t.project_id = $1), 0)
			+ coalesce((SELECT CAST(sum(d.bytes) AS bigint) FROM usage_deltas d WHERE d.project_id = $1), 0)`)
)

// idle says whether PostgreSQL has ended what the killed replicas had begun. SQLite ends with its process.
func (a *audit) idle(ctx context.Context) (bool, error) {
	if a.db.Dialect() == database.SQLite {
		return true, nil
	}
	busy, err := a.count(ctx, othersBusy)
	return busy == 0, err
}

func (a *audit) count(ctx context.Context, stmt database.Stmt, args ...any) (int64, error) {
	var n int64
	if err := a.db.QueryRow(ctx, stmt, args...).Scan(&n); err != nil {
		return 0, fmt.Errorf("count: %w", err)
	}
	return n, nil
}

// bringForward lets the time come for all released objects, also for those that were put off because storage failed.
func (a *audit) bringForward(ctx context.Context) error {
	b := &database.Batch{}
	b.Exec(bringForward)
	if err := a.db.Run(ctx, b); err != nil {
		return fmt.Errorf("bring sweeps forward: %w", err)
	}
	return nil
}

// due is how many sessions and released objects are left to be tidied up. Sessions that a writer leases, and links and
// blobs that nobody needs, count if all is true.
func (a *audit) due(ctx context.Context, all bool) (int, error) {
	leased := int64(0)
	if all {
		leased = 1
	}
	sessions, err := a.count(ctx, dueSessions, leased)
	if err != nil {
		return 0, err
	}
	objects, err := a.count(ctx, dueObjects)
	if err != nil || !all || !a.h.o.collect {
		return int(sessions + objects), err
	}
	links, err := a.count(ctx, dueLinks)
	return int(sessions + objects + links), err
}

// compare holds rows and objects against each other, and the ledger against a recount.
func (a *audit) compare(ctx context.Context) error {
	var o history.Objects
	var err error
	if o.Rows, err = a.sizes(ctx, chunkRows); err != nil {
		return err
	}
	if o.Doomed, err = a.sizes(ctx, doomedRows); err != nil {
		return err
	}
	if o.Stored, err = a.stored(ctx); err != nil {
		return err
	}
	for _, v := range o.Missing() {
		a.h.violated(v.About, "%s", v.Problem)
	}
	orphans := o.Orphans()
	if a.h.o.collect {
		for _, key := range orphans {
			a.h.violated("object "+key, "no row names it after the collection")
		}
	}
	a.h.stats.change(func(s *stats) {
		s.objects += len(o.Rows)
		s.orphans = len(orphans)
	})
	for problem, stmt := range map[string]database.Stmt{
		"a chunk without a blob or a session":             strayChunks,
		"a blob of another size than its chunks":          tornBlobs,
		"a live manifest with a blob that is hidden":      danglingRows,
		"a live tag of a manifest that is deleted (name)": danglingTags,
	} {
		found, err := a.sizes(ctx, stmt)
		if err != nil {
			return err
		}
		for name := range found {
			a.h.violated(name, "%s", problem)
		}
	}
	return a.recount(ctx)
}

// recount holds the ledger of each project against what it holds.
func (a *audit) recount(ctx context.Context) error {
	projects, err := a.sizes(ctx, projectIDs)
	if err != nil {
		return err
	}
	for id := range projects {
		held, err := a.count(ctx, heldBytes, id)
		if err != nil {
			return err
		}
		said, err := a.count(ctx, ledger, id)
		if err != nil {
			return err
		}
		if held != said {
			a.h.violated("project "+id, "holds %d bytes, its ledger says %d", held, said)
		}
	}
	return nil
}

// sizes reads rows of a name and a number.
func (a *audit) sizes(ctx context.Context, stmt database.Stmt, args ...any) (map[string]int64, error) {
	rows, err := a.db.Query(ctx, stmt, args...)
	if err != nil {
		return nil, fmt.Errorf("audit: %w", err)
	}
	defer rows.Close()
	sizes := map[string]int64{}
	for rows.Next() {
		var name string
		var size int64
		if err := rows.Scan(&name, &size); err != nil {
			return nil, fmt.Errorf("audit: %w", err)
		}
		sizes[name] = size
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("audit: %w", err)
	}
	return sizes, nil
}

// stored lists the objects of all days on which the run may have written.
func (a *audit) stored(ctx context.Context) (map[string]int64, error) {
	sizes := map[string]int64{}
	for day := a.h.began.UTC().AddDate(0, 0, -1); !day.After(time.Now().UTC().AddDate(0, 0, 1)); day = day.AddDate(0, 0, 1) {
		err := a.store.List(ctx, day.Format(time.DateOnly)+"/", func(object storage.Object) error {
			sizes[object.Key] = object.Size
			return nil
		})
		if err != nil {
			return nil, fmt.Errorf("list the storage: %w", err)
		}
	}
	return sizes, nil
}
