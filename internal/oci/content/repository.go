package content

import (
	"context"
	"errors"
	"fmt"

	"github.com/google/uuid"
	"github.com/opencontainers/go-digest"

	"github.com/berthregistry/berth/internal/audit"
	"github.com/berthregistry/berth/internal/database"
	"github.com/berthregistry/berth/internal/events"
	"github.com/berthregistry/berth/internal/limits"
	"github.com/berthregistry/berth/internal/projects/quota"
)

// The statements that hide a repository with all that it shows, in the order of the locks. What was deleted before keeps
// its own mark, and does not come back with the rest.
var (
	hideRepository = database.SQL(`
		UPDATE repositories SET deleted_at = $3, purge_after = $4, deletion = $5
		WHERE project_id = $1 AND path = $2 AND deleted_at IS NULL
		RETURNING 1`)
	hideManifestsIn = database.SQL(`
		UPDATE manifests SET deleted_at = $3, purge_after = $4, deletion = $5
		WHERE repository_id = ` + thisRepository + ` AND deleted_at IS NULL`)
	hideLinksIn = database.SQL(`
		UPDATE repository_blobs SET deleted_at = $3, purge_after = $4, deletion = $5
		WHERE repository_id = ` + thisRepository + ` AND deleted_at IS NULL`)
	historyOfTagsIn = database.SQL(`
		INSERT INTO tag_history (repository_id, tag, digest, previous_digest, actor, at, audit_id)
		SELECT t.repository_id, t.name, NULL, t.digest, {text:$3}, {bigint:$4}, {uuid:$5} FROM tags t
		WHERE t.repository_id = ` + thisRepository + ` AND t.deleted_at IS NULL`)
	hideTagsIn = database.SQL(`
		UPDATE tags SET deleted_at = $3, purge_after = $4, deletion = $5
		WHERE repository_id = ` + thisRepository + ` AND deleted_at IS NULL`)
)

// DeleteRepository hides a repository with all its manifests, tags and links; a push to it brings the repository back, and
// what is pushed. It returns ErrNotFound where there is none, and *ImmutableError where a tag of it may not go.
func (s *Store) DeleteRepository(ctx context.Context, p Place, actor string, guard Guard) error {
	b := BeginAlone(guard, p.Project)
	now, until, deletion := s.now(), s.purgeAfter(), uuid.Must(uuid.NewV7())
	b.Require(ErrImmutable, requireFreeRepository, p.Project, p.Path)
	b.Require(ErrNotFound, hideRepository, p.Project, p.Path, now, until, deletion)
	entry := audit.Append(ctx, b, audit.Entry{Action: audit.RepositoryDelete, Project: p.Project, Repository: p.Path, Object: p.Path})
	events.AppendRepositoryDeletion(b, p.Project, p.Path, actor, now)
	quota.RemoveRepository(b, p.Project, p.Path, now)
	b.Exec(hideManifestsIn, p.Project, p.Path, now, until, deletion)
	b.Exec(hideLinksIn, p.Project, p.Path, now, until, deletion)
	b.Exec(historyOfTagsIn, p.Project, p.Path, actor, now, entry)
	b.Exec(hideTagsIn, p.Project, p.Path, now, until, deletion)
	return s.deleted(ctx, p, s.DB.Run(ctx, b), asked{})
}

// ErrHidden says that what a restored thing needs is deleted itself.
var ErrHidden = errors.New("what it needs is deleted")

// Restored is what a restoration has shown again.
type Restored struct {
	// Tags, Manifests and Blobs are numbers.
	Tags, Manifests, Blobs int64
}

// The statements that show again what was hidden. What comes back is first found and marked as one deletion ($3), in the order
// of the locks; then it is counted, and shown. Only what is not due to be purged ($4 is now) comes back.
var (
	lockHiddenRepository = database.SQL(`
		SELECT 1 FROM repositories WHERE project_id = $1 AND path = $2 AND deleted_at IS NOT NULL AND purge_after > $3 {update}`)
	requireRepository = repositoryExists
	markManifestsOfIt = database.SQL(`
		UPDATE manifests SET deletion = $3
		WHERE repository_id = ` + thisRepository + ` AND deleted_at IS NOT NULL AND purge_after > $4
		  AND deletion = (SELECT deletion FROM repositories WHERE project_id = $1 AND path = $2)`)
	markLinksOfIt = database.SQL(`
		UPDATE repository_blobs SET deletion = $3
		WHERE repository_id = ` + thisRepository + ` AND deleted_at IS NOT NULL
		  AND (deletion = (SELECT deletion FROM repositories WHERE project_id = $1 AND path = $2)
			OR digest IN (SELECT mb.blob_digest FROM manifest_blobs mb
				JOIN manifests m ON m.repository_id = mb.repository_id AND m.digest = mb.manifest_digest
				WHERE mb.repository_id = ` + thisRepository + ` AND m.deletion = $3))`)
	markTagsOfIt = database.SQL(`
		UPDATE tags SET deletion = $3
		WHERE repository_id = ` + thisRepository + ` AND deleted_at IS NOT NULL AND purge_after > $4
		  AND deletion = (SELECT deletion FROM repositories WHERE project_id = $1 AND path = $2)`)
	showRepository = database.SQL(`
		UPDATE repositories SET deleted_at = NULL, purge_after = NULL, deletion = NULL WHERE project_id = $1 AND path = $2`)

	lockHiddenManifest = database.SQL(`
		SELECT 1 FROM manifests WHERE repository_id = ` + thisRepository + ` AND digest = $3
		  AND deleted_at IS NOT NULL AND purge_after > $4 {update}`)
	markLinksOf = database.SQL(`
		UPDATE repository_blobs SET deletion = $3
		WHERE repository_id = ` + thisRepository + ` AND deleted_at IS NOT NULL
		  AND digest IN (SELECT blob_digest FROM manifest_blobs
			WHERE repository_id = ` + thisRepository + ` AND manifest_digest = $4)`)
	// A tag comes back with its manifest if it went with it, and names nothing now.
	markTagsOf = database.SQL(`
		UPDATE tags SET deletion = $3
		WHERE repository_id = ` + thisRepository + ` AND digest = $4 AND deleted_at IS NOT NULL AND purge_after > $5
		  AND deletion = (SELECT deletion FROM manifests WHERE repository_id = ` + thisRepository + ` AND digest = $4)`)
	markManifest = database.SQL(`
		UPDATE manifests SET deletion = $3 WHERE repository_id = ` + thisRepository + ` AND digest = $4`)

	showManifests = database.SQL(`
		UPDATE manifests SET deleted_at = NULL, purge_after = NULL, deletion = NULL, pushed_at = $4
		WHERE repository_id = ` + thisRepository + ` AND deletion = $3 AND deleted_at IS NOT NULL RETURNING 1`)
	showLinks = database.SQL(`
		UPDATE repository_blobs SET deleted_at = NULL, purge_after = NULL, deletion = NULL,
			keep_until = CASE WHEN keep_until > $4 THEN keep_until ELSE $4 END
		WHERE repository_id = ` + thisRepository + ` AND deletion = $3 AND deleted_at IS NOT NULL RETURNING 1`)
	historyOfShownTags = database.SQL(`
		INSERT INTO tag_history (repository_id, tag, digest, previous_digest, actor, at, audit_id)
		SELECT t.repository_id, t.name, t.digest, NULL, {text:$4}, {bigint:$5}, {uuid:$6} FROM tags t
		WHERE t.repository_id = ` + thisRepository + ` AND t.deletion = $3 AND t.deleted_at IS NOT NULL ORDER BY t.name`)
	// A tag that comes back is as old as it was: a rule that keeps the newest must not take others for it.
	showTags = database.SQL(`
		UPDATE tags SET deleted_at = NULL, purge_after = NULL, deletion = NULL
		WHERE repository_id = ` + thisRepository + ` AND deletion = $3 AND deleted_at IS NOT NULL RETURNING 1`)
)

// RestoreRepository shows again a deleted repository, with what went with it. It returns ErrNotFound where none is deleted or
// it is due to be purged, and *quota.ExceededError where the project has no room for it. How many tags it has is not asked:
// it had them, and a limit that has come down since must not make an accident final.
func (s *Store) RestoreRepository(ctx context.Context, p Place, actor string, guard Guard) (Restored, error) {
	b := BeginAlone(guard, p.Project)
	now, mark := s.now(), uuid.Must(uuid.NewV7())
	b.Require(ErrNotFound, lockHiddenRepository, p.Project, p.Path, now)
	b.Exec(markManifestsOfIt, p.Project, p.Path, mark, now)
	b.Exec(markLinksOfIt, p.Project, p.Path, mark)
	b.Exec(markTagsOfIt, p.Project, p.Path, mark, now)
	entry := audit.Append(ctx, b, audit.Entry{Action: audit.RepositoryRestore, Project: p.Project, Repository: p.Path, Object: p.Path})
	b.Exec(showRepository, p.Project, p.Path)
	return s.show(ctx, b, p, mark, actor, entry)
}

// RestoreManifest shows again a deleted manifest with the blobs that it needs, and with the tags that went with it and name
// nothing now. It returns ErrNotFound where it is not deleted or due to be purged, ErrHidden where its repository is
// deleted, ErrBlocked, *quota.ExceededError where the project has no room for it, and *limits.ExceededError where the repository
// would have too many tags.
func (s *Store) RestoreManifest(ctx context.Context, p Place, d digest.Digest, actor string, guard Guard) (Restored, error) {
	b := BeginAlone(guard, p.Project)
	now, mark := s.now(), uuid.Must(uuid.NewV7())
	b.Require(ErrNotFound, lockHiddenManifest, p.Project, p.Path, string(d), now)
	b.Require(ErrHidden, requireRepository, p.Project, p.Path)
	RequireAllowed(b, d)
	b.Exec(markLinksOf, p.Project, p.Path, mark, string(d))
	b.Exec(markTagsOf, p.Project, p.Path, mark, string(d), now)
	b.Exec(markManifest, p.Project, p.Path, mark, string(d))
	s.Limits.RequireShownTags(b, p.Project, p.Path, mark)
	entry := audit.Append(ctx, b, audit.Entry{Action: audit.ManifestRestore, Project: p.Project, Repository: p.Path, Object: string(d)})
	return s.show(ctx, b, p, mark, actor, entry)
}

// show adds to b what shows again all that has the mark, and runs it.
func (s *Store) show(ctx context.Context, b *database.Batch, p Place, mark uuid.UUID, actor string, entry uuid.UUID) (Restored, error) {
	var r Restored
	now := s.now()
	delta := quota.AddDeletion(b, p.Project, p.Path, mark, now)
	s.Quota.RequireDelta(b, p.Project, delta)
	b.Query(counted(&r.Manifests), showManifests, p.Project, p.Path, mark, now)
	b.Query(counted(&r.Blobs), showLinks, p.Project, p.Path, mark, s.keepUntil())
	events.AppendShownTags(b, p.Project, p.Path, mark, actor, now)
	b.Exec(historyOfShownTags, p.Project, p.Path, mark, actor, now, entry)
	b.Query(counted(&r.Tags), showTags, p.Project, p.Path, mark)
	if err := s.DB.Run(ctx, b); err != nil {
		return Restored{}, s.restored(ctx, p, err)
	}
	return r, nil
}

// restored is the error of a restoration.
func (s *Store) restored(ctx context.Context, p Place, err error) error {
	if errors.Is(err, quota.ErrFull) {
		err = s.Quota.Explain(ctx, p.Project, err)
	}
	if errors.Is(err, limits.ErrExceeded) {
		err = limits.Explain(ctx, s.DB, err)
	}
	if err != nil {
		return fmt.Errorf("restore: %w", err)
	}
	return nil
}

// counted counts the rows of a statement.
func counted(n *int64) func(database.Rows) error {
	*n = 0
	return func(database.Rows) error {
		*n++
		return nil
	}
}
