package access

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/berthregistry/berth/internal/audit"
	"github.com/berthregistry/berth/internal/auth"
	"github.com/berthregistry/berth/internal/oci/ocierr"
	"github.com/berthregistry/berth/internal/ratelimit"
	"github.com/berthregistry/berth/internal/rbac"
	"github.com/berthregistry/berth/internal/telemetry/reqlog"
)

// TokenPath is where the token endpoint is mounted.
const TokenPath = "/auth/token"

// errService is for a token request that names another registry.
var errService = errors.New("access: token request for another service")

// tokenResponse is the answer of the token endpoint. Clients read token or access_token.
type tokenResponse struct {
	Token       string `json:"token"`
	AccessToken string `json:"access_token"`
	TokenType   string `json:"token_type"`
	ExpiresIn   int64  `json:"expires_in"` // seconds
	IssuedAt    string `json:"issued_at"`  // RFC 3339
	Scope       string `json:"scope"`      // what was granted of what was asked
}

// Mount adds the token endpoint to a router: GET as in the token protocol, POST as in its OAuth 2.0 variant.
func (a *Access) Mount(r gin.IRouter) {
	r.Any(TokenPath, a.serve)
}

// serve notes the client's address, as far as the server believes it, for the limits.
func (a *Access) serve(c *gin.Context) {
	a.serveToken(c.Writer, c.Request.WithContext(ratelimit.WithAddress(c.Request.Context(), c.ClientIP())))
}

func (a *Access) serveToken(w http.ResponseWriter, r *http.Request) {
	switch r.Method {
	case http.MethodGet:
		a.getToken(w, r)
	case http.MethodPost:
		a.postToken(w, r)
	default:
		ocierr.Write(w, r, ocierr.Unsupported.WithHeader("Allow", "GET, POST"))
	}
}

// noteRefusal keeps for the access log why there was no token: the answer tells less. A log-in that failed is noted for the
// audit log as well.
func (a *Access) noteRefusal(r *http.Request, status int, cause error) {
	ctx := r.Context()
	if status >= http.StatusInternalServerError {
		reqlog.Fail(ctx, cause)
		return
	}
	reqlog.Set(ctx, reqlog.Denied, cause.Error())
	if !isRefused(cause) {
		return
	}
	origin := auth.Credential{}.Origin()
	origin.RemoteIP, origin.UserAgent, origin.RequestID = ratelimit.AddressText(ctx), r.UserAgent(), reqlog.ID(ctx)
	a.audit.Refused(audit.Refusal{Origin: origin, Action: audit.BearerIssue, Reason: cause.Error()})
}

// issue makes a token that carries as much of the scopes as the policy allows now.
func (a *Access) issue(ctx context.Context, credential auth.Credential, service string, scopes []string) (tokenResponse, error) {
	reqlog.Set(ctx, reqlog.Principal, credential.Principal.String())
	reqlog.SetPrincipalKind(ctx, rbac.PrincipalKind(credential.Principal.Kind, credential.Principal.Admin))
	if service != "" && service != a.service {
		return tokenResponse{}, errService
	}
	asked, err := ParseScopes(scopes...)
	if err != nil {
		return tokenResponse{}, err
	}
	granted, err := a.grant(ctx, credential, asked)
	if err != nil {
		return tokenResponse{}, err
	}
	raw, issued, expires, err := a.auth.IssueJWT(ctx, credential, accessOf(granted))
	if errors.Is(err, auth.ErrInvalidInput) {
		return tokenResponse{}, ErrScopeLimit
	}
	if err != nil {
		return tokenResponse{}, err
	}
	return tokenResponse{
		Token:       raw,
		AccessToken: raw,
		TokenType:   "Bearer",
		ExpiresIn:   int64(expires.Sub(issued) / time.Second),
		IssuedAt:    issued.UTC().Format(time.RFC3339),
		Scope:       strings.Join(scopeStrings(granted), " "),
	}, nil
}

func accessOf(scopes []Scope) []auth.Access {
	access := make([]auth.Access, len(scopes))
	for i, scope := range scopes {
		access[i] = auth.Access(scope)
	}
	return access
}

// writeJSON answers with something secret, or with an error about it.
func writeJSON(w http.ResponseWriter, status int, value any) {
	body, err := json.Marshal(value)
	if err != nil { // the values are structs of strings and numbers
		status, body = http.StatusInternalServerError, nil
	}
	header := w.Header()
	header.Set("Content-Type", "application/json")
	header.Set("Content-Length", strconv.Itoa(len(body)))
	header.Set("Cache-Control", "no-store")
	header.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, _ = w.Write(body) // the client may be gone
}
