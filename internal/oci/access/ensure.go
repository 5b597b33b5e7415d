package access

import (
	"context"
	"errors"

	"github.com/google/uuid"

	"github.com/berthregistry/berth/internal/auth"
	"github.com/berthregistry/berth/internal/oci/ocierr"
	"github.com/berthregistry/berth/internal/projects"
	"github.com/berthregistry/berth/internal/ratelimit"
	"github.com/berthregistry/berth/internal/rbac"
)

// EnsureProject creates the project of a permitted push where it does not exist yet, and decides again about what is
// there then: somebody else may have been faster. A Decision with a project is returned as it is.
//
// Errors, all *ocierr.Error: those of Authorize; 400 NAME_INVALID for a name that no project can have; 403 DENIED for
// one that is reserved, or that the caller may not create or has no room for; 429 for too many in a day.
func (a *Access) EnsureProject(ctx context.Context, d Decision, repo Repo) (Decision, error) {
	if d.Project.ID != uuid.Nil {
		return d, nil
	}
	if !d.Allows(rbac.Push) || d.ask.repo != repo {
		return Decision{}, ocierr.Denied.WithCause(errOtherPush)
	}
	project, err := a.projects.Ensure(ctx, repo.Segment, creator(ctx, d.ask.id.Credential))
	if err != nil {
		return Decision{}, notCreated(repo, err)
	}
	return a.decide(ctx, d.ask, project)
}

func creator(ctx context.Context, credential auth.Credential) projects.Creator {
	p := credential.Principal
	c := projects.Creator{Principal: p.String(), Network: ratelimit.NetworkOf(ctx), Guard: projects.GuardFunc(credential.Require)}
	if p.Kind == rbac.KindUser {
		c.UserID, c.AccountID = p.ID, p.AccountID
	}
	return c
}

// notCreated answers for a project that cannot be made.
func notCreated(repo Repo, err error) error {
	switch {
	case errors.Is(err, projects.ErrSlugInvalid):
		return ocierr.NameInvalid.With("%q cannot be the name of a project", repo.Segment).WithCause(err)
	case errors.Is(err, projects.ErrSlugReserved), errors.Is(err, projects.ErrSlugTaken):
		return ocierr.Denied.With("the project name %q is reserved", repo.Segment).WithCause(err)
	case errors.Is(err, projects.ErrCreateForbidden):
		return ocierr.Denied.With("you may not create the project %q; sign in, or use another name", repo.Segment).WithCause(err)
	case errors.Is(err, projects.ErrNotFound):
		return ocierr.NameUnknown.WithCause(err)
	default:
		return ocierr.From(err)
	}
}
