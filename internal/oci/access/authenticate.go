package access

import (
	"errors"
	"net/http"
	"slices"
	"strings"

	"github.com/berthregistry/berth/internal/auth"
	"github.com/berthregistry/berth/internal/oci/ocierr"
	"github.com/berthregistry/berth/internal/rbac"
)

// MaxAuthorizationLength is the longest Authorization header that is looked at. The longest bearer token fits in.
const MaxAuthorizationLength = 17 << 10

// Identity is who sent a request, and what the bearer token, if that was sent, is limited to.
type Identity struct {
	Credential auth.Credential // its current state, also for a bearer token
	Bearer     bool
	Access     []auth.Access // of a bearer token; nothing else may be done with it
	Presented  bool          // an Authorization header was sent and accepted; without one the caller is challenged
}

// Covers tells whether the token's scope takes in an action on a repository. Only a bearer token has a scope, and the
// scope names repositories as they were asked for.
func (id Identity) Covers(repo Repo, action rbac.Action) bool {
	if !id.Bearer {
		return true
	}
	return id.hasScope(typeRepository, repo.Name(), string(action))
}

func (id Identity) hasScope(kind, name, action string) bool {
	for i := range id.Access {
		if granted := &id.Access[i]; granted.Type == kind && granted.Name == name && slices.Contains(granted.Actions, action) {
			return true
		}
	}
	return false
}

// anonymous tells whether nobody signed in. An anonymous bearer token is anonymous too.
func (id Identity) anonymous() bool {
	return id.Credential.Principal.Kind == rbac.KindAnonymous
}

// Identify finds out who sent a request: nobody (no header), the holder of a registry token (Basic, with any user name),
// or that of a bearer token.
//
// Errors, which Refuse makes an answer of: a credential that is malformed, unknown, expired or revoked, or more than one;
// *ratelimit.Error after too many log-ins that failed; the context's and the database's.
func (a *Access) Identify(r *http.Request) (Identity, error) {
	header := r.Header["Authorization"]
	if len(header) == 0 {
		return anonymousIdentity(), nil
	}
	return a.identify(r, header)
}

// Refuse is the answer to an error of Identify or Limit, always an *ocierr.Error: 401 invalid_token for a credential that
// is no good, with a challenge that asks for the scopes in need; 429; 503 while the database does not answer. It is apart
// from them because a challenge is more work than all of a 429.
func (a *Access) Refuse(err error, need ...Scope) error {
	if isRefused(err) {
		return a.invalidToken(err, need...)
	}
	return ocierr.From(err)
}

// errHeader is for an Authorization header that no credential can be read from.
var errHeader = errors.New("access: unusable Authorization header")

// isRefused tells a credential that is no good from a failure to look at it.
func isRefused(err error) bool {
	return errors.Is(err, errHeader) || errors.Is(err, auth.ErrInvalidCredential) || errors.Is(err, auth.ErrInvalidToken)
}

func (a *Access) identify(r *http.Request, header []string) (Identity, error) {
	if len(header) != 1 || len(header[0]) > MaxAuthorizationLength {
		return Identity{}, errHeader
	}
	scheme, value, _ := strings.Cut(header[0], " ")
	switch strings.ToLower(scheme) {
	case "basic":
		return a.basic(r)
	case "bearer":
		return a.bearer(r, strings.TrimLeft(value, " "))
	default:
		return Identity{}, errHeader
	}
}

// basic reads a registry token; the user name has no meaning. Passwords are never taken here.
func (a *Access) basic(r *http.Request) (Identity, error) {
	_, secret, ok := r.BasicAuth()
	if !ok || secret == "" {
		return Identity{}, errHeader
	}
	credential, err := a.verifySecret(r.Context(), secret)
	if err != nil {
		return Identity{}, err
	}
	return Identity{Credential: credential, Presented: true}, nil
}

func (a *Access) bearer(r *http.Request, raw string) (Identity, error) {
	if raw == "" {
		return Identity{}, errHeader
	}
	claims, err := a.auth.VerifyJWT(r.Context(), raw)
	if err != nil {
		return Identity{}, err
	}
	return Identity{Credential: claims.Credential, Bearer: true, Access: claims.Access, Presented: true}, nil
}

func anonymousIdentity() Identity {
	return Identity{Credential: auth.Credential{Principal: auth.Anonymous()}}
}
