package access

import (
	"errors"
	"strings"

	"github.com/berthregistry/berth/internal/oci/ocierr"
)

const headerChallenge = "WWW-Authenticate"

// Why a request was refused, where no other error says it: causes of answers, for the log only.
var (
	errNoCredential = errors.New("access: no credential was sent")
	errScope        = errors.New("access: the token's scope does not take this in")
	errPolicy       = errors.New("access: the policy denies this")
	errSuspended    = errors.New("access: the project is suspended")
	errHidden       = errors.New("access: the policy denies this, and that there is such a project")
	errOtherPush    = errors.New("access: the decision permits no push to this repository")
)

// Refuses tells an answer that refuses something to a caller, for the audit log, from one that only asks for a credential or
// for a token of a wider scope, which clients then fetch, and from all other failures.
func Refuses(err error) bool {
	if errors.Is(err, errNoCredential) || errors.Is(err, errScope) {
		return false
	}
	return errors.Is(err, errHidden) || errors.Is(err, ocierr.Unauthorized) || errors.Is(err, ocierr.Denied)
}

// Challenge returns the value of a WWW-Authenticate header that sends a client to the token endpoint, for all of the
// scopes at once. Without scopes it asks for a token that only proves who the caller is.
func (a *Access) Challenge(scopes ...string) string {
	return a.challenge(strings.Join(scopes, " "), "", "")
}

func (a *Access) challenge(scope, code, description string) string {
	return Challenge{
		Scheme:           "Bearer",
		Realm:            a.realm,
		Service:          a.service,
		Scope:            scope,
		Error:            code,
		ErrorDescription: description,
	}.String()
}

// noToken answers a request without credentials, whether or not what it asks for exists.
func (a *Access) noToken(need ...Scope) error {
	return ocierr.Unauthorized.WithCause(errNoCredential).WithHeader(headerChallenge, a.Challenge(scopeStrings(need)...))
}

// invalidToken answers a credential that is no good. Which of the possible reasons it was is only logged.
func (a *Access) invalidToken(cause error, need ...Scope) error {
	const description = "the token is malformed, unknown, expired or revoked"
	scope := strings.Join(scopeStrings(need), " ")
	return ocierr.Unauthorized.With(description).WithCause(cause).
		WithHeader(headerChallenge, a.challenge(scope, errorInvalidToken, description))
}

// insufficientScope asks for a token with a wider scope. Whether the scope or the policy was the cause is only logged.
func (a *Access) insufficientScope(cause error, need ...Scope) error {
	const description = "the token does not allow this"
	scope := strings.Join(scopeStrings(need), " ")
	return ocierr.Unauthorized.With(description).WithCause(cause).
		WithHeader(headerChallenge, a.challenge(scope, errorInsufficientScope, description))
}
