package oci

import (
	"net/http"

	"github.com/berthregistry/berth/internal/oci/ocipath"
	"github.com/berthregistry/berth/internal/ratelimit"
)

// limit counts the request, authenticated or refused. An upload that has begun is never stopped: whoever it belongs to
// has been counted when it began, and to lose it would cost both sides more than to take it.
func (h *Handler) limit(c *call, authErr error) error {
	if ratelimit.IsExempt(c.ctx()) {
		return authErr
	}
	return h.Access.Limit(c.ctx(), c.class(), c.id, authErr)
}

// goesOn tells whether the request is one of an upload session that this server has begun: by what it has signed then, for
// a path alone anyone can write.
func (h *Handler) goesOn(c *call) bool {
	return c.req.Kind == ocipath.KindUpload && h.Uploads.Begun(c.ctx(), c.ref())
}

func (c *call) class() ratelimit.Class {
	if c.r.Method == http.MethodGet || c.r.Method == http.MethodHead {
		return ratelimit.Read
	}
	return ratelimit.Write
}
