package access

import (
	"context"
	"errors"
	"slices"

	"github.com/google/uuid"

	"github.com/berthregistry/berth/internal/oci/ocierr"
	"github.com/berthregistry/berth/internal/projects"
	"github.com/berthregistry/berth/internal/rbac"
)

// ask is a request for a decision: any one of the actions is enough.
type ask struct {
	id       Identity
	repo     Repo
	actions  []rbac.Action
	byDigest bool
	existing bool    // it creates nothing: a project that does not exist is then like one that the caller may not see
	also     []Scope // what the same request needs elsewhere; only a challenge names it
}

// first is the action that a challenge names when nothing more is known.
func (k ask) first() rbac.Action {
	if len(k.actions) == 0 {
		return ""
	}
	return k.actions[0]
}

// widest is the action that the first challenge names, to a client without a token: Push where that is enough, for its
// scope takes in Pull. Some callers may push and not pull, and clients such as ORAS ask for what the first challenge of
// a HEAD names and never for more; the token endpoint grants of it what the policy allows.
func (k ask) widest() rbac.Action {
	if slices.Contains(k.actions, rbac.Push) {
		return rbac.Push
	}
	return k.first()
}

// need lists the scopes of a challenge.
func (k ask) need(action rbac.Action) []Scope {
	return append([]Scope{RepositoryScope(k.repo, action)}, k.also...)
}

// covered tells whether the token's scope takes in any of the actions.
func (k ask) covered() bool {
	return slices.ContainsFunc(k.actions, func(action rbac.Action) bool { return k.id.Covers(k.repo, action) })
}

// question is what the policy is asked, but for the action and for what has to be looked up.
func (k ask) question(project projects.Project) rbac.Question {
	credential := &k.id.Credential
	q := rbac.Question{
		Kind:       credential.Principal.Kind,
		Admin:      credential.Principal.Admin && k.names(project),
		State:      project.State,
		Visibility: project.Visibility,
		ByDigest:   k.byDigest,
	}
	if q.Kind == rbac.KindRobot && project.ID != uuid.Nil && credential.ProjectID == project.ID {
		q.Role = credential.Role
	}
	return q
}

// verdict is what the policy says, and what of this the token's grants and its scope leave.
type verdict struct {
	question  rbac.Question // with the caller's role, where that mattered
	permitted []rbac.Action // by the policy and the token's grants
	granted   []rbac.Action // by these and the scope
}

// judge asks the policy. A role is looked up only where it can make a difference: a signed-in caller may pull from a
// public project without one.
func (a *Access) judge(ctx context.Context, ask ask, project projects.Project) (verdict, error) {
	if !ask.id.Presented {
		return verdict{}, a.noToken(ask.need(ask.widest())...)
	}
	v := a.rule(ask, project, ask.question(project))
	if !mayRise(v, project) || !ask.names(project) || len(v.granted) > 0 && len(v.granted) == len(ask.coveredActions()) {
		return v, nil
	}
	question, err := a.look(ctx, ask, project, v.question)
	if err != nil {
		return verdict{}, ocierr.From(err)
	}
	if question == v.question {
		return v, nil
	}
	return a.rule(ask, project, question), nil
}

// permits tells whether the policy permits anything.
func (v verdict) permits() bool { return len(v.permitted) > 0 }

// judgeNow is judge, but for a verdict that is not enough it makes sure that the project and the caller's role still are
// what this replica remembers, and otherwise judges again: a denial is never some seconds old.
func (a *Access) judgeNow(
	ctx context.Context, ask ask, project projects.Project, enough func(verdict) bool,
) (projects.Project, verdict, error) {
	v, err := a.judge(ctx, ask, project)
	if err != nil || enough(v) {
		return project, v, err
	}
	member := uuid.Nil // whose role was looked up
	if mayRise(v, project) && ask.names(project) && v.question.Kind == rbac.KindUser {
		member = ask.id.Credential.Principal.ID
	}
	changed, err := a.projects.Renew(ctx, project, member, v.question.Role)
	if err != nil {
		return project, verdict{}, ocierr.From(err)
	}
	if !changed {
		return project, v, nil
	}
	if project, err = a.resolve(ctx, ask.repo); err != nil {
		return project, verdict{}, err
	}
	v, err = a.judge(ctx, ask, project)
	return project, v, err
}

// rule applies the policy, the token's grants and the scope.
func (a *Access) rule(ask ask, project projects.Project, question rbac.Question) verdict {
	v := verdict{question: question, permitted: ask.capped(project, a.permitted(question, ask.actions))}
	if !ask.id.Bearer {
		v.granted = v.permitted
		return v
	}
	for _, action := range v.permitted {
		if ask.id.Covers(ask.repo, action) {
			v.granted = append(v.granted, action)
		}
	}
	return v
}

func (k ask) coveredActions() []rbac.Action {
	if !k.id.Bearer {
		return k.actions
	}
	var covered []rbac.Action
	for _, action := range k.actions {
		if k.id.Covers(k.repo, action) {
			covered = append(covered, action)
		}
	}
	return covered
}

// mayRise tells whether looking up a role or grant can add to a verdict.
func mayRise(v verdict, project projects.Project) bool {
	if project.ID == uuid.Nil || v.question.Admin {
		return false
	}
	return v.question.Kind == rbac.KindUser || v.question.Kind == rbac.KindRunner
}

// look adds the user's role or the runner's grant. Absence of a role is no error.
func (a *Access) look(ctx context.Context, ask ask, project projects.Project, q rbac.Question) (rbac.Question, error) {
	var err error
	credential := ask.id.Credential
	if q.Kind == rbac.KindUser {
		q.Role, err = a.projects.Role(ctx, project.ID, credential.Principal.ID)
	} else {
		q.Granted, err = a.projects.Granted(ctx, project.ID, credential.TokenID, ask.repo.Path)
	}
	return q, err
}

// resolve finds the project as it is now. One that does not exist is StateAbsent: a push may create it. One named by
// an identifier cannot be created that way, and counts as deleted.
func (a *Access) resolve(ctx context.Context, repo Repo) (projects.Project, error) {
	project, err := a.projects.Resolve(ctx, repo.Segment)
	switch {
	case err == nil:
		return project, nil
	case !errors.Is(err, projects.ErrNotFound) && !errors.Is(err, projects.ErrSlugInvalid):
		return projects.Project{}, ocierr.From(err)
	case repo.byID():
		return projects.Project{State: rbac.StateDeleted}, nil
	default:
		return projects.Project{State: rbac.StateAbsent}, nil
	}
}

func (a *Access) permitted(question rbac.Question, actions []rbac.Action) []rbac.Action {
	var permitted []rbac.Action
	for _, action := range actions {
		if a.allows(question, action) {
			permitted = append(permitted, action)
		}
	}
	return permitted
}

func (a *Access) allows(question rbac.Question, action rbac.Action) bool {
	question.Action = action
	return a.policy.Allow(question)
}

func isWrite(action rbac.Action) bool { return action != rbac.Pull }

// stateBefore is the state that a suspended project returns to.
func stateBefore(project projects.Project) rbac.State {
	if project.AccountID == uuid.Nil {
		return rbac.StateUnclaimed
	}
	return rbac.StateActive
}
