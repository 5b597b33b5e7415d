package content

import (
	"context"
	"errors"
	"fmt"

	"github.com/google/uuid"
	"github.com/opencontainers/go-digest"

	"github.com/berthregistry/berth/internal/audit"
	"github.com/berthregistry/berth/internal/database"
	"github.com/berthregistry/berth/internal/projects/quota"
)

// ErrInUse says that a live manifest of the repository needs the blob.
var ErrInUse = errors.New("a manifest of the repository needs the blob")

// Chunk is one object of a blob.
type Chunk struct {
	// Key is the object's key in storage.
	Key string
	// Start is the chunk's offset in the blob, in bytes.
	Start int64
	// Size is its length in bytes.
	Size int64
}

// Blob is a blob as a repository shows it.
type Blob struct {
	// Digest is the content's digest.
	Digest digest.Digest
	// Size is its length in bytes.
	Size int64
	// Chunks are its objects in order; none for an empty blob. BlobSize leaves them out.
	Chunks []Chunk
	// KeepUntil is how long the link lives at least, in Unix microseconds.
	KeepUntil int64
}

const visibleLink = `
	FROM repository_blobs l
	JOIN blobs b ON b.id = l.blob_id AND b.damaged_at IS NULL`

const thisLink = `
	WHERE l.repository_id = ` + shownRepository + ` AND l.digest = $3 AND l.deleted_at IS NULL AND ` + linkAllowed

var (
	blobStat   = database.SQL(`SELECT b.size, l.keep_until` + visibleLink + thisLink)
	blobChunks = database.SQL(`SELECT b.size, l.keep_until, c.object_key, c.start, c.size` + visibleLink + `
		LEFT JOIN chunks c ON c.owner_id = b.id` + thisLink + ` ORDER BY c.start`)
)

// BlobStat looks a blob up without its chunks. It returns ErrNotFound where the repository does not show it.
func (s *Store) BlobStat(ctx context.Context, p Place, d digest.Digest) (Blob, error) {
	blob := Blob{Digest: d}
	err := s.DB.QueryRow(ctx, blobStat, p.Project, p.Path, string(d)).Scan(&blob.Size, &blob.KeepUntil)
	if errors.Is(err, database.ErrNoRows) {
		return Blob{}, ErrNotFound
	}
	if err != nil {
		return Blob{}, fmt.Errorf("look up blob: %w", err)
	}
	return blob, nil
}

// Blob looks a blob up with its chunks. It returns ErrNotFound where the repository does not show it.
func (s *Store) Blob(ctx context.Context, p Place, d digest.Digest) (Blob, error) {
	rows, err := s.DB.Query(ctx, blobChunks, p.Project, p.Path, string(d))
	if err != nil {
		return Blob{}, fmt.Errorf("look up blob: %w", err)
	}
	defer rows.Close()
	blob := Blob{Digest: d}
	found := false
	for rows.Next() {
		found = true
		var key *string
		var start, size *int64
		if err := rows.Scan(&blob.Size, &blob.KeepUntil, &key, &start, &size); err != nil {
			return Blob{}, fmt.Errorf("look up blob: %w", err)
		}
		if key != nil && start != nil && size != nil {
			blob.Chunks = append(blob.Chunks, Chunk{Key: *key, Start: *start, Size: *size})
		}
	}
	if err := rows.Err(); err != nil {
		return Blob{}, fmt.Errorf("look up blob: %w", err)
	}
	if !found {
		return Blob{}, ErrNotFound
	}
	return blob, nil
}

var link = database.SQL(`
	INSERT INTO repository_blobs (repository_id, digest, blob_id, created_at, keep_until)
	SELECT r.id, b.digest, b.id, {bigint:$4}, {bigint:$5}
	FROM repositories r JOIN blobs b ON b.digest = $3 AND b.damaged_at IS NULL
	WHERE r.project_id = $1 AND r.path = $2
	ON CONFLICT (repository_id, digest) DO UPDATE SET blob_id = excluded.blob_id,
		keep_until = CASE WHEN repository_blobs.keep_until > excluded.keep_until
			THEN repository_blobs.keep_until ELSE excluded.keep_until END,
		deleted_at = NULL, purge_after = NULL, deletion = NULL
	RETURNING 1`)

// Link adds to b what shows an existing blob in an existing repository until keepUntil at least, after quota.Lock. The
// batch fails with ErrRaced when either is not there, or the blob is damaged. It returns the ID of the delta by which the project grows, if it
// does.
func Link(b *database.Batch, project uuid.UUID, path string, d digest.Digest, now, keepUntil int64) uuid.UUID {
	delta := quota.AddBlob(b, project, d, now)
	b.Require(ErrRaced, link, project, path, string(d), now, keepUntil)
	return delta
}

var keepLink = database.SQL(`
	UPDATE repository_blobs SET keep_until = $4
	WHERE digest = $3 AND deleted_at IS NULL
	  AND repository_id = ` + shownRepository + `
	  AND NOT EXISTS (SELECT 1 FROM digest_blocklist x WHERE x.digest = $3)
	  AND NOT EXISTS (SELECT 1 FROM blobs b WHERE b.digest = $3 AND b.damaged_at IS NOT NULL)
	RETURNING 1`)

// Keep makes a visible link live until keepUntil, and tells whether there is one.
func Keep(ctx context.Context, db *database.DB, project uuid.UUID, path string, d digest.Digest, keepUntil int64) (bool, error) {
	b := &database.Batch{}
	b.Require(ErrNotFound, keepLink, project, path, string(d), keepUntil)
	err := db.Run(ctx, b)
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("keep link: %w", err)
	}
	return true, nil
}

// Promise makes sure that a blob which a pusher was told about stays for another half of LinkLife: it extends the
// link when that ends sooner, and tells whether the blob is still there.
func (s *Store) Promise(ctx context.Context, p Place, blob Blob) (bool, error) {
	if blob.KeepUntil >= database.ToMicros(s.Clock().Add(s.LinkLife/2)) {
		return true, nil
	}
	return Keep(ctx, s.DB, p.Project, p.Path, blob.Digest, s.keepUntil())
}

var (
	mountFrom = database.SQL(`
		INSERT INTO repository_blobs (repository_id, digest, blob_id, created_at, keep_until)
		SELECT t.id, l.digest, l.blob_id, {bigint:$6}, {bigint:$7}
		FROM repositories t, repository_blobs l
		JOIN blobs b ON b.id = l.blob_id AND b.damaged_at IS NULL
		WHERE t.project_id = $1 AND t.path = $2
		  AND l.repository_id = (SELECT r.id FROM repositories r JOIN projects s ON s.id = r.project_id
			WHERE r.project_id = $4 AND r.path = $5 AND r.deleted_at IS NULL AND s.epoch = $8 AND s.state = $9)
		  AND l.digest = $3 AND l.deleted_at IS NULL AND ` + linkAllowed + `
		ON CONFLICT (repository_id, digest) DO UPDATE SET blob_id = excluded.blob_id,
			keep_until = CASE WHEN repository_blobs.keep_until > excluded.keep_until
				THEN repository_blobs.keep_until ELSE excluded.keep_until END,
			deleted_at = NULL, purge_after = NULL, deletion = NULL
		RETURNING 1`)
	mountWithin = database.SQL(`
		INSERT INTO repository_blobs (repository_id, digest, blob_id, created_at, keep_until)
		SELECT t.id, b.digest, b.id, {bigint:$4}, {bigint:$5}
		FROM repositories t JOIN blobs b ON b.digest = $3 AND b.damaged_at IS NULL
		WHERE t.project_id = $1 AND t.path = $2
		  AND EXISTS (SELECT 1 FROM repositories r WHERE r.project_id = $1 AND r.deleted_at IS NULL AND (
			SELECT 1 FROM repository_blobs l
			WHERE l.repository_id = r.id AND l.digest = $3 AND l.deleted_at IS NULL AND ` + linkAllowed + `) = 1)
		ON CONFLICT (repository_id, digest) DO UPDATE SET blob_id = excluded.blob_id,
			keep_until = CASE WHEN repository_blobs.keep_until > excluded.keep_until
				THEN repository_blobs.keep_until ELSE excluded.keep_until END,
			deleted_at = NULL, purge_after = NULL, deletion = NULL
		RETURNING 1`)
)

// Source is the repository that a mount reads from, in a project as the decision has seen it: after a change of the
// project nothing is mounted.
type Source struct {
	Place
	// Epoch is the project's.
	Epoch int64
	// State is the project's.
	State string
}

// Mount shows a blob of another repository in this one (end-11), from a given repository or, when from is nil, from
// any of the same project. It returns ErrNotFound where there is nothing to mount, and *quota.ExceededError where the
// project has no room for it; nothing is written then.
func (s *Store) Mount(ctx context.Context, p Place, d digest.Digest, from *Source, guard Guard) error {
	b := &database.Batch{}
	guard.Require(b)
	EnsureRepository(b, p.Project, p.Path, s.now())
	quota.Lock(b, p.Project, d)
	delta := quota.AddBlob(b, p.Project, d, s.now())
	if from != nil {
		b.Require(ErrNotFound, mountFrom, p.Project, p.Path, string(d), from.Project, from.Path, s.now(), s.keepUntil(),
			from.Epoch, from.State)
	} else {
		b.Require(ErrNotFound, mountWithin, p.Project, p.Path, string(d), s.now(), s.keepUntil())
	}
	s.Quota.RequireDelta(b, p.Project, delta)
	err := s.DB.Run(ctx, b)
	if errors.Is(err, database.ErrForeignKey) {
		err = ErrNotFound // the collector has taken the blob since the statement saw its link
	}
	if err != nil && !errors.Is(err, ErrNotFound) {
		return fmt.Errorf("mount blob: %w", s.Quota.Explain(ctx, p.Project, err))
	}
	return err
}

var (
	lockLink = database.SQL(`
		SELECT 1 FROM repository_blobs
		WHERE digest = $3 AND deleted_at IS NULL
		  AND repository_id = ` + shownRepository + `
		{update}`)
	hideLink = database.SQL(`
		UPDATE repository_blobs SET deleted_at = $4, purge_after = $5, deletion = NULL
		WHERE digest = $3 AND deleted_at IS NULL
		  AND repository_id = (SELECT id FROM repositories WHERE project_id = $1 AND path = $2)
		  AND NOT EXISTS (SELECT 1 FROM manifest_blobs mb
			JOIN manifests m ON m.repository_id = mb.repository_id AND m.digest = mb.manifest_digest
			WHERE mb.repository_id = repository_blobs.repository_id AND mb.blob_digest = $3 AND m.deleted_at IS NULL)
		RETURNING 1`)
)

// DeleteBlob hides a blob in a repository (end-10). It returns ErrNotFound where it is not shown and ErrInUse while a
// live manifest of the repository needs it.
func (s *Store) DeleteBlob(ctx context.Context, p Place, d digest.Digest, guard Guard) error {
	b := &database.Batch{}
	guard.Require(b)
	quota.Lock(b, p.Project, d)
	b.Require(ErrNotFound, lockLink, p.Project, p.Path, string(d)) // a manifest PUT holds it in share mode
	b.Require(ErrInUse, hideLink, p.Project, p.Path, string(d), s.now(), s.purgeAfter())
	quota.RemoveBlob(b, p.Project, d, s.now())
	audit.Append(ctx, b, p.entry(audit.BlobDelete, string(d), nil))
	err := s.DB.Run(ctx, b)
	if err != nil && !errors.Is(err, ErrNotFound) && !errors.Is(err, ErrInUse) {
		return fmt.Errorf("delete blob: %w", err)
	}
	return err
}
