package projects

import (
	"context"
	"errors"
	"fmt"

	"github.com/google/uuid"

	"github.com/berthregistry/berth/internal/audit"
	"github.com/berthregistry/berth/internal/database"
	"github.com/berthregistry/berth/internal/rbac"
)

// Creator is who makes a project. One without a UserID is anonymous.
type Creator struct {
	Principal string    // as rows store it
	UserID    uuid.UUID // becomes the owner
	AccountID uuid.UUID // the personal account that the project belongs to
	Network   string    // of an anonymous one, as package ratelimit gives it
	Guard     Guard     // what must still hold when Ensure creates it; nil: nothing
}

func (c Creator) anonymous() bool { return c.UserID == uuid.Nil }

// counted is whose creations are counted together.
func (c Creator) counted() string {
	if c.anonymous() {
		return "address:" + c.Network
	}
	return c.Principal
}

// NewProject is what Create needs.
type NewProject struct {
	Slug        string
	Visibility  rbac.Visibility // "": private
	Description string
	By          Creator // a user
	Guard       Guard   // what must still hold; nil: nothing
}

// The statements of a creation, which are one transaction. Instants are the service's, not the database's: a few
// milliseconds do not matter here.
var (
	// freeExpired takes the slug from an unclaimed project that has expired but was not cleared away yet.
	freeExpired = database.SQL(`
		UPDATE projects SET slug = NULL, state = 'deleted', epoch = epoch + 1, version = version + 1,
		       updated_at = $2, deleted_at = $2,
		       purge_after = $2, expires_at = NULL
		WHERE slug = $1 AND state = 'unclaimed' AND expires_at <= $2`)
	insertProject = database.SQL(`
		INSERT INTO projects (id, account_id, slug, state, visibility, created_by, created_at, updated_at, expires_at, description)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $7, $8, $9)
		ON CONFLICT (slug) DO NOTHING`)
	// notReserved looks again after the insert, which may have waited for the transaction that freed and reserved the
	// slug. It does not judge a project that was there before.
	notReserved = database.SQL(`
		SELECT 1 WHERE NOT EXISTS (
			SELECT 1 FROM projects p JOIN slug_history h ON h.slug = p.slug
			WHERE p.id = $1 AND h.reserved_until > $3 AND (h.account_id IS NULL OR h.account_id <> $2))`)
	// endReservation is for a slug that its last owner takes again, or that is free by now.
	endReservation = database.SQL(`
		DELETE FROM slug_history
		WHERE slug = $2 AND EXISTS (SELECT 1 FROM projects p WHERE p.id = $1)`)
	insertOwner = database.SQL(`
		INSERT INTO members (project_id, user_id, role, created_by, created_at)
		SELECT p.id, {uuid:$2}, 'owner', {text:$3}, {bigint:$4} FROM projects p WHERE p.id = $1`)
	inserted = database.SQL(`SELECT 1 FROM projects WHERE id = $1`)
)

// Ensure gives the project that segment means, and creates it if there is none: for a user an active, private one of the
// personal account, with the user as owner; for anonymous an unclaimed one that expires. Any number of callers at once
// get the same project. A segment that is shaped like a UUID is never created. Whether the caller may use a project that
// is there already is for the policy to say. Errors: ErrNotFound, ErrSlugInvalid, ErrSlugReserved, ErrCreateForbidden,
// limits.ErrExceeded, the context's and the database's.
func (s *Service) Ensure(ctx context.Context, segment string, by Creator) (Project, error) {
	p, err := s.Resolve(ctx, segment)
	if !errors.Is(err, ErrNotFound) {
		return p, err
	}
	if uuidShaped(segment) {
		return Project{}, err
	}
	if err := s.mayCreate(segment, by); err != nil {
		return Project{}, wrapped("create", err)
	}
	return s.create(ctx, NewProject{Slug: segment, By: by, Guard: by.Guard}, false)
}

// Create creates a project for a user, who becomes its owner. Errors: ErrSlugInvalid, ErrSlugReserved, ErrSlugTaken,
// ErrCreateForbidden, limits.ErrExceeded, an *InputError, the context's and the database's.
func (s *Service) Create(ctx context.Context, n NewProject) (Project, error) {
	if n.By.anonymous() {
		return Project{}, wrapped("create", ErrCreateForbidden)
	}
	if err := s.mayCreate(n.Slug, n.By); err != nil {
		return Project{}, wrapped("create", err)
	}
	if err := validText("description", n.Description); err != nil {
		return Project{}, wrapped("create", err)
	}
	return s.create(ctx, n, true)
}

// mayCreate checks all that needs no query.
func (s *Service) mayCreate(slug string, by Creator) error {
	if err := ValidSlug(slug); err != nil {
		return err
	}
	switch {
	case by.Principal == "":
		return fmt.Errorf("%w: nobody asks", ErrCreateForbidden)
	case !by.anonymous() && by.AccountID == uuid.Nil:
		return fmt.Errorf("%w: the user has no account", ErrCreateForbidden)
	case !by.anonymous():
		return nil
	case !s.opts.UnclaimedPush:
		return fmt.Errorf("%w: sign in first", ErrCreateForbidden)
	case s.opts.UnclaimedSlugs != SlugsAny && !RandomSlug(slug):
		return fmt.Errorf("%w: without signing in, only a random name can be created", ErrCreateForbidden)
	}
	return nil
}

// create makes a project. Unless it must be new, one that has the slug already is the answer; should that lose the slug
// before it is read, create tries again.
func (s *Service) create(ctx context.Context, n NewProject, mustBeNew bool) (Project, error) {
	for range 3 {
		p, err := s.tryCreate(ctx, n, mustBeNew)
		if err != nil || p.ID != uuid.Nil {
			return p, wrapped("create", err)
		}
	}
	return Project{}, wrapped("create", ErrNotFound)
}

// tryCreate is one transaction. It gives no project if the one that was in the way is gone.
func (s *Service) tryCreate(ctx context.Context, n NewProject, mustBeNew bool) (Project, error) {
	id, err := uuid.NewV7()
	if err != nil {
		return Project{}, err
	}
	now := database.ToMicros(s.now())
	var b database.Batch
	if n.Guard != nil {
		n.Guard.Require(&b)
	}
	audit.AppendExpiry(&b, n.Slug, now)
	b.Exec(freeExpired, n.Slug, now)
	b.Exec(insertProject, s.newRow(id, n)...)
	b.Require(ErrSlugReserved, notReserved, id, n.By.AccountID, now)
	if mustBeNew {
		b.Require(ErrSlugTaken, inserted, id)
	}
	b.Exec(endReservation, id, n.Slug)
	if !n.By.anonymous() {
		b.Exec(insertOwner, id, n.By.UserID, n.By.Principal, now)
		s.opts.Limits.RequireProjects(&b, n.By.UserID, n.By.AccountID, id)
	}
	audit.AppendCreated(ctx, &b, audit.Entry{
		Action: audit.ProjectCreate, Project: id, Object: id.String(), Detail: createDetail{Slug: n.Slug, Owner: n.owner()},
	})
	s.opts.Limits.RequireCreation(&b, n.By.UserID, n.By.counted(), id, s.now())
	p := Project{}
	b.Query(func(r database.Rows) (err error) {
		p, err = scanProject(r)
		return err
	}, projectBySlug, n.Slug)
	if err := s.db.Run(ctx, &b); err != nil {
		return Project{}, s.explained(ctx, err)
	}
	return p, nil
}

// createDetail is what the audit log tells of a creation. Without an owner the project is unclaimed.
type createDetail struct {
	Slug  string `json:"slug"`
	Owner string `json:"owner,omitempty"`
}

func (n NewProject) owner() string {
	if n.By.anonymous() {
		return ""
	}
	return n.By.Principal
}

func (s *Service) newRow(id uuid.UUID, n NewProject) []any {
	now := s.now()
	state, visibility := rbac.StateActive, n.Visibility
	account, expires := uuid.NullUUID{UUID: n.By.AccountID, Valid: true}, (*int64)(nil)
	if visibility != rbac.Public {
		visibility = rbac.Private
	}
	if n.By.anonymous() {
		until := database.ToMicros(now.Add(s.opts.UnclaimedTTL))
		state, account, expires = rbac.StateUnclaimed, uuid.NullUUID{}, &until
	}
	return []any{
		id, account, n.Slug, string(state), string(visibility), n.By.Principal, database.ToMicros(now), expires, n.Description,
	}
}
