package gc

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/google/uuid"

	"github.com/berthregistry/berth/internal/audit"
	"github.com/berthregistry/berth/internal/database"
)

// theirs are the repositories of a project joined with what is in them.
const theirs = `FROM repositories r JOIN `

var (
	dueProject = database.SQL(`
		SELECT id FROM projects WHERE purge_after <= $1 AND state = 'deleted' ORDER BY purge_after LIMIT 1 OFFSET {bigint:$2}`)
	// sealProject is the point of no return: a project whose time was over before anything of it went is never restored,
	// by whatever clock. It waits for a restore that is under way.
	sealProject = database.SQL(`
		UPDATE projects SET purge_after = deleted_at
		WHERE id = $1 AND state = 'deleted' AND purge_after <= $2
		RETURNING 1`)

	takeSessions = database.SQL(`
		SELECT id FROM upload_sessions WHERE project_id = $1 ORDER BY principal LIMIT {limit:$2}`)
	doomSession = database.SQL(`
		INSERT INTO doomed_objects (object_key, size, delete_after)
		SELECT object_key, size, {bigint:$2} FROM chunks
		WHERE owner_id = $1 AND NOT EXISTS (SELECT 1 FROM blobs WHERE id = $1)
		ON CONFLICT (object_key) DO NOTHING`)
	deleteSession = database.SQL(`DELETE FROM upload_sessions WHERE id = $1`)
	deleteUnnamed = database.SQL(`
		DELETE FROM chunks WHERE owner_id = $1 AND NOT EXISTS (SELECT 1 FROM blobs WHERE id = $1)`)

	deleteProjectTags = database.SQL(`
		DELETE FROM tags WHERE (repository_id, name) IN (
			SELECT t.repository_id, t.name ` + theirs + `tags t ON t.repository_id = r.id
			WHERE r.project_id = $1 LIMIT {limit:$2})
		RETURNING 1`)
	deleteProjectManifests = database.SQL(`
		DELETE FROM manifests WHERE (repository_id, digest) IN (
			SELECT m.repository_id, m.digest ` + theirs + `manifests m ON m.repository_id = r.id
			WHERE r.project_id = $1 LIMIT {limit:$2})
		RETURNING 1`)
	// markProjectLinks marks links as claimMark says. Nobody else changes content of a deleted project.
	markProjectLinks = database.SQL(`
		UPDATE repository_blobs SET held = false, keep_until = $3 WHERE (repository_id, digest) IN (
			SELECT l.repository_id, l.digest ` + theirs + `repository_blobs l ON l.repository_id = r.id
			WHERE r.project_id = $1 ORDER BY l.digest, l.repository_id LIMIT {limit:$2})
		RETURNING 1`)
	reviewProjectBlobs = database.SQL(`
		INSERT INTO blob_reviews (blob_id, created_at)
		SELECT o.blob_id, {bigint:$2} FROM (
			SELECT DISTINCT l.digest, l.blob_id FROM repository_blobs l WHERE l.keep_until = $1 AND NOT l.held) AS o
		WHERE true ORDER BY o.digest
		ON CONFLICT (blob_id) DO UPDATE SET claim = NULL`)
	deleteProjectLinks = database.SQL(`DELETE FROM repository_blobs WHERE keep_until = $1 AND NOT held RETURNING 1`)

	deleteProjectHistory = database.SQL(`
		DELETE FROM tag_history WHERE id IN (
			SELECT h.id ` + theirs + `tag_history h ON h.repository_id = r.id
			WHERE r.project_id = $1 LIMIT {limit:$2})
		RETURNING 1`)
	deleteProjectRepositories = database.SQL(`
		DELETE FROM repositories WHERE id IN (
			SELECT id FROM repositories WHERE project_id = $1 ORDER BY path LIMIT {limit:$2})
		RETURNING 1`)
	deleteProjectDeltas = database.SQL(`
		DELETE FROM usage_deltas WHERE id IN (
			SELECT id FROM usage_deltas WHERE project_id = $1 ORDER BY at LIMIT {limit:$2})
		RETURNING 1`)
	// Events of webhooks that are gone are removed by those who deliver them.
	deleteProjectEvents = database.SQL(`
		DELETE FROM events_outbox WHERE seq IN (
			SELECT e.seq FROM webhooks w JOIN events_outbox e ON e.webhook_id = w.id WHERE w.project_id = $1 LIMIT {limit:$2})
		RETURNING 1`)

	lockForPurge = database.SQL(`
		SELECT 1 FROM projects WHERE id = $1 AND state = 'deleted' AND purge_after <= $2 {update}`)
	deleteGrantsOfTokens = database.SQL(`
		DELETE FROM runner_grants WHERE token_id IN (SELECT id FROM tokens WHERE project_id = $1)`)
	deleteSessionsOfTokens = database.SQL(`
		DELETE FROM sessions WHERE token_id IN (SELECT id FROM tokens WHERE project_id = $1)`)
	deleteProjectLimits = database.SQL(`DELETE FROM limit_overrides WHERE subject_id = $1`)
	deleteProject       = database.SQL(`DELETE FROM projects WHERE id = $1`)
)

// projectTables have some rows for each project, by project_id, to which nothing else refers by then. They go together
// with the project, in this order.
var projectTables = []string{
	"runner_grants", "members", "tokens", "tag_rules", "retention_rules", "retention_schedule", "webhooks", "usage_deltas", "usage_totals",
}

var deleteRowsOf = deletions(projectTables)

func deletions(tables []string) []database.Stmt {
	statements := make([]database.Stmt, 0, len(tables))
	for _, table := range tables {
		statements = append(statements, database.SQL(`DELETE FROM `+table+` WHERE project_id = $1`))
	}
	return statements
}

// purgeProject does a step of purging one project whose time in the trash is over: some rows of it, or at the end the
// project itself. The audit log and the reservation of its slug stay.
func (r *run) purgeProject(ctx context.Context) (int64, error) {
	var id uuid.UUID
	err := r.DB.QueryRow(ctx, dueProject, r.now(), r.stuckProjects).Scan(&id)
	if errors.Is(err, database.ErrNoRows) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("look for projects to purge: %w", err)
	}
	b := &database.Batch{}
	b.Require(errOvertaken, sealProject, id, r.now())
	err = r.DB.Run(ctx, b)
	if errors.Is(err, errOvertaken) {
		return 1, nil // it was restored
	}
	if err != nil {
		return 0, fmt.Errorf("purge a project: %w", err)
	}
	for _, step := range []func(context.Context, uuid.UUID) (int64, error){
		r.purgeSessions, r.counted(deleteProjectTags, &r.figures.Tags), r.counted(deleteProjectManifests, &r.figures.Manifests),
		r.purgeProjectLinks, r.counted(deleteProjectHistory, nil), r.counted(deleteProjectRepositories, &r.figures.Repositories),
		r.counted(deleteProjectDeltas, nil), r.counted(deleteProjectEvents, nil),
	} {
		if n, err := step(ctx, id); n > 0 || err != nil {
			return n, err
		}
	}
	return r.endProject(ctx, id)
}

func (r *run) counted(stmt database.Stmt, figure *int64) func(context.Context, uuid.UUID) (int64, error) {
	return func(ctx context.Context, project uuid.UUID) (int64, error) {
		n, err := r.repeat(ctx, stmt, project)
		if figure != nil {
			*figure += n
		}
		return n, err
	}
}

// purgeSessions ends uploads as their expiry does. What their writers still do fails by the project's epoch.
func (r *run) purgeSessions(ctx context.Context, project uuid.UUID) (int64, error) {
	var ids []uuid.UUID
	err := r.DB.Each(ctx, func(rows database.Rows) error {
		var id uuid.UUID
		err := rows.Scan(&id)
		ids = append(ids, id)
		return err
	}, takeSessions, project, int64(r.Batch))
	if err != nil {
		return 0, fmt.Errorf("list uploads: %w", err)
	}
	b := &database.Batch{}
	for _, id := range ids {
		b.Exec(deleteSession, id)
		b.Exec(doomSession, id, r.doomAt())
		b.Exec(deleteUnnamed, id)
	}
	if err := r.DB.Run(ctx, b); err != nil {
		return 0, fmt.Errorf("purge uploads: %w", err)
	}
	return int64(len(ids)), nil
}

func (r *run) purgeProjectLinks(ctx context.Context, project uuid.UUID) (int64, error) {
	var n int64
	mark := claimMark()
	b := &database.Batch{}
	b.Query(counting(&n), markProjectLinks, project, int64(r.Batch), mark)
	b.Exec(reviewProjectBlobs, mark, r.now())
	b.Exec(deleteProjectLinks, mark)
	if err := r.DB.Run(ctx, b); err != nil {
		return 0, fmt.Errorf("purge links: %w", err)
	}
	r.figures.Links += n
	return n, nil
}

// endProject deletes the project itself. Whoever adds up the ledger at this moment makes a total again: then the foreign
// key refuses, and the next run tries again.
func (r *run) endProject(ctx context.Context, id uuid.UUID) (int64, error) {
	b := &database.Batch{}
	b.Require(errOvertaken, lockForPurge, id, r.now())
	b.Exec(deleteGrantsOfTokens, id)
	b.Exec(deleteSessionsOfTokens, id)
	for _, stmt := range deleteRowsOf {
		b.Exec(stmt, id)
	}
	audit.Append(ctx, b, audit.Entry{Action: audit.ProjectPurge, Project: id, Object: id.String()})
	b.Exec(deleteProjectLimits, id)
	b.Exec(deleteProject, id)
	err := r.DB.Run(ctx, b)
	if errors.Is(err, errOvertaken) {
		return 1, nil
	}
	if errors.Is(err, database.ErrForeignKey) {
		r.Logger.WarnContext(ctx, "a project is still referred to, and purged later", slog.String("project", id.String()), slog.String("error", err.Error()))
		r.stuckProjects++
		return 1, nil
	}
	if err != nil {
		return 0, fmt.Errorf("purge a project: %w", err)
	}
	r.figures.Projects++
	return 1, nil
}
