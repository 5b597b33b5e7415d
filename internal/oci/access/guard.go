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

// Why a Guard ends a transaction.
var (
	// ErrEpoch: the project was claimed, suspended or deleted since the decision.
	ErrEpoch = errors.New("access: the project has changed since the decision")
	// ErrRevoked: the credential was revoked or has expired, or its owner was locked out.
	ErrRevoked = errors.New("access: the credential is no longer valid")
	// ErrRole: the caller's role in the project no longer allows the action.
	ErrRole = errors.New("access: the role no longer allows this")
)

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

var (
	requireProject = database.SQL(`
		SELECT 1 FROM projects WHERE id = $1 AND epoch = $2 AND state = $3 {share}`)

	requirePersonal = database.SQL(`
		SELECT 1 FROM tokens t JOIN users u ON u.id = t.user_id
		WHERE t.id = $1 AND t.kind = 'personal' AND u.id = $2
			AND t.revoked_at IS NULL AND (t.expires_at IS NULL OR t.expires_at > {now}) AND u.locked_at IS NULL
		{share}`)

	requireRobot = database.SQL(`
		SELECT 1 FROM tokens
		WHERE id = $1 AND kind = 'robot' AND project_id = $2
			AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > {now})
		{share}`)

	// A role is compared with parameters, not with the rows of a list: PostgreSQL checks the newest version of a member
	// that it waited for against the row of the list that the old version was joined with.
	requireMember = database.SQL(`
		SELECT 1 FROM members
		WHERE project_id = $1 AND user_id = $2 AND role IN ($3, $4, $5, $6)
		{share}`)

	requireAdmin = database.SQL(`SELECT 1 FROM users WHERE id = $1 AND admin {share}`)

	requireNothing = database.SQL(`SELECT 1 WHERE 1 = 0`)
)

// Require adds the checks to a batch, before the statements that they guard. The project comes first, as in every
// transaction, and stays as it is until the commit: so do the token, its owner and the role.
//
// They fail with ErrEpoch, ErrRevoked or ErrRole; give what the batch returned to Translate.
func (g Guard) Require(b *database.Batch) {
	if g.access == nil || g.action == "" {
		b.Require(ErrRole, requireNothing)
		return
	}
	if g.question.State == rbac.StateUnclaimed {
		g.access.projects.Prolong(b, g.projectID) // before the row is locked for sharing
	}
	b.Require(ErrEpoch, requireProject, g.projectID, g.epoch, string(g.question.State))
	switch g.question.Kind {
	case rbac.KindAnonymous:
		// An anonymous caller has nothing but the state of the project.
	case rbac.KindRobot:
		b.Require(ErrRevoked, requireRobot, g.credential.TokenID, g.projectID)
	case rbac.KindUser:
		b.Require(ErrRevoked, requirePersonal, g.credential.TokenID, g.credential.Principal.ID)
		g.requireRole(b)
	default: // runners never write
		b.Require(ErrRole, requireNothing)
	}
}

// requireRole adds the check of what the user's permission rests on; anyone may push to an unclaimed project.
func (g Guard) requireRole(b *database.Batch) {
	user := g.credential.Principal.ID
	switch {
	case g.suffices(rbac.RoleNone):
	case g.question.Admin:
		b.Require(ErrRole, requireAdmin, user)
	default:
		b.Require(ErrRole, requireMember, g.projectID, user,
			g.sufficient(rbac.RoleViewer), g.sufficient(rbac.RoleDeveloper),
			g.sufficient(rbac.RoleMaintainer), g.sufficient(rbac.RoleOwner))
	}
}

// sufficient is a role as the database stores it, or what it never stores if the role does not suffice.
func (g Guard) sufficient(role rbac.Role) string {
	if !g.suffices(role) {
		return ""
	}
	return string(role)
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
// ErrEpoch becomes 503: what the caller may do with the changed project was not decided, and a repeated request is.
func (g Guard) Translate(err error) error {
	if g.access == nil && (errors.Is(err, ErrEpoch) || errors.Is(err, ErrRevoked) || errors.Is(err, ErrRole)) {
		return ocierr.Denied.WithCause(err)
	}
	switch {
	case errors.Is(err, ErrEpoch):
		g.forget()
		return ocierr.Unavailable.With("the project has changed in the meantime, try again").WithCause(err)
	case errors.Is(err, ErrRevoked):
		return g.access.invalidToken(err, g.ask.need(g.action)...)
	case errors.Is(err, ErrRole):
		g.forget()
		return ocierr.Denied.WithCause(err)
	default:
		return err
	}
}

func (g Guard) forget() { g.access.projects.Forget(g.projectID) }
