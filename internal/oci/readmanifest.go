package oci

import (
	"errors"
	"io"
	"net/http"
	"time"

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

// readManifest reads a manifest whole, within the memory that all of them share. release gives that memory back, and
// must be called in any case.
func (h *Handler) readManifest(c *call) (body []byte, release func(), err error) {
	held := int64(0)
	release = func() { h.manifests.Release(held) }
	if c.r.ContentLength > h.MaxManifestSize {
		return nil, release, h.tooLarge()
	}
	controller := http.NewResponseController(c.w)
	late := time.AfterFunc(manifestTime, func() { _ = controller.SetReadDeadline(time.Unix(1, 0)) })
	defer late.Stop()
	for {
		if !h.manifests.TryAcquire(manifestPiece) {
			return nil, release, ocierr.Unavailable.With("too many manifests are being received")
		}
		held += manifestPiece
		body = append(body, make([]byte, manifestPiece)...)
		n, err := io.ReadFull(c.r.Body, body[held-manifestPiece:])
		body = body[:held-manifestPiece+int64(n)]
		switch {
		case int64(len(body)) > h.MaxManifestSize:
			return nil, release, h.tooLarge()
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF) && complete(c.r, len(body)):
			return body, release, nil
		case err != nil:
			return nil, release, ocierr.ManifestInvalid.With("the request body ended early").WithCause(err)
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
