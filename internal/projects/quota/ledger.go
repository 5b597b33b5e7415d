// Package quota counts what projects hold, and says how much that may be.
//
// The count is a ledger: whatever shows or hides content appends what this makes to the project's bytes, in its own
// transaction. Nobody waits for a row that all pushes write. A [Folder] adds the deltas up into one total per project,
// in the background; what a project holds is its total and the deltas that are not in it yet.
//
// A blob counts once per project, whatever number of its repositories show it, and a manifest once per repository. So
// that two transactions cannot both take themselves for the first to show a blob, or the last to hide it, those of one
// digest in one project follow each other: see [Lock].
package quota

import (
	"github.com/google/uuid"
	"github.com/opencontainers/go-digest"

	"github.com/berthregistry/berth/internal/database"
)

// Reasons of deltas, for those who read the ledger.
const (
	reasonBlob     = "blob"
	reasonManifest = "manifest"
	reasonEmptied  = "emptied"
	reasonDeleted  = "deleted"
	reasonRestored = "restored"
)

const appendDelta = `INSERT INTO usage_deltas (id, project_id, bytes, reason, at) `

// shown is whether a repository of the project $2 shows the blob $3. It asks one repository of the project after the other, 2.6 us
// each on PostgreSQL. By the blob it would ask the repositories of everybody who has it, which a project cannot help.
const shown = `EXISTS (SELECT 1 FROM repositories r WHERE r.project_id = $2 AND (SELECT 1 FROM repository_blobs l
	WHERE l.repository_id = r.id AND l.digest = $3 AND l.deleted_at IS NULL) = 1)`

// repository is the repository $3 of the project $2.
const repository = `(SELECT r.id FROM repositories r WHERE r.project_id = $2 AND r.path = $3)`

// Held is the bytes of the project $1, counted from its content: manifests, and each blob once.
const Held = `
	(SELECT CAST(coalesce(sum(m.size), 0) AS bigint)
		FROM repositories r JOIN manifests m ON m.repository_id = r.id AND m.deleted_at IS NULL
		WHERE r.project_id = $1 AND r.deleted_at IS NULL)
	+ (SELECT CAST(coalesce(sum(b.size), 0) AS bigint) FROM blobs b WHERE b.id IN (
		SELECT l.blob_id FROM repositories r JOIN repository_blobs l ON l.repository_id = r.id AND l.deleted_at IS NULL
		WHERE r.project_id = $1 AND r.deleted_at IS NULL))`

var (
	lock = database.SQL(`SELECT {lock:$1}`)

	addBlob = database.SQL(appendDelta + `
		SELECT {uuid:$1}, {uuid:$2}, b.size, {text:$4}, {bigint:$5} FROM blobs b
		WHERE b.digest = $3 AND b.size > 0 AND NOT ` + shown)
	removeBlob = database.SQL(appendDelta + `
		SELECT {uuid:$1}, {uuid:$2}, -b.size, {text:$4}, {bigint:$5} FROM blobs b
		WHERE b.digest = $3 AND b.size > 0 AND NOT ` + shown)
	addManifest = database.SQL(appendDelta + `
		SELECT {uuid:$1}, {uuid:$2}, {bigint:$5}, {text:$6}, {bigint:$7}
		WHERE {bigint:$5} > 0 AND NOT EXISTS (SELECT 1 FROM manifests m
			WHERE m.repository_id = ` + repository + ` AND m.digest = $4 AND m.deleted_at IS NULL)`)
	removeManifest = database.SQL(appendDelta + `
		SELECT {uuid:$1}, {uuid:$2}, -m.size, {text:$5}, {bigint:$6} FROM manifests m
		WHERE m.repository_id = ` + repository + ` AND m.digest = $4 AND m.deleted_at IS NULL AND m.size > 0`)
	// Blobs that another repository of the project shows stay.
	removeRepository = database.SQL(appendDelta + `
		SELECT {uuid:$1}, {uuid:$2}, -held.bytes, {text:$4}, {bigint:$5} FROM (
			SELECT (SELECT CAST(coalesce(sum(m.size), 0) AS bigint) FROM manifests m
					WHERE m.repository_id = r.id AND m.deleted_at IS NULL)
				+ (SELECT CAST(coalesce(sum(b.size), 0) AS bigint) FROM repository_blobs l JOIN blobs b ON b.id = l.blob_id
					WHERE l.repository_id = r.id AND l.deleted_at IS NULL
					  AND NOT EXISTS (SELECT 1 FROM repositories o
						JOIN repository_blobs x ON x.repository_id = o.id AND x.digest = l.digest AND x.deleted_at IS NULL
						WHERE o.project_id = r.project_id AND o.id <> r.id)) AS bytes
			FROM repositories r WHERE r.project_id = $2 AND r.path = $3) AS held
		WHERE held.bytes > 0`)
	addDeletion = database.SQL(appendDelta + `
		SELECT {uuid:$1}, {uuid:$2}, held.bytes, {text:$5}, {bigint:$6} FROM (
			SELECT (SELECT CAST(coalesce(sum(m.size), 0) AS bigint) FROM manifests m
					WHERE m.repository_id = r.id AND m.deletion = $4 AND m.deleted_at IS NOT NULL)
				+ (SELECT CAST(coalesce(sum(b.size), 0) AS bigint) FROM repository_blobs l JOIN blobs b ON b.id = l.blob_id
					WHERE l.repository_id = r.id AND l.deletion = $4 AND l.deleted_at IS NOT NULL
					  AND NOT EXISTS (SELECT 1 FROM repositories o
						JOIN repository_blobs x ON x.repository_id = o.id AND x.digest = l.digest AND x.deleted_at IS NULL
						WHERE o.project_id = r.project_id)) AS bytes
			FROM repositories r WHERE r.project_id = $2 AND r.path = $3) AS held
		WHERE held.bytes > 0`)
	removeAll = database.SQL(appendDelta + `
		SELECT {uuid:$2}, {uuid:$1}, -held.bytes, {text:$3}, {bigint:$4}
		FROM (SELECT ` + Held + ` AS bytes) AS held WHERE held.bytes > 0`)
)

// Lock adds to b that no other transaction changes whether the project shows a digest until this one ends. It comes after
// the guard and the repository, and before what it is about. One that locks several does so in the order of the digests.
func Lock(b *database.Batch, project uuid.UUID, d digest.Digest) {
	b.Exec(lock, project.String()+" "+string(d))
}

// AddBlob adds to b the bytes of an existing blob, if the project does not show it yet: before the link is made, after
// [Lock]. It returns the delta's ID, for [Quota.RequireDelta].
func AddBlob(b *database.Batch, project uuid.UUID, d digest.Digest, now int64) uuid.UUID {
	id := uuid.Must(uuid.NewV7())
	b.Exec(addBlob, id, project, string(d), reasonBlob, now)
	return id
}

// RemoveBlob is the reverse of [AddBlob]: after the link is hidden or gone, which must have been visible, while the blob
// still has its row.
func RemoveBlob(b *database.Batch, project uuid.UUID, d digest.Digest, now int64) {
	b.Exec(removeBlob, uuid.Must(uuid.NewV7()), project, string(d), reasonBlob, now)
}

// AddManifest adds to b the bytes of a manifest, if the repository does not show it yet: before it is stored or brought
// back, after [Lock]. It returns the delta's ID.
func AddManifest(b *database.Batch, project uuid.UUID, path string, d digest.Digest, size, now int64) uuid.UUID {
	id := uuid.Must(uuid.NewV7())
	b.Exec(addManifest, id, project, path, string(d), size, reasonManifest, now)
	return id
}

// RemoveManifest is the reverse of [AddManifest]: before the manifest is hidden, after [Lock].
func RemoveManifest(b *database.Batch, project uuid.UUID, path string, d digest.Digest, now int64) {
	b.Exec(removeManifest, uuid.Must(uuid.NewV7()), project, path, string(d), reasonManifest, now)
}

// RemoveRepository adds to b that a repository shows nothing any more: before its content is hidden, and after the project
// was locked for update, which keeps pushes away.
func RemoveRepository(b *database.Batch, project uuid.UUID, path string, now int64) {
	b.Exec(removeRepository, uuid.Must(uuid.NewV7()), project, path, reasonDeleted, now)
}

// AddDeletion adds to b the bytes of what is hidden in a repository under the mark of a deletion: before it is shown again,
// and after the project was locked for update. It returns the delta's ID.
func AddDeletion(b *database.Batch, project uuid.UUID, path string, deletion uuid.UUID, now int64) uuid.UUID {
	id := uuid.Must(uuid.NewV7())
	b.Exec(addDeletion, id, project, path, deletion, reasonRestored, now)
	return id
}

// RemoveAll adds to b that the project holds nothing any more: before its content is hidden, and after the project was
// locked for update, which keeps pushes away.
func RemoveAll(b *database.Batch, project uuid.UUID, now int64) {
	b.Exec(removeAll, project, uuid.Must(uuid.NewV7()), reasonEmptied, now)
}
