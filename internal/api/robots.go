package api

import (
	"context"
	"errors"
	"strings"

	"github.com/berthregistry/berth/internal/api/apigen"
	"github.com/berthregistry/berth/internal/auth"
	"github.com/berthregistry/berth/internal/rbac"
)

// ListRobots implements the operation listRobots.
func (a *API) ListRobots(ctx context.Context, request apigen.ListRobotsRequestObject) (apigen.ListRobotsResponseObject, error) {
	p, err := pageOf(request.Params.Limit, request.Params.Cursor)
	if err != nil {
		return nil, err
	}
	robots, err := a.auth.Robots(ctx, callOf(ctx).project.ID, p.request())
	if err != nil {
		return nil, err
	}
	robots, link := cut(p, robots, tokenKey, nil)
	return apigen.ListRobots200JSONResponse{
		Body: apigen.RobotList{Items: each(robots, robotOf)}, Headers: apigen.ListRobots200ResponseHeaders{Link: link},
	}, nil
}

// CreateRobot implements the operation createRobot.
func (a *API) CreateRobot(ctx context.Context, request apigen.CreateRobotRequestObject) (apigen.CreateRobotResponseObject, error) {
	one, body := callOf(ctx), request.Body
	expires, err := expiry(body.ExpiresAt)
	if err != nil {
		return nil, err
	}
	secret, robot, err := a.auth.CreateRobot(ctx, auth.NewRobot{
		ProjectID: one.project.ID, Name: body.Name, ExpiresAt: expires, CreatedBy: one.user().String(),
		Guard: one.guard.Require,
		Grants: &auth.Grants{
			Actions:      each(body.Actions, func(a apigen.RobotCreateActions) rbac.Action { return rbac.Action(a) }),
			Repositories: valueOf(body.Repositories),
			Tags:         valueOf(body.Tags),
		},
	})
	if input, ok := errors.AsType[*auth.InputError](err); ok { // the grants of a robot are fields of its own
		return nil, invalidInput(strings.TrimPrefix(input.Field, "grants."), input.Reason).WithCause(err)
	}
	if err != nil {
		return nil, err
	}
	return apigen.CreateRobot201JSONResponse{
		Body: apigen.CreatedRobot{Secret: secret, Robot: robotOf(robot)},
		Headers: apigen.CreateRobot201ResponseHeaders{
			Location: optional(projectPath(one.project) + "/robots/" + robot.ID.String()),
		},
	}, nil
}

// GetRobot implements the operation getRobot.
func (a *API) GetRobot(ctx context.Context, request apigen.GetRobotRequestObject) (apigen.GetRobotResponseObject, error) {
	robot, err := a.live(ctx, robotOwner(callOf(ctx)), request.Robot)
	if err != nil {
		return nil, err
	}
	return apigen.GetRobot200JSONResponse(robotOf(robot)), nil
}

// RevokeRobot implements the operation revokeRobot.
func (a *API) RevokeRobot(ctx context.Context, request apigen.RevokeRobotRequestObject) (apigen.RevokeRobotResponseObject, error) {
	one := callOf(ctx)
	return apigen.RevokeRobot204Response{}, a.auth.Revoke(ctx, one.guard.Require, robotOwner(one), request.Robot)
}

func robotOwner(one *call) auth.Owner { return auth.ByProject(auth.TokenRobot, one.project.ID) }
