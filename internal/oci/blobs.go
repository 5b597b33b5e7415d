package oci

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/berthregistry/berth/internal/oci/content"
	"github.com/berthregistry/berth/internal/oci/ocierr"
	"github.com/berthregistry/berth/internal/rbac"
	"github.com/berthregistry/berth/internal/storage"
)

const blobContentType = "application/octet-stream"

// presignLife is how long a redirected client may take to begin its download; a URL that was made for somebody else has two
// thirds of it left at least.
const presignLife = 15 * time.Minute

// headBlob answers whether a repository shows a blob (end-2). To those who may push, "present" is a promise: they
// will refer to the blob in a manifest.
func (h *Handler) headBlob(c *call) error {
	blob, err := h.Content.BlobStat(c.ctx(), c.place(), c.req.Digest)
	if err != nil {
		return blobError(err)
	}
	if c.decision.Allows(rbac.Push) {
		kept, err := h.Content.Promise(c.ctx(), c.place(), blob)
		if err != nil {
			return err
		}
		if !kept {
			return ocierr.BlobUnknown
		}
	}
	if answered, err := c.preconditions(c.req.Digest); answered || err != nil {
		return err
	}
	h.blobHeaders(c)
	c.w.Header().Set("Accept-Ranges", "bytes")
	c.w.Header().Set("Content-Length", strconv.FormatInt(blob.Size, 10))
	c.w.WriteHeader(http.StatusOK)
	return nil
}

// getBlob answers with a blob's content or ranges of it (end-2).
func (h *Handler) getBlob(c *call) error {
	blob, err := h.Content.Blob(c.ctx(), c.place(), c.req.Digest)
	if err != nil {
		return blobError(err)
	}
	if answered, err := c.preconditions(c.req.Digest); answered || err != nil {
		return err
	}
	redirected, err := h.redirect(c, blob)
	if err != nil || redirected {
		return err
	}
	h.blobHeaders(c)
	return h.serveBlob(c, blob, func(ctx context.Context) (content.Blob, error) {
		return h.Content.Blob(ctx, c.place(), c.req.Digest)
	})
}

func (h *Handler) blobHeaders(c *call) {
	header := c.w.Header()
	header.Set("Content-Type", blobContentType)
	header.Set(headerContentDigest, c.req.Digest.String())
	header.Set("ETag", entityTag(c.req.Digest))
}

// redirect sends the client to the store where that is wanted and one object holds the whole blob.
func (h *Handler) redirect(c *call, blob content.Blob) (bool, error) {
	if !h.Redirect || len(blob.Chunks) != 1 {
		return false, nil
	}
	target, err := h.Store.Presign(c.ctx(), blob.Chunks[0].Key, storage.Presign{
		Expires: presignLife, ContentType: blobContentType,
	})
	if errors.Is(err, storage.ErrUnsupported) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	c.w.Header().Set(headerContentDigest, c.req.Digest.String())
	c.w.Header().Set("Location", target)
	c.w.Header().Set("Cache-Control", "no-store")
	empty(c.w, http.StatusTemporaryRedirect)
	return true, nil
}

// deleteBlob hides a blob in the repository (end-10). While a manifest needs it, that is not allowed.
func (h *Handler) deleteBlob(c *call) error {
	err := h.Content.DeleteBlob(c.ctx(), c.place(), c.req.Digest, c.decision.Guard)
	if errors.Is(err, content.ErrInUse) {
		return ocierr.Unsupported.With("a manifest of this repository needs the blob: delete the manifest first").
			WithHeader("Allow", "GET, HEAD")
	}
	if err != nil {
		return blobError(err)
	}
	empty(c.w, http.StatusAccepted)
	return nil
}

func blobError(err error) error {
	if errors.Is(err, content.ErrNotFound) {
		return ocierr.BlobUnknown
	}
	return err
}
