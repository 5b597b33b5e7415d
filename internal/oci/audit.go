package oci

import (
	"net/http"

	"github.com/berthregistry/berth/internal/audit"
	"github.com/berthregistry/berth/internal/oci/access"
	"github.com/berthregistry/berth/internal/oci/ocierr"
	"github.com/berthregistry/berth/internal/telemetry/reqlog"
)

// origin is who asks, for the audit log.
func (c *call) origin() audit.Origin {
	o := c.id.Credential.Origin()
	o.RemoteIP, o.UserAgent, o.RequestID = c.clientIP, c.r.UserAgent(), reqlog.ID(c.ctx())
	return o
}

// beginChange tells those who write the audit log who asks. Reads have no entries, and do not pay for it.
func (c *call) beginChange() {
	if c.r.Method != http.MethodGet && c.r.Method != http.MethodHead {
		c.r = c.r.WithContext(audit.With(c.ctx(), c.origin()))
	}
}

// audit notes an answer that refuses something.
func (h *Handler) audit(c *call, answer *ocierr.Error) {
	if c.action == "" || !access.Refuses(answer) {
		return
	}
	reason := answer.Message
	if answer.Cause != nil {
		reason = answer.Cause.Error()
	}
	h.Audit.Refused(audit.Refusal{
		Origin: c.origin(), Action: c.audited(), Segment: c.req.Segment, Project: c.decision.Project.ID,
		Repository: c.req.Path, Object: c.reference(), Reason: reason,
	})
}

// audited is the action of the endpoint; a deletion may be that of a tag alone.
func (c *call) audited() string {
	if c.action == audit.ManifestDelete && c.req.Tag != "" {
		return audit.TagDelete
	}
	return c.action
}

// reference is the tag or digest that the request names, if it names one.
func (c *call) reference() string {
	if c.req.Tag != "" {
		return c.req.Tag
	}
	return c.req.Digest.String()
}
