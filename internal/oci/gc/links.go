package gc

import (
	"bytes"
	"context"
	"fmt"
	"slices"

	"github.com/google/uuid"
	"github.com/opencontainers/go-digest"

	"github.com/berthregistry/berth/internal/database"
	"github.com/berthregistry/berth/internal/projects/quota"
)

// reasonCollected is the reason of the ledger's deltas that links make which were visible.
const reasonCollected = "collected"

// unneeded are the links of a repository that this batch has taken and no manifest needs. No manifest, live or
// restorable, can begin to: its reference locks the link's key, which the batch has locked.
const unneeded = `l.repository_id = $1 AND l.digest IN (SELECT each.value FROM {each:$2}) AND l.held AND l.keep_until <= $3
	AND NOT EXISTS (SELECT 1 FROM manifest_blobs m WHERE m.repository_id = l.repository_id AND m.blob_digest = l.digest)`

var (
	dueLinks = database.SQL(`
		SELECT r.project_id, l.repository_id, l.digest FROM repository_blobs l JOIN repositories r ON r.id = l.repository_id
		WHERE NOT l.held AND l.keep_until <= $1 ORDER BY l.keep_until LIMIT {limit:$2}`)
	// lockProject comes first of all locks, for the ledger refers to the project.
	lockProject = database.SQL(`SELECT 1 FROM projects WHERE id = $1 {keyshare}`)
	// takeLinks takes what nobody else holds. A link that was deleted and can be brought back is looked at again when it
	// cannot be any more. All others count as held from here on: those that are not are deleted below.
	takeLinks = database.SQL(`
		WITH due AS MATERIALIZED (
			SELECT digest FROM repository_blobs
			WHERE repository_id = $1 AND digest IN (SELECT each.value FROM {each:$2}) AND NOT held AND keep_until <= $3
			ORDER BY digest {skip})
		UPDATE repository_blobs SET
			held = (deleted_at IS NULL OR coalesce(purge_after, 0) <= $3),
			keep_until = CASE WHEN deleted_at IS NULL OR coalesce(purge_after, 0) <= $3 THEN keep_until ELSE purge_after END
		WHERE repository_id = $1 AND digest IN (SELECT digest FROM due)
		RETURNING 1`)
	// shrinkProject is what the project loses by visible links, each of which is the last of its blob in the project.
	shrinkProject = database.SQL(`
		INSERT INTO usage_deltas (id, project_id, bytes, reason, at)
		SELECT {uuid:$4}, {uuid:$5}, -CAST(sum(b.size) AS bigint), {text:$6}, {bigint:$3}
		FROM repository_blobs l JOIN blobs b ON b.id = l.blob_id
		WHERE ` + unneeded + ` AND l.deleted_at IS NULL
		  AND NOT EXISTS (SELECT 1 FROM repositories r
			JOIN repository_blobs o ON o.repository_id = r.id AND o.digest = l.digest AND o.deleted_at IS NULL
			WHERE r.project_id = $5 AND r.id <> $1)
		HAVING sum(b.size) > 0`)
	// reviewBlobs waits for a batch that reviews the same blob at this moment, and then asks for another review.
	reviewBlobs = database.SQL(`
		INSERT INTO blob_reviews (blob_id, created_at)
		SELECT l.blob_id, {bigint:$3} FROM repository_blobs l WHERE ` + unneeded + ` ORDER BY l.digest
		ON CONFLICT (blob_id) DO UPDATE SET claim = NULL`)
	deleteLinks = database.SQL(`DELETE FROM repository_blobs AS l WHERE ` + unneeded + ` RETURNING 1`)
)

// place is a repository with some of its digests, in order.
type place struct {
	project, repository uuid.UUID
	digests             []string
}

// collectLinks looks at links that nobody was promised any more, in the order in which that came to be.
func (r *run) collectLinks(ctx context.Context) (int64, error) {
	places, err := r.dueLinks(ctx)
	if err != nil {
		return 0, err
	}
	var looked int64
	for _, p := range places {
		n, err := r.collectLinksOf(ctx, p)
		looked += n
		if err != nil {
			return looked, err
		}
	}
	return looked, nil // nothing where others hold all of them: the next run finds them again
}

// dueLinks groups the next links by repository, so that a batch is about one project.
func (r *run) dueLinks(ctx context.Context) ([]place, error) {
	byRepository := map[uuid.UUID]*place{}
	err := r.DB.Each(ctx, func(rows database.Rows) error {
		var p place
		var d string
		if err := rows.Scan(&p.project, &p.repository, &d); err != nil {
			return err
		}
		if byRepository[p.repository] == nil {
			byRepository[p.repository] = &p
		}
		found := byRepository[p.repository]
		found.digests = append(found.digests, d)
		return nil
	}, dueLinks, r.now(), int64(r.Batch))
	if err != nil {
		return nil, fmt.Errorf("list links: %w", err)
	}
	places := make([]place, 0, len(byRepository))
	for _, p := range byRepository {
		slices.Sort(p.digests)
		places = append(places, *p)
	}
	slices.SortFunc(places, func(a, b place) int { return bytes.Compare(a.repository[:], b.repository[:]) })
	return places, nil
}

// collectLinksOf deletes those links of a repository that may go, and returns how many it has looked at. Its locks are
// taken in the order of all transactions: project, digests of the project, links, reviews of blobs.
func (r *run) collectLinksOf(ctx context.Context, p place) (int64, error) {
	digests, now := database.Strings(p.digests), r.now()
	var taken, deleted int64
	b := &database.Batch{}
	b.Exec(lockProject, p.project)
	for _, d := range p.digests {
		quota.Lock(b, p.project, digest.Digest(d))
	}
	b.Query(counting(&taken), takeLinks, p.repository, digests, now)
	b.Exec(shrinkProject, p.repository, digests, now, uuid.Must(uuid.NewV7()), p.project, reasonCollected)
	b.Exec(reviewBlobs, p.repository, digests, now)
	b.Query(counting(&deleted), deleteLinks, p.repository, digests, now)
	if err := r.DB.Run(ctx, b); err != nil {
		return 0, fmt.Errorf("collect links: %w", err)
	}
	r.figures.Links += deleted
	return taken, nil
}

// counting counts rows.
func counting(n *int64) func(database.Rows) error {
	return func(database.Rows) error {
		*n++
		return nil
	}
}
