package projects

import (
	"context"

	"github.com/google/uuid"

	"github.com/berthregistry/berth/internal/audit"
	"github.com/berthregistry/berth/internal/database"
)

var (
	removeProject = database.SQL(`
		UPDATE projects SET state = 'deleted', slug = NULL, epoch = epoch + 1, version = version + 1, updated_at = $2,
			deleted_at = $2, purge_after = $3, expires_at = NULL
		WHERE id = $1`)
	restorable = database.SQL(`SELECT 1 FROM projects WHERE id = $1 AND state = 'deleted' AND purge_after > $2`)
	// takeOldSlug takes the slug that the project had when it was deleted, unless somebody else has it by now.
	takeOldSlug = database.SQL(`
		UPDATE projects SET slug = (SELECT h.slug FROM slug_history h
			WHERE h.project_id = projects.id AND h.created_at = projects.deleted_at ORDER BY h.slug LIMIT 1)
		WHERE id = $1`)
	hasSlug = database.SQL(`SELECT 1 FROM projects WHERE id = $1 AND slug IS NOT NULL`)
	// A project that was suspended when it was deleted still is; an unclaimed one begins its life anew.
	restoreProject = database.SQL(`
		UPDATE projects SET state = ` + stateBefore + `, epoch = epoch + 1, version = version + 1, updated_at = $2,
			deleted_at = NULL, purge_after = NULL,
			expires_at = CASE WHEN suspended_at IS NULL AND account_id IS NULL THEN {bigint:$3} END
		WHERE id = $1`)
	suspend = database.SQL(`
		UPDATE projects SET state = 'suspended', epoch = epoch + 1, version = version + 1, updated_at = $2,
			suspended_at = $2, suspended_reason = $3, expires_at = NULL
		WHERE id = $1 AND state IN ('active', 'unclaimed')
		RETURNING 1`)
	resume = database.SQL(`
		UPDATE projects SET state = CASE WHEN account_id IS NULL THEN 'unclaimed' ELSE 'active' END,
			epoch = epoch + 1, version = version + 1, updated_at = $2, suspended_at = NULL, suspended_reason = '',
			expires_at = CASE WHEN account_id IS NULL THEN {bigint:$3} END
		WHERE id = $1 AND state = 'suspended'
		RETURNING 1`)
)

const stateBefore = `CASE WHEN suspended_at IS NOT NULL THEN 'suspended' WHEN account_id IS NULL THEN 'unclaimed'
	ELSE 'active' END`

// Delete deletes a project, if it has the version ifVersion (0: any): it can be restored until its PurgeAfter. Its slug
// stays reserved for its account; that of an unclaimed project is free at once. Errors: ErrNotFound, ErrVersion, those of the guard, the context's and the database's.
func (s *Service) Delete(ctx context.Context, guard Guard, id uuid.UUID, ifVersion int64) (Project, error) {
	now := s.now()
	b := s.beginLive(guard, id)
	requireVersion(b, id, ifVersion)
	b.Exec(recordSlug, id, "", database.ToMicros(now.Add(reservation)), database.ToMicros(now))
	b.Exec(removeProject, id, database.ToMicros(now), database.ToMicros(now.Add(s.opts.TrashTTL)))
	entry(ctx, b, audit.ProjectDelete, id, nil)
	p, err := s.commitProject(ctx, b, id)
	return p, wrapped("delete", err)
}

// Restore brings a deleted project back as it was, before its PurgeAfter, under slug or (if that is empty) the slug that
// it had. Errors: ErrNotFound if it is not deleted, or for good; ErrSlugTaken, ErrSlugReserved, ErrSlugInvalid, those of
// the guard, the context's and the database's.
func (s *Service) Restore(ctx context.Context, guard Guard, id uuid.UUID, slug string) (Project, error) {
	if slug != "" {
		if err := ValidSlug(slug); err != nil {
			return Project{}, wrapped("restore", err)
		}
	}
	now := s.now()
	b := begin(guard, id)
	b.Require(ErrNotFound, restorable, id, database.ToMicros(now))
	if slug == "" {
		b.Exec(takeOldSlug, id)
		b.Require(ErrSlugTaken, hasSlug, id)
		s.settleSlug(b, id)
	} else {
		s.rename(b, id, slug)
	}
	b.Exec(restoreProject, id, database.ToMicros(now), database.ToMicros(now.Add(s.opts.UnclaimedTTL)))
	s.opts.Limits.RequireRestored(b, id)
	entry(ctx, b, audit.ProjectRestore, id, Change{Slug: given(slug)}.audited())
	p, err := s.commitProject(ctx, b, id)
	return p, wrapped("restore", taken(err))
}

// given is nil for an empty text.
func given(text string) *string {
	if text == "" {
		return nil
	}
	return &text
}

// suspendDetail is what the audit log tells of a suspension.
type suspendDetail struct {
	Reason string `json:"reason"`
}

// Suspend stops all writes to a project until Resume. reason is shown to those who are refused. Errors: ErrNotFound,
// ErrState if it is suspended already, an *InputError, those of the guard, the context's and the database's.
func (s *Service) Suspend(ctx context.Context, guard Guard, id uuid.UUID, reason string) (Project, error) {
	if err := validText("reason", reason); err != nil {
		return Project{}, wrapped("suspend", err)
	}
	b := s.beginLive(guard, id)
	b.Require(ErrState, suspend, id, database.ToMicros(s.now()), reason)
	entry(ctx, b, audit.ProjectSuspend, id, suspendDetail{Reason: reason})
	p, err := s.commitProject(ctx, b, id)
	return p, wrapped("suspend", err)
}

// Resume ends a suspension. An unclaimed project begins its life anew. Errors: ErrNotFound, ErrState if the project is
// not suspended, those of the guard, the context's and the database's.
func (s *Service) Resume(ctx context.Context, guard Guard, id uuid.UUID) (Project, error) {
	now := s.now()
	b := s.beginLive(guard, id)
	b.Require(ErrState, resume, id, database.ToMicros(now), database.ToMicros(now.Add(s.opts.UnclaimedTTL)))
	entry(ctx, b, audit.ProjectResume, id, nil)
	p, err := s.commitProject(ctx, b, id)
	return p, wrapped("resume", err)
}
