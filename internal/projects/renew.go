package projects

import (
	"context"
	"database/sql"
	"errors"

	"github.com/google/uuid"

	"github.com/berthregistry/berth/internal/database"
	"github.com/berthregistry/berth/internal/rbac"
)

var projectAndRole = database.SQL(`
	SELECT p.slug, p.state, p.visibility, p.epoch, coalesce(m.role, '')
	FROM projects p LEFT JOIN members m ON m.project_id = p.id AND m.user_id = $2
	WHERE p.id = $1`)

// Renew looks, past the cache, whether a project and what a user is in it (Nil: nobody) are still what a decision has
// seen. If not, it drops what this replica remembers of them and reports true: decide again. A denial is said only after
// this, for it must not rest on what was true some seconds ago. Errors: the context's and the database's.
func (s *Service) Renew(ctx context.Context, seen Project, userID uuid.UUID, role rbac.Role) (changed bool, err error) {
	if seen.ID == uuid.Nil {
		return false, nil // absence is never remembered
	}
	var slug sql.Null[string]
	var now Project
	var roleNow rbac.Role
	err = s.db.QueryRow(ctx, projectAndRole, seen.ID, userID).Scan(&slug, &now.State, &now.Visibility, &now.Epoch, &roleNow)
	switch {
	case errors.Is(err, database.ErrNoRows):
		changed = true
	case err != nil:
		return false, wrapped("renew", err)
	default:
		changed = slug.V != seen.Slug || now.State != seen.State || now.Visibility != seen.Visibility || now.Epoch != seen.Epoch ||
			userID != uuid.Nil && roleNow != role
	}
	if changed {
		s.Forget(seen.ID)
	}
	return changed, nil
}
