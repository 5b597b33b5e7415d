package api

import (
	"context"
	"errors"

	"github.com/google/uuid"

	"github.com/berthregistry/berth/internal/api/apigen"
	"github.com/berthregistry/berth/internal/api/problem"
	"github.com/berthregistry/berth/internal/auth"
)

// Login implements the operation login.
func (a *API) Login(ctx context.Context, request apigen.LoginRequestObject) (apigen.LoginResponseObject, error) {
	user, tokenID, err := a.identify(ctx, *request.Body)
	if err != nil {
		return nil, err
	}
	one := callOf(ctx)
	secret, session, err := a.auth.OpenSession(ctx, auth.NewSession{
		UserID: user.ID, UserVersion: user.Version, TokenID: tokenID, UserAgent: one.userAgent, RemoteIP: one.remoteIP,
	})
	if err != nil {
		return nil, err
	}
	one.credential.SessionID = session.ID
	return apigen.Login201JSONResponse{Secret: secret, Session: sessionOf(session, one), User: userOf(user)}, nil
}

// identify finds the user who logs in, and the token if it was one.
func (a *API) identify(ctx context.Context, login apigen.LoginRequest) (auth.User, uuid.UUID, error) {
	switch {
	case login.Token != nil && login.Email == nil && login.Password == nil:
		return a.identifyToken(ctx, *login.Token)
	case login.Token == nil && login.Email != nil && login.Password != nil:
		user, err := a.verifyPassword(ctx, *login.Email, *login.Password)
		return user, uuid.Nil, err
	}
	return auth.User{}, uuid.Nil, invalidFields(problem.Field{Pointer: "/", Detail: "needs an e-mail address and a password, or a token"})
}

func (a *API) identifyToken(ctx context.Context, secret string) (auth.User, uuid.UUID, error) {
	credential, err := a.verifyToken(ctx, secret)
	if err != nil {
		return auth.User{}, uuid.Nil, err
	}
	if !mayCall(credential) {
		return auth.User{}, uuid.Nil, notSignedIn.With("Only a personal token without grants opens a session.")
	}
	user, err := a.auth.User(ctx, credential.Principal.ID)
	return user, credential.TokenID, err
}

// Logout implements the operation logout.
func (a *API) Logout(ctx context.Context, _ apigen.LogoutRequestObject) (apigen.LogoutResponseObject, error) {
	one := callOf(ctx)
	if one.credential.SessionID == uuid.Nil {
		return apigen.Logout204Response{}, nil
	}
	return apigen.Logout204Response{}, a.auth.EndSession(ctx, one.guard.Require, one.user().ID, one.credential.SessionID)
}

// SignUp implements the operation signUp.
func (a *API) SignUp(ctx context.Context, request apigen.SignUpRequestObject) (apigen.SignUpResponseObject, error) {
	body := request.Body
	user, err := a.auth.SignUp(ctx, auth.NewUser{Email: body.Email, Password: body.Password, Name: valueOf(body.Name)}, valueOf(body.Invite))
	if err != nil {
		return nil, err
	}
	return apigen.SignUp201JSONResponse(userOf(user)), nil
}

// GetMe implements the operation getMe.
func (a *API) GetMe(ctx context.Context, _ apigen.GetMeRequestObject) (apigen.GetMeResponseObject, error) {
	user, err := a.auth.User(ctx, callOf(ctx).user().ID)
	if err != nil {
		return nil, err
	}
	return apigen.GetMe200JSONResponse{Body: userOf(user), Headers: apigen.GetMe200ResponseHeaders{ETag: etag(user.Version)}}, nil
}

// UpdateMe implements the operation updateMe.
func (a *API) UpdateMe(ctx context.Context, request apigen.UpdateMeRequestObject) (apigen.UpdateMeResponseObject, error) {
	version, err := ifMatch(request.Params.IfMatch)
	if err != nil {
		return nil, err
	}
	one := callOf(ctx)
	user, err := a.auth.ChangeUser(ctx, one.guard.Require, one.user().ID, auth.UserChange{Name: request.Body.Name, By: one.user().ID}, version)
	if err != nil {
		return nil, err
	}
	return apigen.UpdateMe200JSONResponse{Body: userOf(user), Headers: apigen.UpdateMe200ResponseHeaders{ETag: etag(user.Version)}}, nil
}

// ChangePassword implements the operation changePassword.
func (a *API) ChangePassword(ctx context.Context, request apigen.ChangePasswordRequestObject) (apigen.ChangePasswordResponseObject, error) {
	one := callOf(ctx)
	err := a.guess(ctx, one.user().Name, func() error {
		return a.auth.ChangePassword(ctx, one.guard.Require, one.user().ID, request.Body.CurrentPassword, request.Body.NewPassword, one.credential.SessionID)
	})
	if errors.Is(err, auth.ErrInvalidCredential) {
		return nil, invalidFields(problem.Field{Pointer: "/current_password", Detail: "is not the current password"}).WithCause(err)
	}
	return apigen.ChangePassword204Response{}, err
}

// ListSessions implements the operation listSessions.
func (a *API) ListSessions(ctx context.Context, request apigen.ListSessionsRequestObject) (apigen.ListSessionsResponseObject, error) {
	p, err := pageOf(request.Params.Limit, request.Params.Cursor)
	if err != nil {
		return nil, err
	}
	one := callOf(ctx)
	sessions, err := a.auth.Sessions(ctx, one.user().ID, p.request())
	if err != nil {
		return nil, err
	}
	sessions, link := cut(p, sessions, func(s auth.Session) string { return s.ID.String() }, nil)
	items := each(sessions, func(s auth.Session) apigen.Session { return sessionOf(s, one) })
	return apigen.ListSessions200JSONResponse{
		Body: apigen.SessionList{Items: items}, Headers: apigen.ListSessions200ResponseHeaders{Link: link},
	}, nil
}

// EndSession implements the operation endSession.
func (a *API) EndSession(ctx context.Context, request apigen.EndSessionRequestObject) (apigen.EndSessionResponseObject, error) {
	one := callOf(ctx)
	return apigen.EndSession204Response{}, a.auth.EndSession(ctx, one.guard.Require, one.user().ID, request.Session)
}
