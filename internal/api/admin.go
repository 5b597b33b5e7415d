package api

import (
	"context"
	"net/url"

	"github.com/berthregistry/berth/internal/api/apigen"
	"github.com/berthregistry/berth/internal/api/problem"
	"github.com/berthregistry/berth/internal/auth"
	"github.com/berthregistry/berth/internal/projects"
	"github.com/berthregistry/berth/internal/rbac"
)

// ListUsers implements the operation listUsers.
func (a *API) ListUsers(ctx context.Context, request apigen.ListUsersRequestObject) (apigen.ListUsersResponseObject, error) {
	p, err := pageOf(request.Params.Limit, request.Params.Cursor)
	if err != nil {
		return nil, err
	}
	prefix, query := valueOf(request.Params.Prefix), url.Values{}
	if prefix != "" {
		query.Set("prefix", prefix)
	}
	if !isText(prefix) {
		return nil, invalidFields(problem.Field{Pointer: "?prefix", Detail: "is not text"})
	}
	users, err := a.auth.Users(ctx, auth.UserFilter{Email: prefix}, p.request())
	if err != nil {
		return nil, err
	}
	users, link := cut(p, users, func(u auth.User) string { return u.ID.String() }, query)
	return apigen.ListUsers200JSONResponse{
		Body: apigen.UserList{Items: each(users, userOf)}, Headers: apigen.ListUsers200ResponseHeaders{Link: link},
	}, nil
}

// CreateUser implements the operation createUser.
func (a *API) CreateUser(ctx context.Context, request apigen.CreateUserRequestObject) (apigen.CreateUserResponseObject, error) {
	body := request.Body
	user, err := a.auth.CreateUser(ctx, auth.NewUser{
		Email: body.Email, Password: valueOf(body.Password), Name: valueOf(body.Name), Admin: valueOf(body.Admin),
		Guard: callOf(ctx).guard.Require,
	})
	if err != nil {
		return nil, err
	}
	return apigen.CreateUser201JSONResponse{
		Body: userOf(user),
		Headers: apigen.CreateUser201ResponseHeaders{
			ETag: etag(user.Version), Location: optional(Prefix + "/admin/users/" + user.ID.String()),
		},
	}, nil
}

// GetUser implements the operation getUser.
func (a *API) GetUser(ctx context.Context, request apigen.GetUserRequestObject) (apigen.GetUserResponseObject, error) {
	user, err := a.auth.User(ctx, request.User)
	if err != nil {
		return nil, err
	}
	return apigen.GetUser200JSONResponse{Body: userOf(user), Headers: apigen.GetUser200ResponseHeaders{ETag: etag(user.Version)}}, nil
}

// UpdateUser implements the operation updateUser.
func (a *API) UpdateUser(ctx context.Context, request apigen.UpdateUserRequestObject) (apigen.UpdateUserResponseObject, error) {
	version, err := ifMatch(request.Params.IfMatch)
	if err != nil {
		return nil, err
	}
	body := request.Body
	change := auth.UserChange{Name: body.Name, Admin: body.Admin, Locked: body.Locked, Password: body.Password, By: callOf(ctx).user().ID}
	user, err := a.auth.ChangeUser(ctx, callOf(ctx).guard.Require, request.User, change, version)
	if err != nil {
		return nil, err
	}
	return apigen.UpdateUser200JSONResponse{Body: userOf(user), Headers: apigen.UpdateUser200ResponseHeaders{ETag: etag(user.Version)}}, nil
}

// ListInvites implements the operation listInvites.
func (a *API) ListInvites(ctx context.Context, request apigen.ListInvitesRequestObject) (apigen.ListInvitesResponseObject, error) {
	p, err := pageOf(request.Params.Limit, request.Params.Cursor)
	if err != nil {
		return nil, err
	}
	invites, err := a.auth.Invites(ctx, p.request())
	if err != nil {
		return nil, err
	}
	invites, link := cut(p, invites, func(i auth.Invite) string { return i.ID.String() }, nil)
	return apigen.ListInvites200JSONResponse{
		Body: apigen.InviteList{Items: each(invites, inviteOf)}, Headers: apigen.ListInvites200ResponseHeaders{Link: link},
	}, nil
}

// CreateInvite implements the operation createInvite.
func (a *API) CreateInvite(ctx context.Context, request apigen.CreateInviteRequestObject) (apigen.CreateInviteResponseObject, error) {
	one := callOf(ctx)
	expires, err := expiry(request.Body.ExpiresAt)
	if err != nil {
		return nil, err
	}
	secret, invite, err := a.auth.CreateInvite(ctx, one.guard.Require, auth.NewInvite{
		Email: valueOf(request.Body.Email), ExpiresAt: expires, CreatedBy: one.user().String(),
	})
	if err != nil {
		return nil, err
	}
	return apigen.CreateInvite201JSONResponse{
		Body:    apigen.CreatedInvite{Secret: secret, Invite: inviteOf(invite)},
		Headers: apigen.CreateInvite201ResponseHeaders{Location: optional(Prefix + "/admin/invites/" + invite.ID.String())},
	}, nil
}

// RevokeInvite implements the operation revokeInvite.
func (a *API) RevokeInvite(ctx context.Context, request apigen.RevokeInviteRequestObject) (apigen.RevokeInviteResponseObject, error) {
	return apigen.RevokeInvite204Response{}, a.auth.RevokeInvite(ctx, callOf(ctx).guard.Require, request.Invite)
}

// ListAllProjects implements the operation listAllProjects.
func (a *API) ListAllProjects(ctx context.Context, request apigen.ListAllProjectsRequestObject) (apigen.ListAllProjectsResponseObject, error) {
	p, err := pageOf(request.Params.Limit, request.Params.Cursor)
	if err != nil {
		return nil, err
	}
	filter, query := projectFilter(request.Params.State, request.Params.Prefix)
	found, err := a.projects.ListAll(ctx, filter, p.request())
	if err != nil {
		return nil, err
	}
	found, link := cut(p, found, func(p projects.Project) string { return p.ID.String() }, query)
	items := each(found, func(p projects.Project) apigen.Project { return projectOf(p, rbac.RoleNone) })
	return apigen.ListAllProjects200JSONResponse{
		Body: apigen.ProjectList{Items: items}, Headers: apigen.ListAllProjects200ResponseHeaders{Link: link},
	}, nil
}

// SuspendProject implements the operation suspendProject.
func (a *API) SuspendProject(ctx context.Context, request apigen.SuspendProjectRequestObject) (apigen.SuspendProjectResponseObject, error) {
	one := callOf(ctx)
	project, err := a.projects.Suspend(ctx, one.guard, one.project.ID, request.Body.Reason)
	if err != nil {
		return nil, err
	}
	return apigen.SuspendProject200JSONResponse{
		Body: projectOf(project, one.question.Role), Headers: apigen.SuspendProject200ResponseHeaders{ETag: etag(project.Version)},
	}, nil
}

// ResumeProject implements the operation resumeProject.
func (a *API) ResumeProject(ctx context.Context, _ apigen.ResumeProjectRequestObject) (apigen.ResumeProjectResponseObject, error) {
	one := callOf(ctx)
	project, err := a.projects.Resume(ctx, one.guard, one.project.ID)
	if err != nil {
		return nil, err
	}
	return apigen.ResumeProject200JSONResponse{
		Body: projectOf(project, one.question.Role), Headers: apigen.ResumeProject200ResponseHeaders{ETag: etag(project.Version)},
	}, nil
}
