package projects

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"github.com/google/uuid"

	"github.com/berthregistry/berth/internal/database"
	"github.com/berthregistry/berth/internal/rbac"
)

const (
	projectFields = `p.id, p.slug, p.state, p.visibility, p.epoch, p.account_id, p.suspended_reason, p.expires_at,
		p.version, p.description, p.created_at, p.updated_at, p.claimed_at, p.suspended_at, p.deleted_at, p.purge_after,
		p.quota_bytes, (SELECT a.quota_bytes FROM accounts a WHERE a.id = p.account_id)`
	projectColumns = `SELECT ` + projectFields + ` FROM projects p `
)

var (
	projectBySlug = database.SQL(projectColumns + `WHERE slug = $1`)
	projectByID   = database.SQL(projectColumns + `WHERE id = $1`)
	memberRole    = database.SQL(`SELECT role FROM members WHERE project_id = $1 AND user_id = $2`)
)

// Resolve gives the project that the first segment of a path means: its slug, or its identifier in canonical form. What
// can be neither is refused without a query. A deleted project is found by its identifier only, in state deleted; an
// unclaimed one that has expired is not found. Errors: ErrNotFound, the context's and the database's.
func (s *Service) Resolve(ctx context.Context, segment string) (Project, error) {
	if _, ok := projectID(segment); !ok && errors.Is(ValidSlug(segment), ErrSlugInvalid) {
		return Project{}, wrapped("resolve", ErrNotFound)
	}
	p, err := s.projects.get(ctx, segment,
		func(ctx context.Context) (Project, uuid.UUID, error) {
			p, err := s.load(ctx, segment)
			return p, p.ID, err
		},
		func(p Project) bool { return !p.expired(s.now()) }, // a push may have prolonged its life since
	)
	return p, wrapped("resolve", err)
}

// load asks the database for the project that segment means. Errors: as Resolve.
func (s *Service) load(ctx context.Context, segment string) (Project, error) {
	stmt, arg := projectBySlug, any(segment)
	if id, ok := projectID(segment); ok {
		stmt, arg = projectByID, id
	} else if errors.Is(ValidSlug(segment), ErrSlugInvalid) {
		return Project{}, ErrNotFound
	}
	p, err := scanProject(s.db.QueryRow(ctx, stmt, arg))
	if errors.Is(err, database.ErrNoRows) || err == nil && p.expired(s.now()) {
		err = ErrNotFound
	}
	return p, err
}

// scanner is a row.
type scanner interface{ Scan(dest ...any) error }

func scanProject(row scanner, more ...any) (Project, error) {
	var p Project
	var slug sql.Null[string]
	var account uuid.NullUUID
	err := row.Scan(append([]any{
		&p.ID, &slug, &p.State, &p.Visibility, &p.Epoch, &account, &p.SuspendedReason, (*instant)(&p.ExpiresAt),
		&p.Version, &p.Description, (*instant)(&p.CreatedAt), (*instant)(&p.UpdatedAt), (*instant)(&p.ClaimedAt),
		(*instant)(&p.SuspendedAt), (*instant)(&p.DeletedAt), (*instant)(&p.PurgeAfter),
		&p.QuotaBytes, &p.AccountQuota,
	}, more...)...)
	p.Slug, p.AccountID = slug.V, account.UUID
	return p, err
}

// instant is a time as the database has it. NULL is the zero time.
type instant time.Time

// Scan implements sql.Scanner.
func (i *instant) Scan(value any) error {
	var micros sql.Null[int64]
	if err := micros.Scan(value); err != nil {
		return err
	}
	*i = instant{}
	if micros.Valid {
		*i = instant(database.FromMicros(micros.V))
	}
	return nil
}

type membership struct{ project, user uuid.UUID }

// errNone keeps an absence out of the cache.
var errNone = errors.New("none")

// Role gives a user's role in a project, RoleNone for one who is not a member. Errors: the context's and the database's.
func (s *Service) Role(ctx context.Context, projectID, userID uuid.UUID) (rbac.Role, error) {
	role, err := s.roles.get(ctx, membership{projectID, userID},
		func(ctx context.Context) (role rbac.Role, _ uuid.UUID, err error) {
			err = s.db.QueryRow(ctx, memberRole, projectID, userID).Scan(&role)
			if errors.Is(err, database.ErrNoRows) {
				err = errNone
			}
			return role, projectID, err
		}, nil)
	if errors.Is(err, errNone) {
		return rbac.RoleNone, nil
	}
	return role, wrapped("role", err)
}
