package events

import (
	"github.com/google/uuid"

	"github.com/berthregistry/berth/internal/database"
)

// tagged is the tag $8 of the repository $7 of the webhook's project.
const tagged = ` FROM tags t WHERE t.name = {text:$8}
	AND t.repository_id = (SELECT r.id FROM repositories r WHERE r.project_id = w.project_id AND r.path = {text:$7})`

var (
	appendMove = database.SQL(insert + `{text:$4}, {text:$5}, {bigint:$6}, {bigint:$6},
			(SELECT t.digest` + tagged + ` AND t.deleted_at IS NULL)
		FROM webhooks w WHERE` + subscribed + `
		  AND (SELECT 1` + tagged + ` AND t.digest = {text:$9} AND t.deleted_at IS NULL) IS NULL`)
	appendTagDeletion = database.SQL(insert + `{text:$4}, {text:$5}, {bigint:$6}, {bigint:$6}, (SELECT t.digest` + tagged + `)
		FROM webhooks w WHERE` + subscribed)
	appendTagDeletions = database.SQL(insert + `{text:$6} || ':' || t.name, {text:$4}, {bigint:$5}, {bigint:$5}, t.digest
		FROM webhooks w
		JOIN repositories r ON r.project_id = w.project_id AND r.path = {text:$6}
		JOIN tags t ON t.repository_id = r.id AND t.digest = {text:$7} AND t.deleted_at IS NULL
		WHERE` + subscribed)
	// What differs from row to row, the digest, takes the place of a word that is in no data.
	appendShownTags = database.SQL(insert + `{text:$6} || ':' || t.name, replace({text:$4}, '` + thisDigest + `', t.digest),
			{bigint:$5}, {bigint:$5}, NULL
		FROM webhooks w
		JOIN repositories r ON r.project_id = w.project_id AND r.path = {text:$6}
		JOIN tags t ON t.repository_id = r.id AND t.deletion = {uuid:$7} AND t.deleted_at IS NOT NULL
		WHERE` + subscribed)
	appendTagsOfRepository = database.SQL(insert + `{text:$6} || ':' || t.name, {text:$4}, {bigint:$5}, {bigint:$5}, t.digest
		FROM webhooks w
		JOIN repositories r ON r.project_id = w.project_id AND r.path = {text:$6}
		JOIN tags t ON t.repository_id = r.id AND t.deleted_at IS NULL
		WHERE` + subscribed)
	appendManifestsOfRepository = database.SQL(insert + `{text:$6} || '@' || m.digest, replace({text:$4}, '` + thisDigest + `', m.digest),
			{bigint:$5}, {bigint:$5}, NULL
		FROM webhooks w
		JOIN repositories r ON r.project_id = w.project_id AND r.path = {text:$6}
		JOIN manifests m ON m.repository_id = r.id AND m.deleted_at IS NULL
		WHERE` + subscribed)
)

// thisDigest stands for the digest of each row.
const thisDigest = "{digest}"

// AppendMove adds that a tag moves to c.Digest, unless it names that already. What it named before is read from its row:
// the statement comes after the tag was locked and before it moves.
func AppendMove(b *database.Batch, project uuid.UUID, tag string, c Content, now int64) {
	b.Exec(appendMove, project, string(TagMoved), pattern(TagMoved), TagObject(c.Repository, tag), Encoded(c), now,
		c.Repository, tag, c.Digest)
}

// AppendTagDeletion adds that a tag was deleted: after it was.
func AppendTagDeletion(b *database.Batch, project uuid.UUID, repository, tag, actor string, now int64) {
	b.Exec(appendTagDeletion, project, string(TagDeleted), pattern(TagDeleted), TagObject(repository, tag),
		Encoded(Content{Repository: repository, Actor: actor}), now, repository, tag)
}

// AppendTagDeletions adds that all tags of a manifest are deleted with it: after they were locked, before they are hidden.
func AppendTagDeletions(b *database.Batch, project uuid.UUID, repository, digest, actor string, now int64) {
	b.Exec(appendTagDeletions, project, string(TagDeleted), pattern(TagDeleted),
		Encoded(Content{Repository: repository, Actor: actor}), now, repository, digest)
}

// AppendShownTags adds that the deleted tags with a mark are shown again: after they were locked, before they are shown.
func AppendShownTags(b *database.Batch, project uuid.UUID, repository string, mark uuid.UUID, actor string, now int64) {
	b.Exec(appendShownTags, project, string(TagMoved), pattern(TagMoved),
		Encoded(Content{Repository: repository, Digest: thisDigest, Actor: actor}), now, repository, mark)
}

// AppendRepositoryDeletion adds that all manifests and tags of a repository are deleted: before they are hidden, where nobody
// else changes the project.
func AppendRepositoryDeletion(b *database.Batch, project uuid.UUID, repository, actor string, now int64) {
	b.Exec(appendTagsOfRepository, project, string(TagDeleted), pattern(TagDeleted),
		Encoded(Content{Repository: repository, Actor: actor}), now, repository)
	b.Exec(appendManifestsOfRepository, project, string(ManifestDeleted), pattern(ManifestDeleted),
		Encoded(Content{Repository: repository, Digest: thisDigest, Actor: actor}), now, repository)
}
