package access

import (
	"context"

	"github.com/google/uuid"

	"github.com/berthregistry/berth/internal/rbac"
)

// AuthorizeMount decides about a blob mount: a push to one repository that reads from another one. Without a source
// the mount cannot be done and an upload session is to be opened instead: the answer for a repository that the caller
// may not pull is the same as for one that does not exist.
//
// Errors are those of Authorize for the push, with challenges that name both repositories, and 401 insufficient_scope
// where the caller may pull the source and the token's scope does not say so.
func (a *Access) AuthorizeMount(ctx context.Context, id Identity, to, from Repo) (target Decision, source *Decision, err error) {
	target, err = a.authorize(ctx, ask{
		id: id, repo: to,
		actions: []rbac.Action{rbac.Push},
		also:    []Scope{RepositoryScope(from, rbac.Pull)},
	})
	if err != nil {
		return Decision{}, nil, err
	}
	source, err = a.mountSource(ctx, id, to, from)
	if err != nil {
		return Decision{}, nil, err
	}
	return target, source, nil
}

func (a *Access) mountSource(ctx context.Context, id Identity, to, from Repo) (*Decision, error) {
	project, err := a.resolve(ctx, from)
	if err != nil || project.ID == uuid.Nil {
		return nil, err
	}
	pull := ask{id: id, repo: from, actions: []rbac.Action{rbac.Pull}, byDigest: true}
	v, err := a.judge(ctx, pull, project)
	if err != nil {
		return nil, err
	}
	a.countVerdict(pull, v)
	switch {
	case len(v.permitted) == 0:
		return nil, nil
	case len(v.granted) == 0:
		return nil, a.insufficientScope(errScope, RepositoryScope(to, rbac.Push), RepositoryScope(from, rbac.Pull))
	}
	d := a.decision(pull, project, v)
	return &d, nil
}

// MayMountWithin tells whether a mount that names no source may look for the blob in the repositories of the decision's
// project: those that the credential itself may pull, whatever its bearer token has been narrowed to. The answer then
// tells only that the caller's own project has the blob.
func (d Decision) MayMountWithin() bool {
	g := &d.Guard
	return g.access != nil && g.access.allows(g.question, rbac.Pull) && everywhere(g.credential.Grants, rbac.Pull)
}
