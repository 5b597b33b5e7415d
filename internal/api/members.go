package api

import (
	"context"

	"github.com/berthregistry/berth/internal/api/apigen"
	"github.com/berthregistry/berth/internal/projects"
	"github.com/berthregistry/berth/internal/rbac"
)

// ListMembers implements the operation listMembers.
func (a *API) ListMembers(ctx context.Context, request apigen.ListMembersRequestObject) (apigen.ListMembersResponseObject, error) {
	p, err := pageOf(request.Params.Limit, request.Params.Cursor)
	if err != nil {
		return nil, err
	}
	members, err := a.projects.Members(ctx, callOf(ctx).project.ID, p.request())
	if err != nil {
		return nil, err
	}
	members, link := cut(p, members, func(m projects.Member) string { return m.UserID.String() }, nil)
	return apigen.ListMembers200JSONResponse{
		Body: apigen.MemberList{Items: each(members, memberOf)}, Headers: apigen.ListMembers200ResponseHeaders{Link: link},
	}, nil
}

// AddMember implements the operation addMember.
func (a *API) AddMember(ctx context.Context, request apigen.AddMemberRequestObject) (apigen.AddMemberResponseObject, error) {
	one := callOf(ctx)
	member, err := a.projects.AddMember(ctx, one.guard, one.project.ID, request.Body.Email, rbac.Role(request.Body.Role), one.user().String())
	if err != nil {
		return nil, err
	}
	return apigen.AddMember201JSONResponse{
		Body: memberOf(member),
		Headers: apigen.AddMember201ResponseHeaders{
			ETag: etag(member.Version), Location: optional(projectPath(one.project) + "/members/" + member.UserID.String()),
		},
	}, nil
}

// GetMember implements the operation getMember.
func (a *API) GetMember(ctx context.Context, request apigen.GetMemberRequestObject) (apigen.GetMemberResponseObject, error) {
	member, err := a.projects.Member(ctx, callOf(ctx).project.ID, request.User)
	if err != nil {
		return nil, noThing(err)
	}
	return apigen.GetMember200JSONResponse{
		Body: memberOf(member), Headers: apigen.GetMember200ResponseHeaders{ETag: etag(member.Version)},
	}, nil
}

// UpdateMember implements the operation updateMember.
func (a *API) UpdateMember(ctx context.Context, request apigen.UpdateMemberRequestObject) (apigen.UpdateMemberResponseObject, error) {
	version, err := ifMatch(request.Params.IfMatch)
	if err != nil {
		return nil, err
	}
	one := callOf(ctx)
	member, err := a.projects.ChangeMember(ctx, one.guard, one.project.ID, request.User, rbac.Role(request.Body.Role), version)
	if err != nil {
		return nil, noThing(err)
	}
	return apigen.UpdateMember200JSONResponse{
		Body: memberOf(member), Headers: apigen.UpdateMember200ResponseHeaders{ETag: etag(member.Version)},
	}, nil
}

// RemoveMember implements the operation removeMember.
func (a *API) RemoveMember(ctx context.Context, request apigen.RemoveMemberRequestObject) (apigen.RemoveMemberResponseObject, error) {
	one := callOf(ctx)
	return apigen.RemoveMember204Response{}, noThing(a.projects.RemoveMember(ctx, one.guard, one.project.ID, request.User))
}
