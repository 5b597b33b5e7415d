package api

import (
	"context"
	"errors"
	"net/url"

	"github.com/google/uuid"

	"github.com/berthregistry/berth/internal/api/apigen"
	"github.com/berthregistry/berth/internal/api/problem"
	"github.com/berthregistry/berth/internal/auth"
	"github.com/berthregistry/berth/internal/database"
	"github.com/berthregistry/berth/internal/projects"
	"github.com/berthregistry/berth/internal/rbac"
)

// ListProjects implements the operation listProjects.
func (a *API) ListProjects(ctx context.Context, request apigen.ListProjectsRequestObject) (apigen.ListProjectsResponseObject, error) {
	p, err := pageOf(request.Params.Limit, request.Params.Cursor)
	if err != nil {
		return nil, err
	}
	filter, query := projectFilter(request.Params.State, request.Params.Prefix)
	found, err := a.projects.List(ctx, callOf(ctx).user().ID, filter, p.request())
	if err != nil {
		return nil, err
	}
	found, link := cut(p, found, func(m projects.Membership) string { return m.Project.ID.String() }, query)
	items := each(found, func(m projects.Membership) apigen.Project { return projectOf(m.Project, m.Role) })
	return apigen.ListProjects200JSONResponse{
		Body: apigen.ProjectList{Items: items}, Headers: apigen.ListProjects200ResponseHeaders{Link: link},
	}, nil
}

func projectFilter(state *apigen.State, prefix *string) (projects.ListFilter, url.Values) {
	filter := projects.ListFilter{State: rbac.State(valueOf(state)), Prefix: valueOf(prefix)}
	query := url.Values{}
	if filter.State != "" {
		query.Set("state", string(filter.State))
	}
	if filter.Prefix != "" {
		query.Set("prefix", filter.Prefix)
	}
	return filter, query
}

// CreateProject implements the operation createProject.
func (a *API) CreateProject(ctx context.Context, request apigen.CreateProjectRequestObject) (apigen.CreateProjectResponseObject, error) {
	one, body := callOf(ctx), request.Body
	project, err := a.projects.Create(ctx, projects.NewProject{
		Slug: body.Slug, Visibility: rbac.Visibility(valueOf(body.Visibility)), Description: valueOf(body.Description),
		By: creator(one.user()), Guard: one.guard,
	})
	if err != nil {
		return nil, err
	}
	return apigen.CreateProject201JSONResponse{
		Body: projectOf(project, rbac.RoleOwner),
		Headers: apigen.CreateProject201ResponseHeaders{
			ETag: etag(project.Version), Location: optional(projectPath(project)),
		},
	}, nil
}

func creator(user auth.Principal) projects.Creator {
	return projects.Creator{Principal: user.String(), UserID: user.ID, AccountID: user.AccountID}
}

func projectPath(p projects.Project) string { return Prefix + "/projects/" + p.ID.String() }

// GetProject implements the operation getProject.
func (a *API) GetProject(ctx context.Context, _ apigen.GetProjectRequestObject) (apigen.GetProjectResponseObject, error) {
	one := callOf(ctx)
	project, err := a.projects.Get(ctx, one.project.ID.String())
	if err != nil {
		return nil, err
	}
	return apigen.GetProject200JSONResponse{
		Body: projectOf(project, one.question.Role), Headers: apigen.GetProject200ResponseHeaders{ETag: etag(project.Version)},
	}, nil
}

// UpdateProject implements the operation updateProject.
func (a *API) UpdateProject(ctx context.Context, request apigen.UpdateProjectRequestObject) (apigen.UpdateProjectResponseObject, error) {
	version, err := ifMatch(request.Params.IfMatch)
	if err != nil {
		return nil, err
	}
	one, body := callOf(ctx), request.Body
	change := projects.Change{Slug: body.Slug, Visibility: (*rbac.Visibility)(body.Visibility), Description: body.Description}
	project, err := a.projects.Change(ctx, one.guard, one.project.ID, change, version)
	if err != nil {
		return nil, err
	}
	return apigen.UpdateProject200JSONResponse{
		Body: projectOf(project, one.question.Role), Headers: apigen.UpdateProject200ResponseHeaders{ETag: etag(project.Version)},
	}, nil
}

// DeleteProject implements the operation deleteProject.
func (a *API) DeleteProject(ctx context.Context, request apigen.DeleteProjectRequestObject) (apigen.DeleteProjectResponseObject, error) {
	version, err := ifMatch(request.Params.IfMatch)
	if err != nil {
		return nil, err
	}
	one := callOf(ctx)
	project, err := a.projects.Delete(ctx, one.guard, one.project.ID, version)
	if err != nil {
		return nil, err
	}
	return apigen.DeleteProject200JSONResponse{
		Body: projectOf(project, one.question.Role), Headers: apigen.DeleteProject200ResponseHeaders{ETag: etag(project.Version)},
	}, nil
}

// RestoreProject implements the operation restoreProject.
func (a *API) RestoreProject(ctx context.Context, request apigen.RestoreProjectRequestObject) (apigen.RestoreProjectResponseObject, error) {
	one := callOf(ctx)
	project, err := a.projects.Restore(ctx, one.guard, one.project.ID, valueOf(request.Body.Slug))
	if err != nil {
		return nil, err
	}
	return apigen.RestoreProject200JSONResponse{
		Body: projectOf(project, one.question.Role), Headers: apigen.RestoreProject200ResponseHeaders{ETag: etag(project.Version)},
	}, nil
}

// ClaimProject implements the operation claimProject.
func (a *API) ClaimProject(ctx context.Context, request apigen.ClaimProjectRequestObject) (apigen.ClaimProjectResponseObject, error) {
	one := callOf(ctx)
	owner, err := a.claimer(ctx, one, valueOf(request.Body.Owner))
	if err != nil {
		return nil, err
	}
	claimed, err := a.projects.Claim(ctx, a.claimGuard(one, request.Body.Owner), projects.ClaimRequest{
		ProjectID: one.project.ID, Owner: owner, DiscardContent: valueOf(request.Body.DiscardContent),
	})
	if err != nil {
		return nil, err
	}
	role := rbac.RoleNone
	if owner.UserID == one.user().ID {
		role = rbac.RoleOwner
	}
	return apigen.ClaimProject200JSONResponse{
		Project: projectOf(claimed.Project, role),
		Pushed: each(claimed.Pushed, func(p projects.PushedRepository) apigen.PushedRepository {
			return apigen.PushedRepository{Path: p.Path, Tags: p.Tags, Manifests: p.Manifests, Bytes: p.Bytes}
		}),
	}, nil
}

// claimGuard repeats, besides the call's decision, that the caller is an admin where claimer relied on that.
func (a *API) claimGuard(one *call, owner *string) projects.Guard {
	if owner == nil && a.claimMode != ClaimAdmin {
		return one.guard
	}
	return projects.GuardFunc(func(b *database.Batch) {
		one.guard.Require(b)
		auth.RequireAdmin(b, one.user().ID)
	})
}

// claimer is who becomes the owner: the caller, or whom an admin names.
func (a *API) claimer(ctx context.Context, one *call, email string) (projects.Creator, error) {
	switch {
	case email == "" && (a.claimMode != ClaimAdmin || one.user().Admin):
		return creator(one.user()), nil
	case email == "":
		return projects.Creator{}, problem.Forbidden.With("Only server admins claim projects here.")
	case !one.user().Admin:
		return projects.Creator{}, problem.Forbidden.With("Only server admins name the owner.")
	}
	owner, err := a.auth.UserByEmail(ctx, email)
	if errors.Is(err, auth.ErrNotFound) {
		return projects.Creator{}, invalidFields(problem.Field{Pointer: "/owner", Detail: "is not the address of a user"}).WithCause(err)
	}
	return projects.Creator{Principal: userPrincipal(owner.ID), UserID: owner.ID, AccountID: owner.AccountID}, err
}

func userPrincipal(id uuid.UUID) string { return auth.Principal{Kind: rbac.KindUser, ID: id}.String() }
