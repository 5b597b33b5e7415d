package gc

import (
	"context"
	"fmt"

	"github.com/berthregistry/berth/internal/database"
)

// What a collection would take, as far as it can be told without doing it. Each list goes by the index that a collection
// goes by; what follows from it is looked up from there.
const (
	goneProjects  = `gone_projects AS (SELECT id FROM projects WHERE purge_after <= $1 AND state = 'deleted')`
	goneManifests = `gone_manifests AS (
		SELECT m.repository_id, m.digest FROM manifests m
		WHERE m.purge_after <= $1 AND m.deleted_at IS NOT NULL
		  AND NOT EXISTS (SELECT 1 FROM tags t
			WHERE t.repository_id = m.repository_id AND t.digest = m.digest AND t.deleted_at IS NULL)
		UNION
		SELECT m.repository_id, m.digest FROM gone_projects p JOIN repositories r ON r.project_id = p.id
		JOIN manifests m ON m.repository_id = r.id)`
	goneLinks = `candidates AS (
		SELECT l.repository_id, l.digest FROM repository_blobs l WHERE NOT l.held AND l.keep_until <= $1
		UNION
		SELECT b.repository_id, b.blob_digest FROM gone_manifests g
		JOIN manifest_blobs b ON b.repository_id = g.repository_id AND b.manifest_digest = g.digest),
	gone_links AS (
		SELECT l.repository_id, l.digest, l.blob_id FROM candidates c
		JOIN repository_blobs l ON l.repository_id = c.repository_id AND l.digest = c.digest
		WHERE l.keep_until <= $1 AND (l.deleted_at IS NULL OR coalesce(l.purge_after, 0) <= $1)
		  AND NOT EXISTS (SELECT 1 FROM manifest_blobs b
			WHERE b.repository_id = l.repository_id AND b.blob_digest = l.digest AND NOT EXISTS (SELECT 1 FROM gone_manifests g
				WHERE g.repository_id = b.repository_id AND g.digest = b.manifest_digest))
		UNION
		SELECT l.repository_id, l.digest, l.blob_id FROM gone_projects p JOIN repositories r ON r.project_id = p.id
		JOIN repository_blobs l ON l.repository_id = r.id)`
	goneBlobs = `gone_blobs AS (
		SELECT b.id, b.size FROM blobs b
		WHERE b.id IN (SELECT blob_id FROM gone_links UNION SELECT blob_id FROM blob_reviews)
		  AND NOT EXISTS (SELECT 1 FROM repository_blobs l WHERE l.blob_id = b.id AND NOT EXISTS (SELECT 1 FROM gone_links g
			WHERE g.repository_id = l.repository_id AND g.digest = l.digest)))`
)

var (
	planContent = database.SQL(`WITH ` + goneProjects + `, ` + goneManifests + `, ` + goneLinks + `, ` + goneBlobs + `
		SELECT (SELECT count(*) FROM gone_projects),
			(SELECT count(*) FROM (SELECT r.id FROM repositories r
				WHERE r.purge_after <= $1 AND r.deleted_at IS NOT NULL
				  AND NOT EXISTS (SELECT 1 FROM manifests m WHERE m.repository_id = r.id AND NOT EXISTS (SELECT 1 FROM gone_manifests g
					WHERE g.repository_id = r.id AND g.digest = m.digest))
				  AND NOT EXISTS (SELECT 1 FROM repository_blobs l WHERE l.repository_id = r.id AND NOT EXISTS (SELECT 1 FROM gone_links g
					WHERE g.repository_id = r.id AND g.digest = l.digest))
				  AND NOT EXISTS (SELECT 1 FROM tags t WHERE t.repository_id = r.id AND (t.deleted_at IS NULL OR t.purge_after > $1)
					AND NOT EXISTS (SELECT 1 FROM gone_manifests g WHERE g.repository_id = r.id AND g.digest = t.digest))
				UNION SELECT r.id FROM gone_projects p JOIN repositories r ON r.project_id = p.id) AS all_of_them),
			(SELECT count(*) FROM gone_manifests),
			(SELECT count(*) FROM (SELECT t.repository_id, t.name FROM tags t WHERE t.purge_after <= $1 AND t.deleted_at IS NOT NULL
				UNION SELECT t.repository_id, t.name FROM gone_manifests g
				JOIN tags t ON t.repository_id = g.repository_id AND t.digest = g.digest) AS all_of_them),
			(SELECT count(*) FROM gone_links),
			(SELECT count(*) FROM gone_blobs), (SELECT CAST(coalesce(sum(size), 0) AS bigint) FROM gone_blobs)`)
	planObjects = database.SQL(`
		SELECT count(*), CAST(coalesce(sum(size), 0) AS bigint) FROM doomed_objects WHERE delete_after <= $1`)
	planCompactions = database.SQL(`
		SELECT count(*), CAST(coalesce(sum(b.size), 0) AS bigint) FROM blob_compactions q JOIN blobs b ON b.id = q.blob_id
		WHERE q.chunks > $1`)
	openDays = database.SQL(`SELECT count(*) FROM swept_days WHERE done_at IS NULL`)
)

// Plan tells what a collection and a compaction would do now, and changes nothing. It does not look at storage: of days it
// only counts those that were noted and are to be looked through.
func (c *Collector) Plan(ctx context.Context) (Figures, error) {
	var f Figures
	now := c.now()
	err := c.DB.QueryRow(ctx, planContent, now).Scan(&f.Projects, &f.Repositories, &f.Manifests, &f.Tags, &f.Links, &f.Blobs, &f.BlobBytes)
	if err != nil {
		return f, fmt.Errorf("plan a collection: %w", err)
	}
	if err := c.DB.QueryRow(ctx, planObjects, now).Scan(&f.RemovedObjects, &f.RemovedBytes); err != nil {
		return f, fmt.Errorf("plan the removal of objects: %w", err)
	}
	if err := c.DB.QueryRow(ctx, openDays).Scan(&f.Days); err != nil {
		return f, fmt.Errorf("count days: %w", err)
	}
	if c.CompactChunks < 0 {
		return f, nil
	}
	if err := c.DB.QueryRow(ctx, planCompactions, int64(c.CompactChunks)).Scan(&f.CompactedBlobs, &f.CompactedBytes); err != nil {
		return f, fmt.Errorf("plan compactions: %w", err)
	}
	return f, nil
}
