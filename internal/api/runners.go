package api

import (
	"context"
	"errors"

	"github.com/google/uuid"

	"github.com/berthregistry/berth/internal/api/apigen"
	"github.com/berthregistry/berth/internal/auth"
	"github.com/berthregistry/berth/internal/database"
	"github.com/berthregistry/berth/internal/projects"
)

// serverRunnerOf describes a runner to an admin, who sees no grants of it.
func serverRunnerOf(t auth.Token) apigen.Runner {
	return apigen.Runner{
		ID: t.ID, Name: t.Name, Hint: optional(t.Hint), Scope: apigen.RunnerScopeServer, CreatedBy: t.CreatedBy,
		CreatedAt: t.CreatedAt.UTC(), ExpiresAt: optionalTime(t.ExpiresAt), LastUsedAt: optionalTime(t.LastUsedAt),
	}
}

// runnerOf describes a runner and its grant to those who manage the project. Of one of the server they see little.
func runnerOf(g projects.RunnerGrant) apigen.Runner {
	out := apigen.Runner{
		ID: g.TokenID, Name: g.Name, Scope: apigen.RunnerScopeServer, CreatedBy: g.CreatedBy, CreatedAt: g.CreatedAt.UTC(),
	}
	if g.Own {
		out.Scope, out.Hint = apigen.RunnerScopeProject, optional(g.Hint)
		out.ExpiresAt, out.LastUsedAt = optionalTime(g.ExpiresAt), optionalTime(g.LastUsedAt)
	}
	out.Repositories = optionalList(g.Repositories)
	return out
}

// ListRunners implements the operation listRunners.
func (a *API) ListRunners(ctx context.Context, request apigen.ListRunnersRequestObject) (apigen.ListRunnersResponseObject, error) {
	p, err := pageOf(request.Params.Limit, request.Params.Cursor)
	if err != nil {
		return nil, err
	}
	grants, err := a.projects.RunnerGrants(ctx, callOf(ctx).project.ID, p.request())
	if err != nil {
		return nil, err
	}
	grants, link := cut(p, grants, func(g projects.RunnerGrant) string { return g.TokenID.String() }, nil)
	return apigen.ListRunners200JSONResponse{
		Body: apigen.RunnerList{Items: each(grants, runnerOf)}, Headers: apigen.ListRunners200ResponseHeaders{Link: link},
	}, nil
}

// CreateRunner implements the operation createRunner.
func (a *API) CreateRunner(ctx context.Context, request apigen.CreateRunnerRequestObject) (apigen.CreateRunnerResponseObject, error) {
	one, body := callOf(ctx), request.Body
	expires, err := expiry(body.ExpiresAt)
	if err != nil {
		return nil, err
	}
	if err := projects.ValidGrant(valueOf(body.Repositories)); err != nil { // before there is a runner
		return nil, err //nolint:wrapcheck // says what is wrong
	}
	secret, token, err := a.auth.CreateRunner(ctx, auth.NewRunner{
		ProjectID: one.project.ID, Name: body.Name, ExpiresAt: expires, CreatedBy: one.user().String(),
		Guard: one.guard.Require,
		Also: func(b *database.Batch, id uuid.UUID) {
			a.projects.AddGrant(b, one.project.ID, id, valueOf(body.Repositories), one.user().String())
		},
	})
	if err != nil {
		return nil, err
	}
	runner := runnerOf(projects.RunnerGrant{
		TokenID: token.ID, Name: token.Name, Hint: token.Hint, Own: true, Repositories: valueOf(body.Repositories),
		CreatedBy: token.CreatedBy, CreatedAt: token.CreatedAt, ExpiresAt: token.ExpiresAt,
	})
	return apigen.CreateRunner201JSONResponse{
		Body:    apigen.CreatedRunner{Secret: secret, Runner: runner},
		Headers: apigen.CreateRunner201ResponseHeaders{Location: optional(runnerPath(one.project.ID, token.ID))},
	}, nil
}

func runnerPath(project, id uuid.UUID) string {
	return Prefix + "/projects/" + project.String() + "/runners/" + id.String()
}

func runnerOwner(one *call) auth.Owner { return auth.ByProject(auth.TokenRunner, one.project.ID) }

// GrantRunner implements the operation grantRunner.
func (a *API) GrantRunner(ctx context.Context, request apigen.GrantRunnerRequestObject) (apigen.GrantRunnerResponseObject, error) {
	one := callOf(ctx)
	granted, err := a.projects.GrantRunner(ctx, one.guard, one.project.ID, request.Runner, valueOf(request.Body.Repositories), one.user().String())
	if err != nil {
		return nil, noThing(err)
	}
	return apigen.GrantRunner200JSONResponse(runnerOf(granted)), nil
}

// RemoveRunner implements the operation removeRunner. One of the project is revoked; both kinds lose their grants.
func (a *API) RemoveRunner(ctx context.Context, request apigen.RemoveRunnerRequestObject) (apigen.RemoveRunnerResponseObject, error) {
	one := callOf(ctx)
	err := a.auth.RevokeAnd(ctx, one.guard.Require, runnerOwner(one), request.Runner, func(b *database.Batch) {
		projects.ClearGrants(b, one.project.ID, request.Runner)
	})
	if errors.Is(err, auth.ErrNotFound) { // it is one of the server, or none
		err = a.projects.UngrantRunner(ctx, one.guard, one.project.ID, request.Runner)
	}
	a.projects.Forget(one.project.ID)
	return apigen.RemoveRunner204Response{}, noThing(err)
}

// noThing answers for what is not in the project as for what is not there at all.
func noThing(err error) error {
	if errors.Is(err, projects.ErrNoSuchRunner) || errors.Is(err, projects.ErrNoGrant) ||
		errors.Is(err, projects.ErrNoRepository) || errors.Is(err, projects.ErrNoMember) {
		return noSuchThing.WithCause(err)
	}
	return err
}

// ListServerRunners implements the operation listServerRunners.
func (a *API) ListServerRunners(ctx context.Context, request apigen.ListServerRunnersRequestObject) (apigen.ListServerRunnersResponseObject, error) {
	p, err := pageOf(request.Params.Limit, request.Params.Cursor)
	if err != nil {
		return nil, err
	}
	runners, err := a.auth.Runners(ctx, uuid.Nil, p.request())
	if err != nil {
		return nil, err
	}
	runners, link := cut(p, runners, tokenKey, nil)
	return apigen.ListServerRunners200JSONResponse{
		Body:    apigen.RunnerList{Items: each(runners, serverRunnerOf)},
		Headers: apigen.ListServerRunners200ResponseHeaders{Link: link},
	}, nil
}

// CreateServerRunner implements the operation createServerRunner.
func (a *API) CreateServerRunner(ctx context.Context, request apigen.CreateServerRunnerRequestObject) (apigen.CreateServerRunnerResponseObject, error) {
	one := callOf(ctx)
	expires, err := expiry(request.Body.ExpiresAt)
	if err != nil {
		return nil, err
	}
	secret, runner, err := a.auth.CreateRunner(ctx, auth.NewRunner{
		Name: request.Body.Name, ExpiresAt: expires, CreatedBy: one.user().String(), Guard: one.guard.Require,
	})
	if err != nil {
		return nil, err
	}
	return apigen.CreateServerRunner201JSONResponse{
		Body:    apigen.CreatedRunner{Secret: secret, Runner: serverRunnerOf(runner)},
		Headers: apigen.CreateServerRunner201ResponseHeaders{Location: optional(Prefix + "/admin/runners/" + runner.ID.String())},
	}, nil
}

// RevokeServerRunner implements the operation revokeServerRunner.
func (a *API) RevokeServerRunner(ctx context.Context, request apigen.RevokeServerRunnerRequestObject) (apigen.RevokeServerRunnerResponseObject, error) {
	return apigen.RevokeServerRunner204Response{}, a.auth.Revoke(ctx, callOf(ctx).guard.Require, auth.ByServer(), request.Runner)
}
