package oci

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/google/uuid"
	"github.com/opencontainers/go-digest"

	"github.com/berthregistry/berth/internal/oci/access"
	"github.com/berthregistry/berth/internal/oci/content"
	"github.com/berthregistry/berth/internal/oci/digests"
	"github.com/berthregistry/berth/internal/oci/httprange"
	"github.com/berthregistry/berth/internal/oci/ocierr"
	"github.com/berthregistry/berth/internal/oci/ocipath"
	"github.com/berthregistry/berth/internal/oci/uploads"
	"github.com/berthregistry/berth/internal/ratelimit"
	"github.com/berthregistry/berth/internal/rbac"
	"github.com/berthregistry/berth/internal/telemetry/reqlog"
)

// A POST that does more than begin a session is an operation of its own in logs, spans and metrics.
const (
	operationStart      = "oci.blob.upload.start"
	operationMount      = "oci.blob.mount"
	operationMonolithic = "oci.blob.upload.monolithic"
)

// startQuery is what a POST asks for besides a session.
type startQuery struct {
	digest    digest.Digest // the body is the whole blob
	mount     digest.Digest // show this blob here instead
	from      *access.Repo  // from this repository; nil: from any of the project
	algorithm digests.Algo
}

func parseStart(query url.Values) (q startQuery, err error) {
	if raw := query.Get("digest"); raw != "" {
		if q.digest, err = digests.Parse(raw); err != nil {
			return q, err
		}
	}
	if raw := query.Get("digest-algorithm"); raw != "" {
		if q.algorithm, err = digests.Algorithm(raw); err != nil {
			return q, err
		}
	}
	if raw := query.Get("mount"); raw != "" {
		if q.mount, err = digests.Parse(raw); err != nil {
			return q, err
		}
		q.algorithm = digests.Of(q.mount)
	}
	q.from = mountSource(query)
	return q, nil
}

// mountSource is the repository that a mount names, if it names one.
func mountSource(query url.Values) *access.Repo {
	raw := query.Get("from")
	if raw == "" || query.Get("mount") == "" {
		return nil
	}
	repo, err := access.ParseRepo(raw)
	if err != nil {
		return &access.Repo{} // no repository has that name: there is nothing to mount
	}
	return &repo
}

// mountScopes is what a POST's challenge names: with a mount, both repositories from the first answer on.
func mountScopes(c *call) []access.Scope {
	scopes := []access.Scope{access.RepositoryScope(c.repo, rbac.Push)}
	if from := mountSource(c.query); from != nil && from.Segment != "" {
		scopes = append(scopes, access.RepositoryScope(*from, rbac.Pull))
	}
	return scopes
}

// startUpload begins a session, takes a whole blob, or mounts one (end-4a, end-4b, end-4c, end-11).
func (h *Handler) startUpload(c *call) error {
	source, err := h.authorizeStart(c, mountSource(c.query))
	if err != nil {
		return err
	}
	q, err := parseStart(c.query)
	if err != nil {
		return err
	}
	if c.decision, err = h.Access.EnsureProject(c.ctx(), c.decision, c.repo); err != nil {
		return err
	}
	switch {
	case q.mount != "":
		return h.mount(c, q, source)
	case q.digest != "" && c.r.ContentLength != 0, q.digest != "" && q.digest == emptyDigest(q.digest):
		return h.monolithic(c, q.digest)
	}
	return h.openSession(c, q.algorithm)
}

func (h *Handler) authorizeStart(c *call, from *access.Repo) (source *access.Decision, err error) {
	if from == nil || from.Segment == "" {
		c.decision, err = h.Access.Authorize(c.ctx(), c.id, c.repo, rbac.Push)
		return nil, err
	}
	c.decision, source, err = h.Access.AuthorizeMount(c.ctx(), c.id, c.repo, *from)
	return source, err
}

// emptyDigest is the digest of no bytes, in the algorithm of another digest.
func emptyDigest(like digest.Digest) digest.Digest { return digests.Sum(digests.Of(like), nil) }

func (h *Handler) openSession(c *call, algorithm digests.Algo) error {
	if h.limited(c) {
		if err := h.Uploads.Quota.Look(c.ctx(), c.decision.Project.ID, 0, -1); err != nil {
			return err
		}
	}
	progress, err := h.Uploads.Start(c.ctx(), h.target(c), algorithm)
	if err != nil {
		return err
	}
	if least := h.Store.Limits().MinChunk; least > 0 {
		c.w.Header().Set(headerChunkMin, strconv.FormatInt(least, 10))
	}
	c.uploadProgress(progress)
	h.pushed(c, http.StatusAccepted)
	return nil
}

// mount shows a blob of another repository here. What cannot be mounted, for whatever reason, can be uploaded: the
// answer is then a session, and tells nothing of what exists elsewhere.
func (h *Handler) mount(c *call, q startQuery, source *access.Decision) error {
	reqlog.Set(c.ctx(), reqlog.Route, operationMount)
	err := content.ErrNotFound
	switch {
	case q.from == nil && c.decision.MayMountWithin():
		err = h.Content.Mount(c.ctx(), c.place(), q.mount, nil, c.decision.Guard)
	case q.from != nil && source != nil && source.Project.ID != uuid.Nil:
		from := content.Source{
			Place: content.Place{Project: source.Project.ID, Path: q.from.Path},
			Epoch: source.Project.Epoch, State: string(source.Project.State),
		}
		err = h.Content.Mount(c.ctx(), c.place(), q.mount, &from, c.decision.Guard)
	}
	if errors.Is(err, content.ErrNotFound) {
		reqlog.Set(c.ctx(), reqlog.Route, operationStart)
		return h.openSession(c, q.algorithm)
	}
	if err != nil {
		return err
	}
	h.blobCreated(c, q.mount)
	return nil
}

func (h *Handler) blobCreated(c *call, d digest.Digest) {
	c.w.Header().Set("Location", c.blobLocation(d))
	c.w.Header().Set(headerContentDigest, d.String())
	h.pushed(c, http.StatusCreated)
}

func (h *Handler) monolithic(c *call, d digest.Digest) error {
	reqlog.Set(c.ctx(), reqlog.Route, operationMonolithic)
	if err := h.Uploads.Monolithic(c.ctx(), h.target(c), c.body(), d); err != nil {
		return err
	}
	h.blobCreated(c, d)
	return nil
}

// uploadStatus tells how far a session has come (end-13).
func (h *Handler) uploadStatus(c *call) error {
	progress, err := h.Uploads.Status(c.ctx(), h.target(c), c.ref())
	if err != nil {
		return err
	}
	c.uploadProgress(progress)
	empty(c.w, http.StatusNoContent)
	return nil
}

// appendUpload adds a chunk, or the whole content, to a session (end-5).
func (h *Handler) appendUpload(c *call) error {
	body, err := h.rangedBody(c)
	if err != nil {
		return err
	}
	progress, err := h.Uploads.Append(c.ctx(), h.target(c), c.ref(), body)
	if err != nil {
		return err
	}
	c.uploadProgress(progress)
	empty(c.w, http.StatusAccepted)
	return nil
}

// finishUpload names a session's content (end-6).
func (h *Handler) finishUpload(c *call) error {
	body, err := h.rangedBody(c)
	if err != nil {
		return err
	}
	d, err := digests.Parse(c.query.Get("digest"))
	if err != nil {
		return err
	}
	if err := h.Uploads.Finish(c.ctx(), h.target(c), c.ref(), body, d); err != nil {
		return err
	}
	h.blobCreated(c, d)
	return nil
}

// cancelUpload ends a session (end-14).
func (h *Handler) cancelUpload(c *call) error {
	if err := h.Uploads.Cancel(c.ctx(), h.target(c), c.ref()); err != nil {
		return err
	}
	empty(c.w, http.StatusNoContent)
	return nil
}

// limited tells whether the project of a push has a quota.
func (h *Handler) limited(c *call) bool {
	project := &c.decision.Project
	return h.Uploads.Quota.Applies(project.QuotaBytes, project.AccountQuota, project.State == rbac.StateUnclaimed)
}

func (h *Handler) target(c *call) uploads.Target {
	return uploads.Target{
		Project: c.decision.Project.ID, Path: c.req.Path, Epoch: c.decision.Project.Epoch,
		Principal: c.decision.Principal.String(), Guard: c.decision.Guard, Limited: h.limited(c),
		Subject: c.subject(), Network: c.network(),
	}
}

// subject is whose counts hold for the caller: the user's, or the project's of a robot.
func (c *call) subject() uuid.UUID {
	switch c.decision.Principal.Kind {
	case rbac.KindUser:
		return c.decision.Principal.ID
	case rbac.KindRobot:
		return c.id.Credential.ProjectID
	}
	return uuid.Nil
}

// network is where a caller without an account comes from.
func (c *call) network() string {
	if c.decision.Principal.Kind != rbac.KindAnonymous {
		return ""
	}
	return ratelimit.NetworkOf(c.ctx())
}

// stateParameter carries the signed state of a session in its Location.
const stateParameter = "_state"

func (c *call) ref() uploads.Ref {
	return uploads.Ref{ID: c.req.SessionID, State: c.query.Get(stateParameter)}
}

// body is the request's body as it stands.
func (c *call) body() uploads.Body {
	controller := http.NewResponseController(c.w)
	return uploads.Body{
		Reader: c.r.Body, Length: c.r.ContentLength, Start: -1, RangeLength: -1,
		Interrupt: func() { _ = controller.SetReadDeadline(time.Unix(1, 0)) },
	}
}

// rangedBody is the request's body with its Content-Range. One that cannot be read is answered like one that does not
// fit: with where the session stands.
func (h *Handler) rangedBody(c *call) (uploads.Body, error) {
	body := c.body()
	raw := c.r.Header.Get("Content-Range")
	if raw == "" {
		return body, nil
	}
	parsed, err := httprange.ParseContentRange(raw)
	if err != nil {
		progress, serr := h.Uploads.Status(c.ctx(), h.target(c), c.ref())
		if serr != nil {
			return body, serr
		}
		refusal := ocierr.RangeInvalid.With("Content-Range %.64q is not a range of bytes", raw).WithCause(err)
		return body, &uploads.Error{Err: refusal, Progress: progress}
	}
	body.Start, body.RangeLength = parsed.Start, parsed.Length()
	return body, nil
}

// uploadProgress tells the client where its session goes on. The Location is relative: it holds behind every proxy.
func (c *call) uploadProgress(p uploads.Progress) {
	session := ocipath.Request{
		Kind: ocipath.KindUpload, Segment: c.req.Segment, Path: c.req.Path, SessionID: p.ID,
	}
	header := c.w.Header()
	header.Set("Location", fmt.Sprintf("%s?%s=%s", session, stateParameter, url.QueryEscape(p.State)))
	header.Set("Range", httprange.FormatUploadRange(p.Committed))
	header.Set(headerUploadID, p.ID.String())
}
