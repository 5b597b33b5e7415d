package access

import (
	"context"

	"github.com/berthregistry/berth/internal/auth"
	"github.com/berthregistry/berth/internal/oci/ocierr"
	"github.com/berthregistry/berth/internal/projects"
	"github.com/berthregistry/berth/internal/rbac"
)

// grant leaves of each scope what the policy allows the holder of a credential now. A token is no promise: the policy
// is asked again whenever it is used. Of several repositories, a runner gets the first that it may pull from.
func (a *Access) grant(ctx context.Context, credential auth.Credential, asked []Scope) ([]Scope, error) {
	id := Identity{Credential: credential, Presented: true}
	granted := make([]Scope, 0, len(asked))
	served := false
	for _, scope := range asked {
		if scope.Type == typeRepository && served && onlyOne(credential) {
			continue
		}
		actions, err := a.grantable(ctx, id, scope)
		if err != nil {
			return nil, err
		}
		if len(actions) > 0 {
			scope.Actions = actions
			granted = append(granted, scope)
			served = served || scope.Type == typeRepository
		}
	}
	return granted, nil
}

// grantable returns the actions of one scope. What is not the name of a repository gets none. A scope does not tell
// whether a pull will be by digest, which is all that some runners may, so it counts as one; the pull itself tells.
func (a *Access) grantable(ctx context.Context, id Identity, scope Scope) ([]string, error) {
	if scope.Type == typeRegistry {
		return a.grantableCatalog(id), nil
	}
	repo, err := ParseRepo(scope.Name)
	if err != nil {
		return nil, nil
	}
	project, err := a.resolve(ctx, repo)
	if err != nil {
		return nil, err
	}
	// What a request names by its digest may be open where a tag is not; which of them comes, the use of the token tells.
	permitted, err := a.permittedSoon(ctx, ask{id: id, repo: repo, actions: actionsOf(scope), byDigest: true}, project)
	if err != nil {
		return nil, ocierr.From(err)
	}
	actions := make([]string, len(permitted))
	for i, action := range permitted {
		actions[i] = string(action)
	}
	return actions, nil
}

// permittedSoon is what the policy permits, and for a project that does not exist what it will permit once a push of
// the same caller has created it: clients keep a token while they push, look and clean up.
func (a *Access) permittedSoon(ctx context.Context, ask ask, project projects.Project) ([]rbac.Action, error) {
	if project.State != rbac.StateAbsent {
		_, v, err := a.judgeNow(ctx, ask, project, func(v verdict) bool { return len(v.permitted) == len(ask.actions) })
		return v.permitted, err
	}
	question := ask.question(project)
	if len(ask.capped(project, a.permitted(question, []rbac.Action{rbac.Push}))) == 0 {
		return nil, nil
	}
	return ask.capped(project, a.permitted(afterCreation(question), ask.actions)), nil
}

// afterCreation turns the question about a project that does not exist into that about the one a push makes.
func afterCreation(question rbac.Question) rbac.Question {
	question.State = rbac.StateUnclaimed
	if question.Kind == rbac.KindUser {
		question.State, question.Visibility, question.Role = rbac.StateActive, rbac.Private, rbac.RoleOwner
	}
	return question
}

func (a *Access) grantableCatalog(id Identity) []string {
	if id.anonymous() || !mayList(id.Credential) {
		return nil
	}
	return []string{anyAction}
}

func actionsOf(scope Scope) []rbac.Action {
	actions := make([]rbac.Action, len(scope.Actions))
	for i, action := range scope.Actions {
		actions[i] = rbac.Action(action)
	}
	return actions
}
