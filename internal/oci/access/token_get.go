package access

import (
	"errors"
	"net/http"
	"net/url"

	"github.com/berthregistry/berth/internal/auth"
	"github.com/berthregistry/berth/internal/oci/ocierr"
)

// errQuery is for a query string that does not decode.
var errQuery = errors.New("access: malformed query")

// getToken serves the token protocol: Basic with a registry token, or nothing for an anonymous bearer token. The
// parameters account, client_id and offline_token change nothing: there are no refresh tokens, for the registry token
// itself is one.
func (a *Access) getToken(w http.ResponseWriter, r *http.Request) {
	response, err := a.tokenForQuery(r)
	if err != nil {
		answer := a.tokenError(err)
		a.noteRefusal(r, answer.Status, err)
		ocierr.Write(w, r, answer)
		return
	}
	writeJSON(w, http.StatusOK, response)
}

func (a *Access) tokenForQuery(r *http.Request) (tokenResponse, error) {
	credential, err := a.basicOrAnonymous(r)
	if err := a.limitToken(r.Context(), credential, err); err != nil {
		return tokenResponse{}, err
	}
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return tokenResponse{}, errQuery
	}
	return a.issue(r.Context(), credential, query.Get("service"), query["scope"])
}

// basicOrAnonymous does not take a bearer token: a grant must not be the root of the next one.
func (a *Access) basicOrAnonymous(r *http.Request) (auth.Credential, error) {
	header := r.Header["Authorization"]
	if len(header) == 0 {
		return anonymousIdentity().Credential, nil
	}
	id, err := a.identify(r, header)
	if err == nil && id.Bearer {
		err = errHeader
	}
	return id.Credential, err
}

// tokenError finds the answer for a failed GET.
func (a *Access) tokenError(err error) *ocierr.Error {
	switch {
	case isRefused(err):
		challenge := Challenge{Scheme: "Basic", Realm: a.service}
		return ocierr.Unauthorized.With("the token is malformed, unknown, expired or revoked").
			WithCause(err).WithHeader(headerChallenge, challenge.String())
	case errors.Is(err, errService), errors.Is(err, ErrScopeLimit), errors.Is(err, errQuery):
		return badRequest(a.explain(err))
	default:
		return ocierr.From(err)
	}
}

// badRequest is what the error codes of the specification have no name for.
func badRequest(message string) *ocierr.Error {
	bad := ocierr.Unsupported.With("%s", message)
	bad.Status = http.StatusBadRequest
	return bad
}

// explain words a mistake in a token request for people.
func (a *Access) explain(err error) string {
	switch {
	case errors.Is(err, errService):
		return "this is the token service of " + a.service
	case errors.Is(err, ErrScopeLimit):
		return "too many scopes in one request"
	default:
		return "the request is malformed"
	}
}
