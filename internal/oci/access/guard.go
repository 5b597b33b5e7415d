package access

import (
	"errors"
	"slices"

	"github.com/google/uuid"

	"github.com/berthregistry/berth/internal/auth"
	"github.com/berthregistry/berth/internal/database"
	"github.com/berthregistry/berth/internal/oci/ocierr"
	"github.com/berthregistry/berth/internal/projects"
	"github.com/berthregistry/berth/internal/rbac"
)

// errNothing: a decision that granted no write was to be committed.
var errNothing = errors.New("access: nothing was granted that could be committed")

// Guard repeats a decision inside the transaction that commits a write, where nothing is out of date. The zero Guard,
// and that of a decision that grants no write, let no transaction through.
type Guard struct {
	access     *Access
	ask        ask
	action     rbac.Action // the strongest of the writes that were granted
	question   rbac.Question
	credential auth.Credential
	projectID  uuid.UUID
	epoch      int64
}

// writes are the guarded actions, the strongest first: who may do one may do those after it.
var writes = []rbac.Action{rbac.Delete, rbac.Push}

func (a *Access) guard(ask ask, project projects.Project, v verdict) Guard {
	g := Guard{
		access:     a,
		ask:        ask,
		question:   v.question,
		credential: ask.id.Credential,
		projectID:  project.ID,
		epoch:      project.Epoch,
	}
	for _, action := range writes {
		if slices.Contains(v.granted, action) {
			g.action = action
			break
		}
	}
	return g
}

var requireNothing = database.SQL(`SELECT 1 WHERE 1 = 0`)

// Require adds the checks to a batch, before the statements that they guard. The project comes first, as in every
// transaction, and stays as it is until the commit: so do the token, its owner and the role.
//
// They fail with projects.ErrChanged, auth.ErrRevoked, projects.ErrRole or auth.ErrNotAdmin, and where no write was
// granted; give what the batch returned to Translate.
func (g Guard) Require(b *database.Batch) {
	kind := g.question.Kind
	if g.access == nil || g.action == "" || kind == rbac.KindRunner { // runners never write
		b.Require(errNothing, requireNothing)
		return
	}
	if g.question.State == rbac.StateUnclaimed {
		g.access.projects.Prolong(b, g.projectID) // before the row is locked for sharing
	}
	projects.RequireState(b, g.projectID, g.epoch, g.question.State)
	g.credential.Require(b)
	if kind == rbac.KindUser {
		g.requireRole(b)
	}
}

// requireRole adds the check of what the user's permission rests on; anyone may push to an unclaimed project.
func (g Guard) requireRole(b *database.Batch) {
	user := g.credential.Principal.ID
	if g.question.Admin && !g.suffices(rbac.RoleNone) {
		auth.RequireAdmin(b, user)
		return
	}
	projects.RequireRole(b, g.projectID, user, g.suffices)
}

// suffices asks the policy whether a user with a role may do the action.
func (g Guard) suffices(role rbac.Role) bool {
	question := g.question
	question.Admin, question.Role = false, role
	return g.access.allows(question, g.action)
}

// Translate turns an error of the guard into the answer for the client, and has this replica look at the project anew
// for the next request. Other errors are returned as they are.
//
// projects.ErrChanged becomes 503: what the caller may do with the changed project was not decided, and a repeated
// request is.
func (g Guard) Translate(err error) error {
	switch {
	case errors.Is(err, errNothing), g.access == nil && isGuarded(err):
		return ocierr.Denied.WithCause(err)
	case errors.Is(err, projects.ErrChanged):
		g.forget()
		return ocierr.Unavailable.With("the project has changed in the meantime, try again").WithCause(err)
	case errors.Is(err, auth.ErrRevoked):
		return g.access.invalidToken(err, g.ask.need(g.action)...)
	case isGuarded(err):
		g.forget()
		return ocierr.Denied.WithCause(err)
	default:
		return err
	}
}

// isGuarded tells whether an error is one of those that a guard ends a transaction with.
func isGuarded(err error) bool {
	return errors.Is(err, projects.ErrChanged) || errors.Is(err, projects.ErrRole) ||
		errors.Is(err, auth.ErrRevoked) || errors.Is(err, auth.ErrNotAdmin)
}

func (g Guard) forget() { g.access.projects.Forget(g.projectID) }
