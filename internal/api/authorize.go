package api

import (
	"context"
	"errors"

	"github.com/gin-gonic/gin"
	"github.com/google/uuid"

	"github.com/berthregistry/berth/internal/api/problem"
	"github.com/berthregistry/berth/internal/auth"
	"github.com/berthregistry/berth/internal/database"
	"github.com/berthregistry/berth/internal/projects"
	"github.com/berthregistry/berth/internal/rbac"
	"github.com/berthregistry/berth/internal/telemetry/reqlog"
)

var (
	// noProject is said of what does not exist and of what the caller may not know of, alike.
	noProject = problem.NotFound.With("There is no such project, or you may not know of it.")
	noAdmin   = problem.Forbidden.With("Only server admins may do this.")
)

// authorize applies the operation's rule, by the state of things now; see call.guard for changes.
func (a *API) authorize(c *gin.Context) {
	one := callOf(c.Request.Context())
	if err := a.decide(c.Request.Context(), one, c.Param("project")); err != nil {
		refuse(c, err)
	}
}

func (a *API) decide(ctx context.Context, one *call, segment string) error {
	switch one.op.rule {
	case ruleOpen:
		return nil
	case ruleCaller:
		one.guard = guard{call: one}
		return nil
	case ruleAdmin:
		if err := a.countAdmin(one, a.administers(one)); err != nil {
			return err
		}
		one.guard = guard{call: one, admin: true}
		if !one.op.project {
			return nil
		}
	}
	if err := a.findProject(ctx, one, segment); err != nil {
		return err
	}
	if one.op.rule == ruleAdmin {
		return nil
	}
	refused := a.judge(one)
	if refused == nil {
		return a.count(one, nil)
	}
	changed, err := a.projects.Renew(ctx, one.project, one.user().ID, one.question.Role)
	if err != nil {
		return err //nolint:wrapcheck // says what it did
	}
	if !changed {
		return a.count(one, refused)
	}
	if err := a.findProject(ctx, one, segment); err != nil {
		return err
	}
	return a.count(one, a.judge(one))
}

// countAdmin counts the decision about an operation of administrators, and returns what it means.
func (a *API) countAdmin(one *call, allowed bool) error {
	question := rbac.Question{Kind: one.user().Kind, Admin: one.user().Admin, Action: rbac.Administer}
	if !allowed {
		a.tally.Count(question, rbac.Denied)
		return noAdmin
	}
	a.tally.Count(question, rbac.Allowed)
	return nil
}

// count counts the decision about a project, and returns it. Whether somebody may see a project is counted as a pull,
// and a restoration as the deletion that it undoes.
func (a *API) count(one *call, refused error) error {
	question := a.ruledBy(one)
	question.State = one.project.State
	if question.Action == "" {
		question.Action = rbac.Pull
	}
	outcome := rbac.Allowed
	if refused != nil {
		outcome = rbac.Denied
	}
	a.tally.Count(question, outcome)
	return refused
}

// administers asks the policy about the server as about a private project: only admins may do anything to any.
func (a *API) administers(one *call) bool {
	return a.policy.Allow(rbac.Question{
		Kind: one.user().Kind, Admin: one.user().Admin, State: rbac.StateActive, Visibility: rbac.Private, Action: rbac.Administer,
	})
}

// findProject finds the project in the path, and the caller's role in it.
func (a *API) findProject(ctx context.Context, one *call, segment string) error {
	project, err := a.projects.Resolve(ctx, segment)
	if errors.Is(err, projects.ErrNotFound) || errors.Is(err, projects.ErrSlugInvalid) {
		reqlog.SetProjectKind(ctx, rbac.ProjectKind(rbac.StateAbsent, ""))
		return noProject.WithCause(err)
	}
	if err != nil {
		return err //nolint:wrapcheck // says what it did
	}
	role, err := a.projects.Role(ctx, project.ID, one.user().ID)
	if err != nil {
		return err //nolint:wrapcheck // says what it did
	}
	one.project = project
	reqlog.SetProjectKind(ctx, rbac.ProjectKind(project.State, project.Visibility))
	one.question = rbac.Question{
		Kind: one.user().Kind, Admin: one.user().Admin, Role: role, State: project.State, Visibility: project.Visibility,
	}
	return nil
}

// judge asks the policy whether the caller may do to the project what the operation's rule names.
func (a *API) judge(one *call) error {
	question := a.ruledBy(one)
	switch {
	case !a.visible(one.question):
		one.hidden = true
		return noProject
	case one.op.rule == ruleView:
		return nil
	case !a.policy.Allow(question):
		return denied(one)
	case one.op.rule == ruleRestore && one.project.State != rbac.StateDeleted:
		return problem.Conflict.With("The project is not deleted.")
	}
	one.guard = guard{call: one, policy: a.policy, action: question.Action}
	return nil
}

// ruledBy is what the policy is asked. Whoever could delete the project before it was deleted may restore it.
func (a *API) ruledBy(one *call) rbac.Question {
	question := one.question
	if one.op.rule == ruleRestore {
		question.Action, question.State = rbac.DeleteProject, rbac.StateActive
		return question
	}
	question.Action = actions[one.op.rule]
	return question
}

// visible tells whether the caller may know that the project exists. A deleted one is known to its members, who may
// restore it, and an unclaimed one to all who may claim it.
func (a *API) visible(question rbac.Question) bool {
	if question.Admin || question.Role != rbac.RoleNone {
		return true
	}
	for _, action := range []rbac.Action{rbac.Pull, rbac.Claim} {
		question.Action = action
		if a.policy.Allow(question) {
			return true
		}
	}
	return false
}

// denied tells a caller who may know of the project why the policy denies.
func denied(one *call) error {
	switch one.project.State {
	case rbac.StateSuspended:
		return problem.Forbidden.With("The project is suspended: %s", one.project.SuspendedReason)
	case rbac.StateDeleted:
		return problem.Forbidden.With("The project is deleted.")
	case rbac.StateUnclaimed:
		return problem.Forbidden.With("Nobody has claimed the project yet.")
	}
	if one.op.rule == ruleClaim {
		return problem.AlreadyClaimed.With("The project has an owner.")
	}
	return problem.Forbidden.With("Your role in the project does not allow this.")
}

// noGuard is for operations that nobody has to be signed in for.
type noGuard struct{}

// Require implements projects.Guard.
func (noGuard) Require(*database.Batch) {}

// guard repeats a decision inside the transaction that commits a change, where nothing is out of date.
type guard struct {
	call   *call
	admin  bool           // the decision rests on the user being an admin
	policy *rbac.Enforcer // of a decision about a project; else nil
	action rbac.Action
}

// Require implements projects.Guard. The project comes first, as in every transaction.
func (g guard) Require(b *database.Batch) {
	one := g.call
	// A claim looks at the state itself, so that whoever is second hears that somebody was faster.
	if one.project.ID != uuid.Nil && one.op.rule != ruleClaim {
		projects.RequireState(b, one.project.ID, one.project.Epoch, one.project.State)
	}
	one.credential.Require(b)
	switch {
	case g.admin:
		auth.RequireAdmin(b, one.user().ID)
	case g.policy == nil || g.suffices(rbac.RoleNone): // every user may
	case one.user().Admin:
		auth.RequireAdmin(b, one.user().ID)
	default:
		projects.RequireRole(b, one.project.ID, one.user().ID, g.suffices)
	}
}

// suffices asks the policy whether a user with a role may do it who is no admin.
func (g guard) suffices(role rbac.Role) bool {
	question := g.call.question
	question.Admin, question.Role, question.Action = false, role, g.action
	if g.call.op.rule == ruleRestore {
		question.State = rbac.StateActive
	}
	return g.policy.Allow(question)
}
