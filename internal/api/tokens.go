package api

import (
	"context"
	"time"

	"github.com/google/uuid"

	"github.com/berthregistry/berth/internal/api/apigen"
	"github.com/berthregistry/berth/internal/api/problem"
	"github.com/berthregistry/berth/internal/auth"
)

// ListTokens implements the operation listTokens.
func (a *API) ListTokens(ctx context.Context, request apigen.ListTokensRequestObject) (apigen.ListTokensResponseObject, error) {
	p, err := pageOf(request.Params.Limit, request.Params.Cursor)
	if err != nil {
		return nil, err
	}
	tokens, err := a.auth.Tokens(ctx, callOf(ctx).user().ID, p.request())
	if err != nil {
		return nil, err
	}
	tokens, link := cut(p, tokens, tokenKey, nil)
	return apigen.ListTokens200JSONResponse{
		Body: apigen.TokenList{Items: each(tokens, tokenOf)}, Headers: apigen.ListTokens200ResponseHeaders{Link: link},
	}, nil
}

func tokenKey(t auth.Token) string { return t.ID.String() }

// CreateToken implements the operation createToken.
func (a *API) CreateToken(ctx context.Context, request apigen.CreateTokenRequestObject) (apigen.CreateTokenResponseObject, error) {
	one := callOf(ctx)
	expires, err := expiry(request.Body.ExpiresAt)
	if err != nil {
		return nil, err
	}
	secret, token, err := a.auth.CreateToken(ctx, auth.NewToken{
		UserID: one.user().ID, Name: request.Body.Name, Grants: grantsFrom(request.Body.Grants),
		ExpiresAt: expires, Guard: one.guard.Require,
	})
	if err != nil {
		return nil, err
	}
	return apigen.CreateToken201JSONResponse{
		Body:    apigen.CreatedToken{Secret: secret, Token: tokenOf(token)},
		Headers: apigen.CreateToken201ResponseHeaders{Location: optional(Prefix + "/tokens/" + token.ID.String())},
	}, nil
}

// live gives a token that is not revoked: a revoked one is gone, as it is from the lists.
func (a *API) live(ctx context.Context, owner auth.Owner, id uuid.UUID) (auth.Token, error) {
	token, err := a.auth.Token(ctx, owner, id)
	if err == nil && !token.RevokedAt.IsZero() {
		err = noSuchThing
	}
	return token, err
}

// expiry reads when a secret ends. An instant that nobody meant, such as the year 1, would otherwise mean never.
func expiry(at *time.Time) (time.Time, error) {
	if at != nil && at.Before(time.Unix(0, 0)) {
		return time.Time{}, invalidFields(problem.Field{Pointer: "/expires_at", Detail: "is in the past"})
	}
	return valueOf(at), nil
}

// GetToken implements the operation getToken.
func (a *API) GetToken(ctx context.Context, request apigen.GetTokenRequestObject) (apigen.GetTokenResponseObject, error) {
	token, err := a.live(ctx, auth.ByUser(callOf(ctx).user().ID), request.Token)
	if err != nil {
		return nil, err
	}
	return apigen.GetToken200JSONResponse(tokenOf(token)), nil
}

// RevokeToken implements the operation revokeToken.
func (a *API) RevokeToken(ctx context.Context, request apigen.RevokeTokenRequestObject) (apigen.RevokeTokenResponseObject, error) {
	one := callOf(ctx)
	return apigen.RevokeToken204Response{}, a.auth.Revoke(ctx, one.guard.Require, auth.ByUser(one.user().ID), request.Token)
}
