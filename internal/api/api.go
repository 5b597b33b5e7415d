// Package api is the plane below /api: the product API, whose contract is web/openapi, and a page to read it.
//
// A request passes, in this order: the operation that the contract has for its route, the caller's credential, the
// operation's rule (x-berth-access), validation against the contract, the idempotency key; then the handler, which
// returns an answer of the contract's types or an error. One writer makes problem details of errors.
package api

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/berthregistry/berth/internal/api/apigen"
	"github.com/berthregistry/berth/internal/api/problem"
	"github.com/berthregistry/berth/internal/audit"
	"github.com/berthregistry/berth/internal/auth"
	"github.com/berthregistry/berth/internal/database"
	"github.com/berthregistry/berth/internal/events/webhooks"
	"github.com/berthregistry/berth/internal/limits"
	"github.com/berthregistry/berth/internal/oci/content"
	"github.com/berthregistry/berth/internal/oci/content/retention"
	"github.com/berthregistry/berth/internal/projects"
	"github.com/berthregistry/berth/internal/projects/quota"
	"github.com/berthregistry/berth/internal/projects/takedown"
	"github.com/berthregistry/berth/internal/ratelimit"
	"github.com/berthregistry/berth/internal/rbac"
)

// Prefix is the path below which all operations are.
const Prefix = "/api/v1"

// Values of Config.ClaimMode.
const (
	ClaimOpen  = "open"
	ClaimAdmin = "admin"
)

// Config is what an API works with. All fields are required but Counts, Quota, Limits, Audit, Decisions, Logger and Clock.
type Config struct {
	Auth     *auth.Service
	Projects *projects.Service
	Policy   *rbac.Enforcer
	Database *database.DB
	// Content is what was pushed, Retention what is kept of it.
	Content   *content.Store
	Retention *retention.Service
	// Collection gives back what nobody can reach any more.
	Collection Collection
	// Scrubbing reads stored content again.
	Scrubbing Scrubbing
	Webhooks  *webhooks.Service
	// ClaimMode says who claims projects: any user for themselves (ClaimOpen), or only admins (ClaimAdmin).
	ClaimMode string
	// Counts are how many things there may be, unless an admin gives a subject others.
	Counts limits.Server
	// Quota says how much projects may hold. Nil: any amount.
	Quota *quota.Quota
	// Limits says how often callers may ask. Nil: as often as they like.
	Limits *ratelimit.Limiter
	// Audit takes what is refused. Nil: nothing does.
	Audit *audit.Recorder
	// Decisions counts what is decided. Nil: nobody wants to know.
	Decisions *rbac.Tally
	// Logger takes what nobody is told. Nil: slog.Default.
	Logger *slog.Logger
	// Clock tells the time. Nil: time.Now.
	Clock func() time.Time
}

// API is the plane. Its methods are the handlers of the contract's operations.
type API struct {
	auth       *auth.Service
	projects   *projects.Service
	webhooks   *webhooks.Service
	policy     *rbac.Enforcer
	content    *content.Store
	retention  *retention.Service
	claimMode  string
	limits     *ratelimit.Limiter
	refusals   *audit.Recorder
	log        *audit.Log
	overrides  *limits.Store
	quota      *quota.Quota
	blocklist  *takedown.List
	collection Collection
	scrubbing  Scrubbing
	tally      *rbac.Tally
	logger     *slog.Logger
	now        func() time.Time
	operations operations
	answers    *answers
}

var _ apigen.StrictServerInterface = (*API)(nil)

// New makes an API. Errors: a contract that cannot be read, or with an operation that has no rule.
func New(cfg Config) (*API, error) {
	if cfg.Clock == nil {
		cfg.Clock = time.Now
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	operations, err := contract()
	if err != nil {
		return nil, fmt.Errorf("api: %w", err)
	}
	return &API{
		auth: cfg.Auth, projects: cfg.Projects, policy: cfg.Policy, claimMode: cfg.ClaimMode,
		content: cfg.Content, retention: cfg.Retention, collection: cfg.Collection, scrubbing: cfg.Scrubbing, logger: cfg.Logger, now: cfg.Clock,
		overrides: &limits.Store{DB: cfg.Database, Server: cfg.Counts, Clock: cfg.Clock}, quota: cfg.Quota,
		blocklist: &takedown.List{DB: cfg.Database, Clock: cfg.Clock}, tally: cfg.Decisions, webhooks: cfg.Webhooks,
		limits: cfg.Limits, refusals: cfg.Audit, log: audit.NewLog(cfg.Database), operations: operations,
		answers: &answers{db: cfg.Database, now: cfg.Clock},
	}, nil
}

// Mount adds the routes of the contract, the contract itself and the page that shows it.
func (a *API) Mount(r gin.IRouter) {
	mountDocs(r)
	group := r.Group(Prefix, a.noteRefusal, a.enter, a.authenticate, a.authorize, a.validate, a.idempotent)
	handlers := apigen.NewStrictHandlerWithOptions(a, []apigen.StrictMiddlewareFunc{detached}, apigen.StrictGinServerOptions{
		RequestErrorHandlerFunc:  unreadable,
		HandlerErrorFunc:         a.fail,
		ResponseErrorHandlerFunc: refuse,
	})
	apigen.RegisterHandlersWithOptions(group, handlers, apigen.GinServerOptions{
		ErrorHandler: func(c *gin.Context, err error, _ int) { unreadable(c, err) },
	})
}

// detached gives handlers, for a context, a copy that lives on: Gin uses its own again for the next request, while the
// database may still look whether the one that it was given is done.
func detached(handler apigen.StrictHandlerFunc, _ string) apigen.StrictHandlerFunc {
	return func(c *gin.Context, request any) (any, error) { return handler(c.Copy(), request) }
}

// fail ends a request whose handler returned err. If the project was not what this replica remembered, it looks again
// for the next one.
func (a *API) fail(c *gin.Context, err error) {
	if errors.Is(err, projects.ErrChanged) || errors.Is(err, projects.ErrRole) {
		a.projects.Forget(callOf(c.Request.Context()).project.ID)
	}
	refuse(c, err)
}

// refuse ends a request with the problem that err is.
func refuse(c *gin.Context, err error) {
	if one, ok := c.Request.Context().Value(callKey{}).(*call); ok {
		one.failure = err
	}
	problemOf(err).Write(c.Writer, c.Request)
	c.Writer.WriteHeaderNow()
	c.Abort()
}

// bodyLimit bounds requests, in bytes. The largest that the contract allows is smaller.
const bodyLimit = 128 << 10

// enter finds the operation and begins the call.
func (a *API) enter(c *gin.Context) {
	op := a.operations.find(c.Request.Method, c.FullPath())
	if op == nil {
		refuse(c, fmt.Errorf("api: the contract lacks %s %s", c.Request.Method, c.FullPath()))
		return
	}
	if err := unescapeParams(c.Params); err != nil {
		refuse(c, err)
		return
	}
	// What the parts that do decode would ask for is another thing, and the validation sees only them.
	if _, err := url.ParseQuery(c.Request.URL.RawQuery); err != nil {
		refuse(c, problem.BadRequest.With("The query is escaped wrongly."))
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(c.Writer, c.Request.Body, bodyLimit))
	if err != nil {
		refuse(c, unreadableBytes(err))
		return
	}
	c.Request.Body = io.NopCloser(bytes.NewReader(body))
	c.Header("Cache-Control", "no-store")
	begin(c, op, body)
}

// unreadableBytes answers a body that is too long, or that its sender cut off.
func unreadableBytes(err error) error {
	if tooLarge, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return problem.TooLarge.With("A request has at most %d bytes.", tooLarge.Limit).WithCause(err)
	}
	return problem.BadRequest.With("The body ended early.").WithCause(err)
}
