package projects

import (
	"errors"

	"github.com/google/uuid"

	"github.com/berthregistry/berth/internal/database"
	"github.com/berthregistry/berth/internal/rbac"
)

// Why a guard ends a transaction.
var (
	// ErrChanged: the project was claimed, suspended, resumed, deleted or restored since the decision.
	ErrChanged = errors.New("the project has changed since the decision")
	// ErrRole: the caller's role in the project does not allow this, or no longer.
	ErrRole = errors.New("the role does not allow this")
)

// Guard repeats a decision inside the transaction that it allowed: Require adds to b what must still hold when b commits.
// A nil Guard requires nothing; it is for the operator.
type Guard interface {
	Require(b *database.Batch)
}

// GuardFunc is a function as a Guard.
type GuardFunc func(b *database.Batch)

// Require implements Guard.
func (g GuardFunc) Require(b *database.Batch) { g(b) }

var (
	requireState = database.SQL(`SELECT 1 FROM projects WHERE id = $1 AND epoch = $2 AND state = $3 {share}`)

	// A role is compared with parameters, not with the rows of a list: PostgreSQL checks the newest version of a member
	// that it waited for against the row of the list that the old version was joined with.
	requireRole = database.SQL(`
		SELECT 1 FROM members
		WHERE project_id = $1 AND user_id = $2 AND role IN ($3, $4, $5, $6)
		{share}`)
)

// RequireState adds to b that the project is as the decision has seen it, and that it stays so until the commit. The batch
// fails with ErrChanged. In a transaction the project comes before all else.
func RequireState(b *database.Batch, id uuid.UUID, epoch int64, state rbac.State) {
	b.Require(ErrChanged, requireState, id, epoch, string(state))
}

// RequireRole adds to b that the user has a role which allowed accepts, and keeps it until the commit. Nothing is asked of
// the database if RoleNone is accepted. The batch fails with ErrRole.
func RequireRole(b *database.Batch, projectID, userID uuid.UUID, allowed func(rbac.Role) bool) {
	if allowed(rbac.RoleNone) {
		return
	}
	sufficient := func(role rbac.Role) string {
		if allowed(role) {
			return string(role)
		}
		return "" // which no member has
	}
	b.Require(ErrRole, requireRole, projectID, userID,
		sufficient(rbac.RoleViewer), sufficient(rbac.RoleDeveloper), sufficient(rbac.RoleMaintainer), sufficient(rbac.RoleOwner))
}
