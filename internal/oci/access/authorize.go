package access

import (
	"context"
	"slices"

	"github.com/google/uuid"

	"github.com/berthregistry/berth/internal/auth"
	"github.com/berthregistry/berth/internal/oci/ocierr"
	"github.com/berthregistry/berth/internal/projects"
	"github.com/berthregistry/berth/internal/rbac"
	"github.com/berthregistry/berth/internal/telemetry/reqlog"
)

// Decision is a permission that was just given.
type Decision struct {
	// Project has no ID where it does not exist yet: there is nothing to read, and a push creates it; see EnsureProject.
	Project   projects.Project
	Principal auth.Principal
	// Guard repeats the decision inside the transaction of a committing statement.
	Guard Guard

	ask     ask
	granted []rbac.Action
}

// Allows tells whether an action was among those asked for and was granted.
func (d Decision) Allows(action rbac.Action) bool { return slices.Contains(d.granted, action) }

// Authorize decides whether a caller may do at least one of the actions with a repository, by the state of things now:
// that of the project and of the caller's role are at most some seconds old for reads, and exact for writes that use
// the Decision's Guard. Which of the actions were granted is for Decision.Allows. The first action names the scope of
// a later challenge, Push that of the first one: ask for Pull and Push, in this order, on a HEAD.
//
// Errors, all *ocierr.Error:
//   - 401 without a credential, whatever the repository is;
//   - 401 insufficient_scope where the policy would allow it and the token's scope does not, and for anonymous callers
//     whom the policy denies;
//   - 403 DENIED where the policy denies and the caller may see the project, and for a suspended project, with the
//     reason, where the caller could see it or write to it otherwise;
//   - 404 NAME_UNKNOWN for all others: ocierr.NameUnknown, with nothing added that clients see;
//   - 503 while the database does not answer.
func (a *Access) Authorize(ctx context.Context, id Identity, repo Repo, actions ...rbac.Action) (Decision, error) {
	return a.authorize(ctx, ask{id: id, repo: repo, actions: actions})
}

// AuthorizeExisting is Authorize for a request about what a repository has already, such as a HEAD while pushing, or a
// request to an upload session. Where the project does not exist, whatever a push might create, the answer is that for a
// project which the caller may not see.
//
// Content that the request names by its digest is open to more callers: runners may read it from an unclaimed project,
// and never by tag.
func (a *Access) AuthorizeExisting(
	ctx context.Context, id Identity, repo Repo, byDigest bool, actions ...rbac.Action,
) (Decision, error) {
	return a.authorize(ctx, ask{id: id, repo: repo, actions: actions, byDigest: byDigest, existing: true})
}

// Ping decides about /v2/ itself: any credential will do, and a challenge names no scope.
func (a *Access) Ping(id Identity) error {
	if !id.Presented {
		return a.noToken()
	}
	return nil
}

// AuthorizeCatalog decides whether a caller may list the repositories that they have a role in: any who signed in, with
// a token that is for all of them.
func (a *Access) AuthorizeCatalog(id Identity) error {
	need := CatalogScope()
	switch {
	case !id.Presented:
		return a.noToken(need)
	case id.anonymous():
		return a.insufficientScope(errPolicy, need)
	case !mayList(id.Credential):
		return ocierr.Denied.With("the token is for some repositories only").WithCause(errLists)
	case id.Bearer && !id.hasScope(need.Type, need.Name, anyAction):
		return a.insufficientScope(errScope, need)
	default:
		return nil
	}
}

func (a *Access) authorize(ctx context.Context, ask ask) (Decision, error) {
	if !ask.id.Presented {
		a.count(ask, rbac.Question{Kind: rbac.KindAnonymous}, ask.widest(), rbac.Challenged)
		return Decision{}, a.noToken(ask.need(ask.widest())...)
	}
	project, err := a.resolve(ctx, ask.repo)
	if err != nil {
		return Decision{}, err
	}
	return a.decide(ctx, ask, project)
}

// decide answers for a project whose state is known.
func (a *Access) decide(ctx context.Context, ask ask, project projects.Project) (Decision, error) {
	project, v, err := a.judgeNow(ctx, ask, project, verdict.permits)
	if err != nil {
		return Decision{}, err
	}
	reqlog.SetProjectKind(ctx, rbac.ProjectKind(project.State, project.Visibility))
	a.countVerdict(ask, v)
	if len(v.granted) == 0 {
		return Decision{}, a.refusal(ask, project, v)
	}
	if ask.existing && project.ID == uuid.Nil {
		return Decision{}, ocierr.NameUnknown
	}
	return a.decision(ask, project, v), nil
}

func (a *Access) decision(ask ask, project projects.Project, v verdict) Decision {
	return Decision{
		Project:   project,
		Principal: ask.id.Credential.Principal,
		Guard:     a.guard(ask, project, v),
		ask:       ask,
		granted:   v.granted,
	}
}

// refusal finds the answer for a verdict that grants nothing.
func (a *Access) refusal(ask ask, project projects.Project, v verdict) error {
	switch {
	case a.suspended(ask, project, v):
		return suspension(project)
	case ask.existing && project.ID == uuid.Nil && !ask.id.anonymous():
		return ocierr.NameUnknown
	case len(v.permitted) > 0 && !ask.covered():
		return a.insufficientScope(errScope, ask.need(v.permitted[0])...)
	case ask.id.anonymous():
		return a.insufficientScope(errPolicy, ask.need(a.wanted(ask, v))...)
	case a.visible(v.question):
		return ocierr.Denied.WithCause(errPolicy)
	default:
		return ocierr.NameUnknown.WithCause(errHidden)
	}
}

// wanted is the action whose scope an anonymous caller is told: one that would be granted, or else the widest. That is
// also what a push would be granted in a project that does not exist, so that a HEAD does not tell the two apart.
func (a *Access) wanted(ask ask, v verdict) rbac.Action {
	if len(v.permitted) > 0 {
		return v.permitted[0]
	}
	return ask.widest()
}

// suspended tells whether a refusal is to say that the project is suspended: to those who could see the project or
// push to it if it were not. Anonymous callers hear it of writes only.
func (a *Access) suspended(ask ask, project projects.Project, v verdict) bool {
	if project.State != rbac.StateSuspended || ask.id.anonymous() && !slices.ContainsFunc(ask.actions, isWrite) {
		return false
	}
	question := v.question
	question.State = stateBefore(project)
	return a.visible(question) || a.allows(question, rbac.Push)
}

func suspension(project projects.Project) error {
	denied := ocierr.Denied.WithCause(errSuspended)
	if project.SuspendedReason == "" {
		return denied.With("the project is suspended")
	}
	return denied.With("the project is suspended: %s", project.SuspendedReason)
}

// visible tells whether the caller may know that the project exists.
func (a *Access) visible(question rbac.Question) bool {
	if question.State == rbac.StateAbsent || question.State == rbac.StateDeleted {
		return false
	}
	return question.Admin || question.Granted || question.Role != rbac.RoleNone || a.allows(question, rbac.Pull)
}
