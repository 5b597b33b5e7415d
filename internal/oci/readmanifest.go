package oci

import (
	"errors"
	"io"
	"net/http"
	"time"

	"github.com/berthregistry/berth/internal/oci/budget"
	"github.com/berthregistry/berth/internal/oci/ocierr"
)

const (
	// manifestPiece is by how much the memory of a manifest that is being received grows, in bytes: what is counted
	// is what has arrived, so that nobody can take it all by announcing.
	manifestPiece = 64 << 10
	// manifestTime is how long a client may take to send a manifest. It is small and held in memory meanwhile; unlike
	// a blob it need not be given all the time in the world.
	manifestTime = time.Minute
)

// manifestSpace is what the largest manifest takes of the memory while it is being received.
func manifestSpace(size int64) int64 { return (size/manifestPiece + 1) * manifestPiece }

// readManifest reads a manifest whole, into the memory of its request.
func (h *Handler) readManifest(c *call, hold *budget.Hold) (body []byte, err error) {
	if c.r.ContentLength > h.MaxManifestSize {
		return nil, h.tooLarge()
	}
	controller := http.NewResponseController(c.w)
	late := time.AfterFunc(manifestTime, func() { _ = controller.SetReadDeadline(time.Unix(1, 0)) })
	defer late.Stop()
	for {
		if err := hold.Grow(c.ctx(), manifestPiece); err != nil {
			return nil, err
		}
		held := len(body)
		body = append(body, make([]byte, manifestPiece)...)
		n, err := io.ReadFull(c.r.Body, body[held:])
		body = body[:held+n]
		switch {
		case int64(len(body)) > h.MaxManifestSize:
			return nil, h.tooLarge()
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF) && complete(c.r, len(body)):
			return body, nil
		case err != nil:
			return nil, ocierr.ManifestInvalid.With("the request body ended early").WithCause(err)
		}
	}
}

// complete tells whether so many bytes are the whole body: io.ReadFull has the same error for a short read at the end
// and for a body that was cut.
func complete(r *http.Request, n int) bool {
	if r.ContentLength >= 0 {
		return int64(n) == r.ContentLength
	}
	_, err := r.Body.Read(make([]byte, 1))
	return errors.Is(err, io.EOF)
}

func (h *Handler) tooLarge() error {
	return ocierr.ManifestTooLarge.With("a manifest may have at most %d bytes", h.MaxManifestSize)
}
