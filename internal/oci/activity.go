package oci

import (
	"errors"
	"io"
	"net/http"

	"github.com/berthregistry/berth/internal/limits"
	"github.com/berthregistry/berth/internal/oci/ocipath"
	"github.com/berthregistry/berth/internal/projects/quota"
	"github.com/berthregistry/berth/internal/ratelimit"
	"github.com/berthregistry/berth/internal/rbac"
)

// counted is a body whose bytes are counted as they are read.
type counted struct {
	io.ReadCloser
	n int64
}

// Read implements io.Reader.
func (b *counted) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.n += int64(n)
	return n, err //nolint:wrapcheck // as it is
}

// watch counts the body of a request that changes something.
func (h *Handler) watch(c *call) {
	if h.Activity != nil && c.r.Method != http.MethodGet && c.r.Method != http.MethodHead {
		c.received = &counted{ReadCloser: c.r.Body}
		c.r.Body = c.received
	}
}

// note tells Activity what a request of a caller without an account did. err is why it failed, if it did.
func (h *Handler) note(c *call, err error) {
	if c.received == nil || c.id.Credential.Principal.Kind != rbac.KindAnonymous {
		return
	}
	did := limits.Doing{Bytes: c.received.n}
	if err == nil && c.req.Kind == ocipath.KindManifest && c.r.Method == http.MethodPut {
		did.Pushes = 1
	}
	if overLimit(err) {
		did.Refused = 1
	}
	h.Activity.Note(ratelimit.NetworkOf(c.ctx()), c.decision.Project.ID, did)
}

func overLimit(err error) bool {
	_, often := errors.AsType[*ratelimit.Error](err)
	return often || errors.Is(err, limits.ErrExceeded) || errors.Is(err, quota.ErrFull)
}
