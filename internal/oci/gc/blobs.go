package gc

import (
	"context"
	"fmt"

	"github.com/google/uuid"

	"github.com/berthregistry/berth/internal/database"
)

// unlinked are the blobs that the batch $1 has taken and no repository links to. None can begin to: a link locks its
// blob's key, which the batch has locked.
const unlinked = `IN (SELECT q.blob_id FROM blob_reviews q
	WHERE q.claim = $1 AND NOT EXISTS (SELECT 1 FROM repository_blobs l WHERE l.blob_id = q.blob_id))`

var (
	// takeReviews locks blobs that nobody makes a link to at this moment, with their entries in the queue.
	takeReviews = database.SQL(`
		WITH due AS MATERIALIZED (
			SELECT q.blob_id FROM blob_reviews q JOIN blobs b ON b.id = q.blob_id
			ORDER BY q.created_at LIMIT {limit:$2} {skip})
		UPDATE blob_reviews SET claim = $1 WHERE blob_id IN (SELECT blob_id FROM due)
		RETURNING 1`)
	doomChunks = database.SQL(`
		INSERT INTO doomed_objects (object_key, size, delete_after)
		SELECT object_key, size, {bigint:$2} FROM chunks WHERE owner_id ` + unlinked + `
		ON CONFLICT (object_key) DO NOTHING`)
	deleteChunks = database.SQL(`DELETE FROM chunks WHERE owner_id ` + unlinked)
	// deleteBlobs takes the blobs' entries in the queues along.
	deleteBlobs = database.SQL(`DELETE FROM blobs WHERE id ` + unlinked + ` RETURNING size`)
	endReviews  = database.SQL(`DELETE FROM blob_reviews WHERE claim = $1`)
)

// collectBlobs deletes blobs that have lost their last link, and dooms their objects. Whoever pushes or mounts the same
// content meanwhile waits for this short transaction, finds the blob gone by a foreign key, and stores or links it anew.
func (r *run) collectBlobs(ctx context.Context) (int64, error) {
	var reviewed, blobs, size int64
	claim := uuid.Must(uuid.NewV7())
	b := &database.Batch{}
	b.Query(counting(&reviewed), takeReviews, claim, int64(r.Batch))
	b.Exec(doomChunks, claim, r.doomAt())
	b.Exec(deleteChunks, claim)
	b.Query(func(rows database.Rows) error {
		var n int64
		err := rows.Scan(&n)
		blobs, size = blobs+1, size+n
		return err
	}, deleteBlobs, claim)
	b.Exec(endReviews, claim)
	if err := r.DB.Run(ctx, b); err != nil {
		return 0, fmt.Errorf("collect blobs: %w", err)
	}
	r.figures.Blobs += blobs
	r.figures.BlobBytes += size
	return reviewed, nil
}
