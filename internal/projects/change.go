package projects

import (
	"context"
	"errors"
	"time"

	"github.com/google/uuid"

	"github.com/berthregistry/berth/internal/audit"
	"github.com/berthregistry/berth/internal/database"
	"github.com/berthregistry/berth/internal/rbac"
)

// reservation is how long a slug that was given up stays its last owner's.
const reservation = 90 * 24 * time.Hour

// Change is what to change of a project; what is nil stays.
type Change struct {
	Slug        *string
	Visibility  *rbac.Visibility
	Description *string
}

var (
	// recordSlug keeps the slug that the project is about to give up, unless it is the new one. It stays reserved for
	// the account; that of an unclaimed project is free at once, but known until the janitor comes.
	recordSlug = database.SQL(`
		INSERT INTO slug_history (slug, project_id, account_id, reserved_until, created_at)
		SELECT p.slug, p.id, p.account_id, CASE WHEN p.account_id IS NULL THEN {bigint:$4} ELSE {bigint:$3} END, {bigint:$4}
		FROM projects p WHERE p.id = $1 AND p.slug IS NOT NULL AND p.slug <> {text:$2}
		ON CONFLICT (slug) DO UPDATE SET project_id = excluded.project_id, account_id = excluded.account_id,
			reserved_until = excluded.reserved_until, created_at = excluded.created_at`)
	slugFree = database.SQL(`SELECT 1 WHERE NOT EXISTS (SELECT 1 FROM projects WHERE slug = $1 AND id <> $2)`)
	// Replicas remember for a while what a slug means. With the epoch raised, no write that was decided by the old
	// meaning commits.
	setSlug = database.SQL(`
		UPDATE projects SET slug = {text:$2}, epoch = epoch + CASE WHEN slug = {text:$2} THEN 0 ELSE 1 END WHERE id = $1`)
	// slugAllowed looks after the slug was set, which may have waited for the transaction that gave it up.
	slugAllowed = database.SQL(`
		SELECT 1 WHERE NOT EXISTS (
			SELECT 1 FROM projects p JOIN slug_history h ON h.slug = p.slug
			WHERE p.id = $1 AND h.reserved_until > $2
			  AND (h.account_id IS NULL OR p.account_id IS NULL OR h.account_id <> p.account_id))`)
	endOwnReservation = database.SQL(`DELETE FROM slug_history WHERE slug = (SELECT slug FROM projects WHERE id = $1)`)
	changeProject     = database.SQL(`
		UPDATE projects SET visibility = coalesce({text:$2}, visibility), description = coalesce({text:$3}, description),
			version = version + 1, updated_at = $4
		WHERE id = $1`)
)

// Get is Resolve without the cache: for callers that want to see what they have just changed. Errors: ErrNotFound, the
// context's and the database's.
func (s *Service) Get(ctx context.Context, segment string) (Project, error) {
	p, err := s.load(ctx, segment)
	return p, wrapped("get", err)
}

// Change changes a project that is not deleted, if it has the version ifVersion (0: any). The slug that it gives up
// stays reserved for its account. Errors: ErrNotFound, ErrVersion, ErrSlugInvalid, ErrSlugReserved, ErrSlugTaken, an
// *InputError, those of the guard, the context's and the database's.
func (s *Service) Change(ctx context.Context, guard Guard, id uuid.UUID, c Change, ifVersion int64) (Project, error) {
	if err := c.check(); err != nil {
		return Project{}, wrapped("change", err)
	}
	b := s.beginLive(guard, id)
	requireVersion(b, id, ifVersion)
	if c.Slug != nil {
		s.rename(b, id, *c.Slug)
	}
	if c != (Change{}) {
		b.Exec(changeProject, id, (*string)(c.Visibility), c.Description, database.ToMicros(s.now()))
	}
	entry(ctx, b, audit.ProjectChange, id, c.audited())
	p, err := s.commitProject(ctx, b, id)
	return p, wrapped("change", taken(err))
}

// audited is what the audit log tells of a change.
func (c Change) audited() any {
	return struct {
		Slug        *string          `json:"slug,omitempty"`
		Visibility  *rbac.Visibility `json:"visibility,omitempty"`
		Description bool             `json:"description,omitempty"` // it was changed
	}{c.Slug, c.Visibility, c.Description != nil}
}

func (c Change) check() error {
	if c.Slug != nil {
		if err := ValidSlug(*c.Slug); err != nil {
			return err
		}
	}
	if c.Visibility != nil && *c.Visibility != rbac.Private && *c.Visibility != rbac.Public {
		return &InputError{Field: "visibility", Reason: "it must be private or public"}
	}
	if c.Description != nil {
		return validText("description", *c.Description)
	}
	return nil
}

// rename adds the statements that give the project a slug and reserve the one that it had. The batch fails with
// ErrSlugTaken, ErrSlugReserved, or, where two want the slug at once, database.ErrConflict.
func (s *Service) rename(b *database.Batch, id uuid.UUID, slug string) {
	now := s.now()
	b.Exec(recordSlug, id, slug, database.ToMicros(now.Add(reservation)), database.ToMicros(now))
	audit.AppendExpiry(b, slug, database.ToMicros(now))
	b.Exec(freeExpired, slug, database.ToMicros(now))
	b.Require(ErrSlugTaken, slugFree, slug, id)
	b.Exec(setSlug, id, slug)
	s.settleSlug(b, id)
}

// settleSlug adds what follows once the project has its new slug.
func (s *Service) settleSlug(b *database.Batch, id uuid.UUID) {
	b.Require(ErrSlugReserved, slugAllowed, id, database.ToMicros(s.now()))
	b.Exec(endOwnReservation, id)
}

// taken is ErrSlugTaken for a unique index that has the slug already.
func taken(err error) error {
	if errors.Is(err, database.ErrConflict) {
		return ErrSlugTaken
	}
	return err
}
