package access

import (
	"context"
	"errors"

	"github.com/berthregistry/berth/internal/auth"
	"github.com/berthregistry/berth/internal/ratelimit"
	"github.com/berthregistry/berth/internal/rbac"
)

// Limit counts a request for whoever made it, after Identify has told who that is or has refused the credential: a
// request with one that is no good counts for its address. A request without a credential counts for nobody, as its
// answer is a challenge.
//
// Errors: *ratelimit.Error over the limit; else that of Identify, as it is.
func (a *Access) Limit(ctx context.Context, class ratelimit.Class, id Identity, authErr error) error {
	if authErr == nil && !id.Presented {
		return nil
	}
	return a.take(ctx, class, id.Credential, authErr)
}

// limitToken counts a token request, for the address if its credential was refused. Errors: *ratelimit.Error; else that
// of looking at the credential, as it is.
func (a *Access) limitToken(ctx context.Context, credential auth.Credential, authErr error) error {
	return a.take(ctx, ratelimit.Token, credential, authErr)
}

// take counts what was looked at: not what failed to be, or was over the limit of log-ins already.
func (a *Access) take(ctx context.Context, class ratelimit.Class, credential auth.Credential, authErr error) error {
	if authErr != nil && !isRefused(authErr) {
		return authErr
	}
	if err := a.limits.Take(ctx, class, limitKey(ctx, credential)); err != nil {
		return err //nolint:wrapcheck // says what it is about
	}
	return authErr
}

// limitKey names who has the bucket of a credential.
func limitKey(ctx context.Context, credential auth.Credential) ratelimit.Key {
	switch credential.Principal.Kind {
	case rbac.KindUser:
		return ratelimit.User(credential.Principal.ID)
	case rbac.KindRobot:
		return ratelimit.Project(credential.ProjectID)
	case rbac.KindRunner:
		return ratelimit.Runner(credential.TokenID)
	default:
		return ratelimit.AddressOf(ctx)
	}
}

// verifySecret is a log-in with a registry token: too many that fail, with one secret or from one address, keep more
// from being looked at.
//
// Errors: those of auth.Service.VerifySecret, and *ratelimit.Error.
func (a *Access) verifySecret(ctx context.Context, secret string) (auth.Credential, error) {
	account := ratelimit.Account(secret)
	if err := a.limits.CheckLogin(ctx, account); err != nil {
		return auth.Credential{}, err
	}
	credential, err := a.auth.VerifySecret(ctx, secret)
	if errors.Is(err, auth.ErrInvalidCredential) {
		a.limits.FailedLogin(ctx, account)
	}
	return credential, err
}
