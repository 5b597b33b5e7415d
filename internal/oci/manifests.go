package oci

import (
	"errors"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/berthregistry/berth/internal/oci/content"
	"github.com/berthregistry/berth/internal/oci/digests"
	"github.com/berthregistry/berth/internal/oci/manifest"
	"github.com/berthregistry/berth/internal/oci/ocierr"
	"github.com/berthregistry/berth/internal/oci/ocipath"
)

// maxTags is how many tags one PUT may set. The specification asks for 10 at least.
const maxTags = 64

// getManifest answers GET and HEAD by tag and by digest (end-3).
func (h *Handler) getManifest(c *call) error {
	if err := c.req.ReferenceError(c.r.Method); err != nil {
		return err
	}
	withContent := c.r.Method == http.MethodGet
	var m content.Manifest
	var err error
	if c.req.Tag != "" {
		m, err = h.Content.ManifestByTag(c.ctx(), c.place(), c.req.Tag, withContent)
	} else {
		m, err = h.Content.ManifestByDigest(c.ctx(), c.place(), c.req.Digest, withContent)
	}
	if err != nil {
		return manifestError(err)
	}
	if withContent {
		h.Content.Pulled(m)
	}
	if answered, err := c.preconditions(m.Digest); answered || err != nil {
		return err
	}
	if !withContent || m.Content != nil {
		writeManifest(c, m)
		return nil
	}
	return h.writeLargeManifest(c, m)
}

// writeLargeManifest reads the bytes of a manifest once there is room for them, until the client has taken them. They
// may be in the cache, but nobody can tell for how long.
func (h *Handler) writeLargeManifest(c *call, m content.Manifest) error {
	hold := h.hold(c)
	defer hold.Release()
	err := hold.Grow(c.ctx(), m.Size)
	if err != nil {
		return err
	}
	if m.Content, err = h.Content.LargeManifest(c.ctx(), m); err != nil {
		return manifestError(err)
	}
	writeManifest(c, m)
	return nil
}

func writeManifest(c *call, m content.Manifest) {
	header := c.w.Header()
	header.Set(headerContentDigest, m.Digest.String())
	header.Set("ETag", entityTag(m.Digest))
	header.Set("Content-Type", m.MediaType)
	header.Set("Content-Length", strconv.FormatInt(m.Size, 10))
	c.w.WriteHeader(http.StatusOK)
	if c.r.Method == http.MethodGet {
		_, _ = c.w.Write(m.Content) // a client that has gone away needs no answer
	}
}

func manifestError(err error) error {
	if errors.Is(err, content.ErrNotFound) {
		return ocierr.ManifestUnknown
	}
	return err
}

// putManifest stores a manifest under its digest and any number of tags (end-7a, end-7b).
func (h *Handler) putManifest(c *call) error {
	if err := c.req.ReferenceError(c.r.Method); err != nil {
		return err
	}
	tags, err := putTags(c)
	if err != nil {
		return err
	}
	if err := c.decision.AllowTags(tags...); err != nil {
		return err
	}
	hold := h.hold(c)
	defer hold.Release()
	body, err := h.readManifest(c, hold)
	if err != nil {
		return err
	}
	parsed, err := manifest.Parse(c.r.Header.Get("Content-Type"), body, digests.Of(c.req.Digest))
	if err != nil {
		return err
	}
	if c.req.Digest != "" && c.req.Digest != parsed.Digest {
		return ocierr.DigestInvalid.With("the manifest has the digest %s", parsed.Digest)
	}
	if c.decision, err = h.Access.EnsureProject(c.ctx(), c.decision, c.repo); err != nil {
		return err
	}
	if err := h.storeManifest(c, parsed, body, tags); err != nil {
		return err
	}
	h.manifestCreated(c, parsed, tags)
	return nil
}

// putTags collects the tag of the path and those of the query, each once.
func putTags(c *call) ([]string, error) {
	asked := c.query["tag"]
	if len(asked) > maxTags {
		known := ocierr.ManifestInvalid.With("at most %d tags in one request", maxTags)
		known.Status = http.StatusRequestURITooLong
		return nil, known
	}
	tags := []string{}
	if c.req.Tag != "" {
		tags = append(tags, c.req.Tag)
	}
	seen := map[string]bool{c.req.Tag: true}
	for _, tag := range asked {
		if !ocipath.ValidTag(tag) {
			return nil, ocierr.ManifestInvalid.With("%.160q is not a legal tag", tag)
		}
		if !seen[tag] {
			seen[tag] = true
			tags = append(tags, tag)
		}
	}
	return tags, nil
}

func (h *Handler) storeManifest(c *call, parsed manifest.Parsed, body []byte, tags []string) error {
	err := h.Content.PutManifest(c.ctx(), c.place(), content.NewManifest{
		Digest: parsed.Digest, MediaType: parsed.ContentType, Content: body,
		ArtifactType: parsed.ArtifactType, Annotations: parsed.Annotations, Subject: parsed.Subject,
		Blobs: digestsOf(parsed.Blobs), Foreign: digestsOf(parsed.Foreign), Children: digestsOf(parsed.Children),
		Platforms: platformsOf(parsed.Children), BlobSize: sizeOf(parsed.Blobs),
		Tags: tags, Actor: c.decision.Principal.String(),
	}, c.decision.Guard)
	var missing *content.MissingBlobsError
	if errors.As(err, &missing) {
		return ocierr.ManifestBlobUnknown.WithDetail(missingDetail(missing.Digests))
	}
	return immutable(err)
}

// immutable answers a tag that a rule of the project protects, in words that clients show. The specification has no code of
// its own for it; the repetition of the request would fail as well, and another tag would not.
func immutable(err error) error {
	if refused, ok := errors.AsType[*content.ImmutableError](err); ok {
		return ocierr.Denied.With("%s", refused.Error()).WithDetail(map[string]string{"tag": refused.Tag})
	}
	return err
}

func platformsOf(children []manifest.Descriptor) []content.Platform {
	var list []content.Platform
	for i := range children {
		if children[i].Platform != "" {
			list = append(list, content.Platform{Child: children[i].Digest, Name: children[i].Platform})
		}
	}
	return list
}

// sizeOf adds up what a manifest says of its blobs, which may be anything that a number can be.
func sizeOf(blobs []manifest.Descriptor) int64 {
	var sum int64
	for i := range blobs {
		if sum += min(blobs[i].Size, math.MaxInt64-sum); sum == math.MaxInt64 {
			break
		}
	}
	return sum
}

// missingDetail names some of the blobs that are missing, in the form that clients know.
func missingDetail(missing []digest.Digest) any {
	type blob struct {
		Digest digest.Digest `json:"digest"`
	}
	detail := []blob{}
	for _, d := range missing[:min(len(missing), 16)] {
		detail = append(detail, blob{d})
	}
	if len(detail) == 1 {
		return detail[0]
	}
	return detail
}

func digestsOf(descriptors []manifest.Descriptor) []digest.Digest {
	list := make([]digest.Digest, len(descriptors))
	for i := range descriptors {
		list[i] = descriptors[i].Digest
	}
	return list
}

func (h *Handler) manifestCreated(c *call, parsed manifest.Parsed, tags []string) {
	header := c.w.Header()
	header.Set("Location", fmt.Sprintf("%s/manifests/%s", c.base(), parsed.Digest))
	header.Set(headerContentDigest, parsed.Digest.String())
	if parsed.Subject != "" {
		header.Set(headerSubject, parsed.Subject.String())
	}
	if c.query.Has("tag") {
		header.Set(headerTag, strings.Join(tags, ", "))
	}
	h.pushed(c, http.StatusCreated)
}

// deleteManifest hides a manifest, or a tag alone (end-9).
func (h *Handler) deleteManifest(c *call) error {
	if err := c.req.ReferenceError(c.r.Method); err != nil {
		return err
	}
	if err := c.allowDelete(); err != nil {
		return err
	}
	var err error
	actor := c.decision.Principal.String()
	if c.req.Tag != "" {
		err = h.Content.DeleteTag(c.ctx(), c.place(), c.req.Tag, actor, c.decision.Guard)
	} else {
		err = h.Content.DeleteManifest(c.ctx(), c.place(), c.req.Digest, actor, c.decision.Guard)
	}
	if err != nil {
		return manifestError(immutable(err))
	}
	empty(c.w, http.StatusAccepted)
	return nil
}

// allowDelete asks the token's grants about the tags that a deletion takes: one, or all that the manifest has.
func (c *call) allowDelete() error {
	if c.req.Tag != "" {
		return c.decision.AllowTags(c.req.Tag)
	}
	return c.decision.AllowAnyTag()
}
