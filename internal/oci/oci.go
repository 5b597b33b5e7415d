// Package oci is the OCI plane: the Distribution API below /v2, in its version 1.1 and its development version.
//
// A request's path is parsed once into a typed request (package ocipath). A table indexed by its kind and the method
// names the endpoint; the endpoint says which right it needs, package access decides, and the endpoint's function
// answers or returns an error, which one writer turns into the OCI envelope (package ocierr). Bytes come in through
// package uploads; what exists is asked of package content.
package oci

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/url"

	"github.com/gin-gonic/gin"
	"github.com/opencontainers/go-digest"

	"github.com/berthregistry/berth/internal/audit"
	"github.com/berthregistry/berth/internal/events"
	"github.com/berthregistry/berth/internal/limits"
	"github.com/berthregistry/berth/internal/oci/access"
	"github.com/berthregistry/berth/internal/oci/budget"
	"github.com/berthregistry/berth/internal/oci/content"
	"github.com/berthregistry/berth/internal/oci/ocierr"
	"github.com/berthregistry/berth/internal/oci/ocipath"
	"github.com/berthregistry/berth/internal/oci/uploads"
	"github.com/berthregistry/berth/internal/projects"
	"github.com/berthregistry/berth/internal/projects/quota"
	"github.com/berthregistry/berth/internal/ratelimit"
	"github.com/berthregistry/berth/internal/rbac"
	"github.com/berthregistry/berth/internal/storage"
	"github.com/berthregistry/berth/internal/telemetry/reqlog"
)

// Config holds what a Handler needs. All fields are required unless they say otherwise.
type Config struct {
	Access  *access.Access
	Content *content.Store
	Uploads *uploads.Service
	Store   storage.Store
	// MaxManifestSize is the largest manifest, in bytes.
	MaxManifestSize int64
	// Memory is how many bytes of manifests that are being received, and of large answers that are being sent, are kept
	// in memory at once, at least MaxManifestSize; 0 means 128 MiB.
	Memory int64
	// CallerMemory is how much of it one caller may hold, at least MaxManifestSize; 0 means 1/budget.DefaultShares of it.
	CallerMemory int64
	// TagsPage is the most tags, or repositories of the catalog, in one answer.
	TagsPage int
	// ReferrersPage is the most descriptors in one answer of the referrers API.
	ReferrersPage int
	// Redirect answers blob GETs with a presigned URL where one object holds the blob and the store can presign.
	Redirect bool
	// Activity takes what callers without an account do; nil if nobody wants to know.
	Activity *limits.Activity
	// PublicURL is where clients reach the server, without a slash at the end. It is told to those who push to a
	// project that nobody has claimed; if empty, they are told nothing.
	PublicURL string
	// Audit takes what is refused. Nil: nothing does.
	Audit *audit.Recorder
	// Suspect hears of blobs whose objects are not there, or too short, and does not wait. Nil: nobody does.
	Suspect func(digest.Digest)
	// Notices hears of pushes that are refused for a quota. Nil: nobody does.
	Notices *events.QuotaNotices
}

// Handler serves /v2.
type Handler struct {
	Config
	memory *budget.Budget
}

// New makes a Handler.
func New(cfg Config) *Handler {
	whole := manifestSpace(cfg.MaxManifestSize)
	if cfg.Memory == 0 {
		cfg.Memory = 128 << 20
	}
	if cfg.CallerMemory == 0 {
		cfg.CallerMemory = cfg.Memory / budget.DefaultShares
	}
	return &Handler{Config: cfg, memory: budget.New(max(cfg.Memory, whole), max(cfg.CallerMemory, whole))}
}

// Mount adds the routes of the plane: one catch-all, because repository names hold slashes.
func (h *Handler) Mount(r gin.IRouter) {
	// The limits need the client's address, as far as the server believes it.
	serve := func(c *gin.Context) {
		address := c.ClientIP()
		r := c.Request.WithContext(ratelimit.WithAddress(c.Request.Context(), address))
		h.serve(&call{w: c.Writer, r: r, clientIP: address})
	}
	r.Any("/v2", serve)
	r.Any("/v2/*path", serve)
}

// Drain makes uploads keep what they have received and answer 503.
func (h *Handler) Drain() { h.Uploads.Drain() }

// call is one request on its way through the plane.
type call struct {
	w        http.ResponseWriter
	r        *http.Request
	clientIP string // behind trusted proxies
	req      ocipath.Request
	query    url.Values // never nil once there is an endpoint
	repo     access.Repo
	id       access.Identity
	decision access.Decision
	action   string   // for the audit log; "" before there is an endpoint
	received *counted // the body of what changes something
}

func (c *call) ctx() context.Context { return c.r.Context() }

// place is the repository that the request names. Its project is uuid.Nil while that does not exist.
func (c *call) place() content.Place {
	return content.Place{Project: c.decision.Project.ID, Path: c.req.Path}
}

// endpoint is one cell of the table.
type endpoint struct {
	name   string // for logs, spans and metrics
	action string // for the audit log
	// actions are the rights of which any one suffices, that with the widest scope last. None: the endpoint
	// decides by itself.
	actions []rbac.Action
	serve   func(*Handler, *call) error
}

type methods map[string]endpoint

var (
	pull   = []rbac.Action{rbac.Pull}
	exists = []rbac.Action{rbac.Pull, rbac.Push} // pushing includes asking what is there already
	push   = []rbac.Action{rbac.Push}
	remove = []rbac.Action{rbac.Delete}
)

var endpoints = map[ocipath.Kind]methods{
	ocipath.KindPing: {
		http.MethodGet:  {"oci.v2.check", audit.RegistryCheck, nil, (*Handler).ping},
		http.MethodHead: {"oci.v2.check", audit.RegistryCheck, nil, (*Handler).ping},
	},
	ocipath.KindCatalog: {
		http.MethodGet: {"oci.catalog.list", audit.CatalogList, nil, (*Handler).catalog},
	},
	ocipath.KindBlob: {
		http.MethodHead:   {"oci.blob.head", audit.BlobPull, exists, (*Handler).headBlob},
		http.MethodGet:    {"oci.blob.get", audit.BlobPull, pull, (*Handler).getBlob},
		http.MethodDelete: {"oci.blob.delete", audit.BlobDelete, remove, (*Handler).deleteBlob},
	},
	ocipath.KindUploads: {
		http.MethodPost: {operationStart, audit.BlobPush, nil, (*Handler).startUpload},
	},
	ocipath.KindUpload: {
		http.MethodGet:    {"oci.blob.upload.status", audit.BlobPush, push, (*Handler).uploadStatus},
		http.MethodPatch:  {"oci.blob.upload.chunk", audit.BlobPush, push, (*Handler).appendUpload},
		http.MethodPut:    {"oci.blob.upload.complete", audit.BlobPush, push, (*Handler).finishUpload},
		http.MethodDelete: {"oci.blob.upload.cancel", audit.BlobPush, push, (*Handler).cancelUpload},
	},
	ocipath.KindManifest: {
		http.MethodHead:   {"oci.manifest.head", audit.ManifestPull, exists, (*Handler).getManifest},
		http.MethodGet:    {"oci.manifest.get", audit.ManifestPull, pull, (*Handler).getManifest},
		http.MethodPut:    {"oci.manifest.put", audit.ManifestPush, push, (*Handler).putManifest},
		http.MethodDelete: {"oci.manifest.delete", audit.ManifestDelete, remove, (*Handler).deleteManifest},
	},
	ocipath.KindTags: {
		http.MethodGet: {"oci.tags.list", audit.TagList, pull, (*Handler).listTags},
	},
	ocipath.KindReferrers: {
		http.MethodGet: {"oci.referrers.get", audit.ReferrerList, pull, (*Handler).listReferrers},
	},
}

// ServeHTTP answers one request, of a client that is connected without a proxy.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	host, _, _ := net.SplitHostPort(r.RemoteAddr) // without one, all such clients count as one
	h.serve(&call{w: w, r: r, clientIP: host})
}

func (h *Handler) serve(c *call) {
	header := c.w.Header()
	header.Set("Docker-Distribution-Api-Version", "registry/2.0")
	header.Set("X-Content-Type-Options", "nosniff")
	h.watch(c)
	err := h.route(c)
	if err != nil {
		h.fail(c, err)
	}
	h.note(c, err)
}

// route parses the path and the query, finds the endpoint and runs it for those who may.
func (h *Handler) route(c *call) error {
	req, err := ocipath.Parse(c.r.URL.EscapedPath())
	if err != nil {
		return err
	}
	c.req, c.repo = req, access.Repo{Segment: req.Segment, Path: req.Path}
	if c.query, err = url.ParseQuery(c.r.URL.RawQuery); err != nil {
		return invalidQuery()
	}
	table := endpoints[req.Kind]
	e, ok := table[c.r.Method]
	if !ok {
		return ocierr.Unsupported.With("%s is not a method of this endpoint", c.r.Method).WithHeader("Allow", table.allow())
	}
	reqlog.Set(c.ctx(), reqlog.Route, e.name)
	c.action = e.action
	if err := h.authenticate(c, e); err != nil {
		return err
	}
	if err := h.authorize(c, e); err != nil {
		return err
	}
	return e.serve(h, c)
}

func (m methods) allow() string {
	allow := ""
	for _, method := range []string{
		http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPatch, http.MethodPut, http.MethodDelete,
	} {
		if _, ok := m[method]; !ok {
			continue
		}
		if allow != "" {
			allow += ", "
		}
		allow += method
	}
	return allow
}

func (h *Handler) authenticate(c *call, e endpoint) (err error) {
	if h.goesOn(c) {
		c.r = c.r.WithContext(ratelimit.Exempt(c.ctx()))
	}
	c.id, err = h.Access.Identify(c.r)
	if err == nil {
		principal := c.id.Credential.Principal
		reqlog.Set(c.ctx(), reqlog.Principal, principal.String())
		reqlog.SetPrincipalKind(c.ctx(), rbac.PrincipalKind(principal.Kind, principal.Admin))
		c.beginChange()
	}
	if err = h.limit(c, err); err != nil {
		return h.Access.Refuse(err, h.need(c, e)...)
	}
	return nil
}

// need is what a challenge asks for when the credential itself is refused.
func (h *Handler) need(c *call, e endpoint) []access.Scope {
	switch {
	case c.req.Kind == ocipath.KindCatalog:
		return []access.Scope{access.CatalogScope()}
	case c.req.Kind == ocipath.KindUploads:
		return mountScopes(c)
	case len(e.actions) > 0: // the last action has the widest scope
		return []access.Scope{access.RepositoryScope(c.repo, e.actions[len(e.actions)-1])}
	}
	return nil
}

// authorize decides about endpoints that state their rights. Content named by its digest may be open to more callers
// than content named by a tag.
func (h *Handler) authorize(c *call, e endpoint) (err error) {
	if len(e.actions) == 0 {
		return nil
	}
	if c.creates() || c.req.Kind == ocipath.KindReferrers { // whose answer is never 404
		c.decision, err = h.Access.Authorize(c.ctx(), c.id, c.repo, e.actions...)
	} else {
		c.decision, err = h.Access.AuthorizeExisting(c.ctx(), c.id, c.repo, c.req.Digest != "", e.actions...)
	}
	return err
}

// creates tells whether a request that states its rights makes the project where that does not exist.
func (c *call) creates() bool {
	return c.req.Kind == ocipath.KindManifest && c.r.Method == http.MethodPut
}

// fail answers with an error. What the client is not told goes to the log.
func (h *Handler) fail(c *call, err error) {
	if errors.Is(err, uploads.ErrOldDecision) {
		err = errors.Join(projects.ErrChanged, err)
	}
	err = c.decision.Guard.Translate(err)
	var progress *uploads.Error
	if errors.As(err, &progress) {
		c.uploadProgress(progress.Progress)
	}
	if uploads.IsBodyCut(err) {
		err = ocierr.BlobUploadInvalid.With("the request body ended early").WithCause(err)
	}
	if full, ok := errors.AsType[*quota.ExceededError](err); ok {
		h.noteQuota(c, full)
		err = ocierr.Denied.With("%s", full).WithCause(err)
	}
	if errors.Is(err, content.ErrBlocked) {
		err = ocierr.Denied.With("this content is blocked here").WithCause(err)
	}
	if errors.Is(err, budget.ErrFull) {
		err = ocierr.Unavailable.With("too many large requests and answers are under way").WithCause(err)
	}
	known := ocierr.From(err)
	switch {
	case known.Status >= http.StatusInternalServerError:
		reqlog.Fail(c.ctx(), err)
	case known.Cause != nil && (known.Status == http.StatusUnauthorized || known.Status == http.StatusForbidden):
		reqlog.Set(c.ctx(), reqlog.Denied, known.Cause.Error())
	}
	h.audit(c, known)
	ocierr.Write(c.w, c.r, known)
}

// noteQuota lets the project's webhooks know that a push was refused.
func (h *Handler) noteQuota(c *call, full *quota.ExceededError) {
	scope := "project"
	if full.Account {
		scope = "account"
	}
	h.Notices.Exceeded(c.decision.Project.ID, events.OverQuota{
		Scope: scope, Held: full.Held, Pending: full.Pending, Allowed: full.Allowed,
		Repository: c.req.Path, Actor: c.decision.Principal.String(),
	})
}

func (h *Handler) ping(c *call) error {
	if err := h.Access.Ping(c.id); err != nil {
		return err
	}
	writeJSON(c.w, "application/json", []byte("{}"))
	return nil
}
