package api

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"github.com/gin-gonic/gin"

	"github.com/berthregistry/berth/internal/api/problem"
	"github.com/berthregistry/berth/internal/auth"
	"github.com/berthregistry/berth/internal/ratelimit"
)

// limit counts a call, for its user if it has one and for its address if not, and then refuses it with what is wrong
// with it otherwise; nil: nothing. One that could not be looked at is not counted.
func (a *API) limit(c *gin.Context, wrong error) {
	if wrong != nil && problemOf(wrong).Status >= http.StatusInternalServerError {
		refuse(c, wrong)
		return
	}
	ctx := c.Request.Context()
	if err := a.limits.Take(ctx, ratelimit.API, limitKey(ctx, callOf(ctx).credential)); err != nil {
		refuse(c, err)
		return
	}
	if wrong != nil {
		refuse(c, wrong)
	}
}

// limitKey names who has the bucket of a credential. Robots and runners may do nothing here, and are addresses.
func limitKey(ctx context.Context, credential auth.Credential) ratelimit.Key {
	if !mayCall(credential) {
		return ratelimit.AddressOf(ctx)
	}
	return ratelimit.User(credential.Principal.ID)
}

// verifyPassword is a log-in with a password: too many that fail, to one account or from one address, keep more from
// being looked at, which takes memory and time.
func (a *API) verifyPassword(ctx context.Context, email, password string) (auth.User, error) {
	var user auth.User
	err := a.guess(ctx, email, func() (err error) {
		user, err = a.auth.VerifyPassword(ctx, email, password)
		return err
	})
	return user, err
}

// guess runs what a password of an account can be guessed by. Accounts are found whatever the case of their address is.
func (a *API) guess(ctx context.Context, email string, verify func() error) error {
	login, err := a.limits.BeginLogin(ctx, ratelimit.Account(strings.ToLower(email)))
	if err != nil {
		return err //nolint:wrapcheck // says what it is about
	}
	err = verify()
	if !errors.Is(err, auth.ErrInvalidCredential) {
		login.Succeeded()
	}
	return err
}

// verifyToken is a log-in with a registry token.
func (a *API) verifyToken(ctx context.Context, secret string) (auth.Credential, error) {
	account := ratelimit.Account(secret)
	if err := a.limits.CheckLogin(ctx, account); err != nil {
		return auth.Credential{}, err //nolint:wrapcheck // says what it is about
	}
	credential, err := a.auth.VerifySecret(ctx, secret)
	if errors.Is(err, auth.ErrInvalidCredential) {
		a.limits.FailedLogin(ctx, account)
	}
	return credential, err
}

// tooMany answers a call over a limit.
func tooMany(limited *ratelimit.Error) *problem.Error {
	seconds, unit := limited.RetryAfter(), "seconds"
	if seconds == "1" {
		unit = "second"
	}
	return problem.TooManyRequests.With("Wait for %s %s.", seconds, unit).WithHeader("Retry-After", seconds).WithCause(limited)
}
