package gc

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"

	"github.com/google/uuid"

	"github.com/berthregistry/berth/internal/audit"
	"github.com/berthregistry/berth/internal/database"
)

// errOvertaken says that what was to be purged is not there any more, or not in the trash, or somebody is at it.
var errOvertaken = errors.New("overtaken")

// taken are the manifests that a batch has taken: it moves the end of their time in the trash to a number of its own,
// which nobody else ever sees, for they are deleted in the same transaction.
const taken = `SELECT m.repository_id, m.digest FROM manifests m WHERE m.purge_after = $1`

var (
	// sealRepositories comes before anything in a repository is purged. Whoever would bring the repository back, by a
	// clock that is late, finds from now on that its time is over.
	sealRepositories = database.SQL(`
		WITH due AS MATERIALIZED (
			SELECT id FROM repositories
			WHERE purge_after <= $1 AND deleted_at IS NOT NULL AND purge_after > deleted_at
			ORDER BY purge_after LIMIT {limit:$2} {skip})
		UPDATE repositories SET purge_after = deleted_at WHERE id IN (SELECT id FROM due)
		RETURNING 1`)
	takeManifests = database.SQL(`
		WITH due AS MATERIALIZED (
			SELECT m.repository_id, m.digest FROM manifests m
			WHERE m.purge_after <= $2 AND m.deleted_at IS NOT NULL
			  AND NOT EXISTS (SELECT 1 FROM tags t
				WHERE t.repository_id = m.repository_id AND t.digest = m.digest AND t.deleted_at IS NULL)
			ORDER BY m.purge_after LIMIT {limit:$3} {skip})
		UPDATE manifests SET purge_after = $1
		WHERE (repository_id, digest) IN (SELECT repository_id, digest FROM due)
		RETURNING 1`)
	lockTheirLinks = database.SQL(`
		SELECT 1 FROM repository_blobs WHERE (repository_id, digest) IN (
			SELECT mb.repository_id, mb.blob_digest FROM manifests m
			JOIN manifest_blobs mb ON mb.repository_id = m.repository_id AND mb.manifest_digest = m.digest
			WHERE m.purge_after = $1)
		ORDER BY digest, repository_id {update}`)
	// releaseLinks lets the collector look again whether anything needs them.
	releaseLinks = database.SQL(`
		UPDATE repository_blobs SET held = false WHERE held AND (repository_id, digest) IN (
			SELECT mb.repository_id, mb.blob_digest FROM manifests m
			JOIN manifest_blobs mb ON mb.repository_id = m.repository_id AND mb.manifest_digest = m.digest
			WHERE m.purge_after = $1)`)
	deleteTheirTags = database.SQL(`DELETE FROM tags WHERE deleted_at IS NOT NULL AND (repository_id, digest) IN (` + taken + `) RETURNING 1`)
	deleteManifests = database.SQL(`DELETE FROM manifests WHERE purge_after = $1 RETURNING 1`)

	purgeTags = database.SQL(`
		WITH due AS MATERIALIZED (
			SELECT repository_id, name FROM tags WHERE purge_after <= $1 AND deleted_at IS NOT NULL
			ORDER BY purge_after LIMIT {limit:$2} {skip})
		DELETE FROM tags WHERE (repository_id, name) IN (SELECT repository_id, name FROM due)
		RETURNING 1`)

	dueRepository = database.SQL(`
		SELECT r.id, r.project_id, r.path FROM repositories r WHERE r.purge_after <= $1 AND r.deleted_at IS NOT NULL AND ` + isEmpty + `
		ORDER BY r.purge_after LIMIT 1 OFFSET {bigint:$2}`)
	// deleteHistory goes in steps of its own: a repository may have a long one. Of what is left of the repository by then,
	// nothing can be brought back.
	deleteHistory = database.SQL(`
		DELETE FROM tag_history WHERE id IN (
			SELECT id FROM tag_history WHERE repository_id = $1 ORDER BY repository_id, tag, id LIMIT {limit:$2})
		RETURNING 1`)
	lockRepository = database.SQL(`
		SELECT 1 FROM repositories WHERE id = $1 AND purge_after <= $2 AND deleted_at IS NOT NULL {skip}`)
	emptyRepository  = database.SQL(`SELECT 1 FROM repositories r WHERE r.id = $1 AND ` + isEmpty)
	deleteRepository = database.SQL(`DELETE FROM repositories WHERE id = $1`)
)

const isEmpty = `NOT EXISTS (SELECT 1 FROM manifests m WHERE m.repository_id = r.id)
	AND NOT EXISTS (SELECT 1 FROM tags t WHERE t.repository_id = r.id)
	AND NOT EXISTS (SELECT 1 FROM repository_blobs l WHERE l.repository_id = r.id)`

// claimMark is a purge_after that no other batch uses, and that lies before all times.
func claimMark() int64 { return -1 - rand.Int64N(1<<62) }

func (r *run) sealRepositories(ctx context.Context) (int64, error) {
	var n int64
	b := &database.Batch{}
	b.Query(counting(&n), sealRepositories, r.now(), int64(r.Batch))
	return n, r.DB.Run(ctx, b) //nolint:wrapcheck // the phase's name says it
}

// purgeManifests deletes manifests whose time in the trash is over, each with its tags. Its locks are taken in the order
// of all transactions: manifests, links, tags.
func (r *run) purgeManifests(ctx context.Context) (int64, error) {
	var took, manifests, tags int64
	mark := claimMark()
	b := &database.Batch{}
	b.Query(counting(&took), takeManifests, mark, r.now(), int64(r.Batch))
	b.Exec(lockTheirLinks, mark)
	b.Exec(releaseLinks, mark)
	b.Query(counting(&tags), deleteTheirTags, mark)
	b.Query(counting(&manifests), deleteManifests, mark)
	if err := r.DB.Run(ctx, b); err != nil {
		return 0, fmt.Errorf("purge manifests: %w", err)
	}
	r.figures.Manifests += manifests
	r.figures.Tags += tags
	return took, nil
}

// purgeTags deletes tags whose time in the trash is over, and whose manifests stay.
func (r *run) purgeTags(ctx context.Context) (int64, error) {
	var n int64
	b := &database.Batch{}
	b.Query(counting(&n), purgeTags, r.now(), int64(r.Batch))
	if err := r.DB.Run(ctx, b); err != nil {
		return 0, fmt.Errorf("purge tags: %w", err)
	}
	r.figures.Tags += n
	return n, nil
}

// purgeRepository deletes one repository whose time in the trash is over and whose content is gone. What is in it has
// been purged by itself, or is still needed: then the repository stays.
func (r *run) purgeRepository(ctx context.Context) (int64, error) {
	var id, project uuid.UUID
	var path string
	err := r.DB.QueryRow(ctx, dueRepository, r.now(), r.stuckRepositories).Scan(&id, &project, &path)
	if errors.Is(err, database.ErrNoRows) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("look for repositories to purge: %w", err)
	}
	if n, err := r.purgeHistory(ctx, id); n > 0 || err != nil {
		return n, err
	}
	b := r.beginPurge(id)
	audit.Append(ctx, b, audit.Entry{Action: audit.RepositoryPurge, Project: project, Repository: path, Object: id.String()})
	b.Exec(deleteRepository, id)
	if err := r.DB.Run(ctx, b); err != nil {
		return r.passedOver(err)
	}
	r.figures.Repositories++
	return 1, nil
}

// purgeHistory deletes some of what is told of a repository's tags.
func (r *run) purgeHistory(ctx context.Context, id uuid.UUID) (int64, error) {
	var n int64
	b := r.beginPurge(id)
	b.Query(counting(&n), deleteHistory, id, int64(r.Batch))
	if err := r.DB.Run(ctx, b); err != nil {
		return r.passedOver(err)
	}
	return n, nil
}

// beginPurge is how everything begins that deletes something of a repository: it is still in the trash, and empty.
func (r *run) beginPurge(id uuid.UUID) *database.Batch {
	b := &database.Batch{}
	b.Require(errOvertaken, lockRepository, id, r.now())
	b.Require(errOvertaken, emptyRepository, id)
	return b
}

// passedOver says what became of a repository that could not be purged.
func (r *run) passedOver(err error) (int64, error) {
	if errors.Is(err, errOvertaken) || errors.Is(err, database.ErrForeignKey) {
		r.stuckRepositories++ // a push has brought it back, or somebody holds it: the next run looks again
		return 1, nil
	}
	return 0, fmt.Errorf("purge a repository: %w", err)
}

// repeat is one step of a statement that deletes up to a number of rows, which is its last parameter, and returns them.
func (r *run) repeat(ctx context.Context, stmt database.Stmt, args ...any) (int64, error) {
	var n int64
	b := &database.Batch{}
	b.Query(counting(&n), stmt, append(args, int64(r.Batch))...)
	if err := r.DB.Run(ctx, b); err != nil {
		return 0, fmt.Errorf("purge: %w", err)
	}
	return n, nil
}
