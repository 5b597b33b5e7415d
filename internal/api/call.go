package api

import (
	"context"
	"net/http"
	"net/url"
	"strings"

	"github.com/gin-gonic/gin"

	"github.com/berthregistry/berth/internal/api/problem"
	"github.com/berthregistry/berth/internal/auth"
	"github.com/berthregistry/berth/internal/projects"
	"github.com/berthregistry/berth/internal/ratelimit"
	"github.com/berthregistry/berth/internal/rbac"
	"github.com/berthregistry/berth/internal/telemetry/reqlog"
)

// call is what is known about a request on its way to the handler.
type call struct {
	op         *operation
	credential auth.Credential
	secret     string // that the caller showed; never logged or stored
	body       []byte
	remoteIP   string
	userAgent  string
	failure    error // why it was refused
	hidden     bool  // it was refused as if there were no such project

	// Of operations with a project in their path:
	project  projects.Project // as it is now
	question rbac.Question    // with the caller's role
	guard    projects.Guard   // repeats the decision in the transaction of a change; never nil
}

type callKey struct{}

func begin(c *gin.Context, op *operation, body []byte) {
	reqlog.Set(c.Request.Context(), reqlog.Route, op.id)
	one := &call{op: op, body: body, remoteIP: c.ClientIP(), userAgent: c.Request.UserAgent(), guard: noGuard{}}
	ctx := ratelimit.WithAddress(c.Request.Context(), one.remoteIP)
	c.Request = c.Request.WithContext(context.WithValue(ctx, callKey{}, one))
}

// callOf returns the call that a handler answers. Only requests that passed enter have one.
func callOf(ctx context.Context) *call {
	one, ok := ctx.Value(callKey{}).(*call)
	if !ok {
		panic("api: a handler was reached without a call")
	}
	return one
}

// user is the caller, who is one where the rule is not open.
func (c *call) user() auth.Principal { return c.credential.Principal }

// unescapeParams unescapes path parameters: the router keeps paths as they were sent. What no database takes for text
// becomes what no name has.
func unescapeParams(params gin.Params) error {
	for i := range params {
		text, err := url.PathUnescape(params[i].Value)
		if err != nil {
			return problem.BadRequest.With("The path is escaped wrongly.").WithCause(err)
		}
		params[i].Value = strings.ReplaceAll(strings.ToValidUTF8(text, "\uFFFD"), "\x00", "\uFFFD")
	}
	return nil
}

// authenticate finds out who calls, and counts the call for them. Without a valid credential only open operations go on.
func (a *API) authenticate(c *gin.Context) {
	one := callOf(c.Request.Context())
	if one.op.rule == ruleOpen {
		beginChange(c)
		a.limit(c, nil)
		return
	}
	secret, err := bearer(c.Request.Header["Authorization"])
	if err != nil {
		refuse(c, err)
		return
	}
	credential, err := a.auth.VerifyAPI(c.Request.Context(), secret)
	if err != nil {
		a.limit(c, a.unauthenticated(c.Request.Context(), secret, err))
		return
	}
	one.credential, one.secret = credential, secret
	reqlog.Set(c.Request.Context(), reqlog.Principal, credential.Principal.String())
	reqlog.SetPrincipalKind(c.Request.Context(), rbac.PrincipalKind(credential.Principal.Kind, credential.Principal.Admin))
	if !mayCall(credential) {
		a.limit(c, notForThis)
		return
	}
	beginChange(c)
	a.limit(c, nil)
}

// challenge is what WWW-Authenticate says to who is not signed in.
const challenge = `Bearer realm="berth"`

var (
	notSignedIn = problem.Unauthenticated.WithHeader("WWW-Authenticate", challenge)
	notForThis  = problem.Forbidden.With("The product API takes sessions, and personal tokens without grants.")
)

// unauthenticated answers a credential that was not accepted. A valid bearer token of the registry is one for something
// else, whatever it was issued for.
func (a *API) unauthenticated(ctx context.Context, secret string, err error) error {
	answer := problemOf(err)
	if answer.Status != http.StatusUnauthorized {
		return answer
	}
	if strings.Count(secret, ".") == 2 {
		if _, jwtErr := a.auth.VerifyJWT(ctx, secret); jwtErr == nil {
			return notForThis
		}
	}
	return notSignedIn.With("The credential is not valid, or not any more.").WithCause(err)
}

// maxCredential bounds the Authorization header.
const maxCredential = 4 << 10

func bearer(header []string) (string, error) {
	if len(header) == 0 {
		return "", notSignedIn.With("Send a session or a personal token as Authorization: Bearer.")
	}
	scheme, secret, _ := strings.Cut(header[0], " ")
	if len(header) > 1 || len(header[0]) > maxCredential || !strings.EqualFold(scheme, "Bearer") || secret == "" {
		return "", notSignedIn.With("Send one Authorization header: Bearer, and a session or a personal token.")
	}
	return strings.TrimLeft(secret, " "), nil
}

// mayCall tells whether a credential opens the product API: robots and runners are for the registry, and so is a token
// that may do less than its owner.
func mayCall(credential auth.Credential) bool {
	return credential.Principal.Kind == rbac.KindUser && credential.Grants == nil
}
