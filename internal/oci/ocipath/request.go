// Package ocipath reads the path of a request to the OCI plane once, into one
// typed Request, and writes it back (OCI Distribution Specification, section
// "Endpoints").
package ocipath

import (
	"net/http"
	"strings"

	"github.com/google/uuid"
	"github.com/opencontainers/go-digest"

	"github.com/berthregistry/berth/internal/oci/digests"
	"github.com/berthregistry/berth/internal/oci/ocierr"
)

// Kind tells which endpoint a path names.
type Kind int

// The endpoints, with their IDs in the section "Endpoints". The zero Kind is
// none of them.
const (
	// KindPing is /v2/ (end-1).
	KindPing Kind = iota + 1
	// KindCatalog is /v2/_catalog, which Docker Distribution has added.
	KindCatalog
	// KindBlob is …/blobs/<digest> (end-2, end-10).
	KindBlob
	// KindUploads is …/blobs/uploads/ (end-4a, end-4b, end-4c, end-11).
	KindUploads
	// KindUpload is …/blobs/uploads/<id> (end-5, end-6, end-13, end-14).
	KindUpload
	// KindManifest is …/manifests/<tag-or-digest> (end-3, end-7, end-9).
	KindManifest
	// KindTags is …/tags/list (end-8).
	KindTags
	// KindReferrers is …/referrers/<digest> (end-12).
	KindReferrers
)

// Request is what a path asks for.
type Request struct {
	// Kind is the endpoint.
	Kind Kind
	// Segment is the first component of the repository name: the project's
	// slug or UUID, as asked.
	Segment string
	// Path is the rest of the repository name, and may be empty.
	Path string
	// Reference is a manifest's tag or digest, raw. It can be any text.
	Reference string
	// Tag is the reference of a KindManifest if it is a legal tag.
	Tag string
	// Digest is the valid digest of a KindBlob or KindReferrers, and that of a
	// KindManifest if its reference is one.
	Digest digest.Digest
	// SessionID is the session of a KindUpload.
	SessionID uuid.UUID
}

// Name is the full repository name, empty for KindPing and KindCatalog.
func (r Request) Name() string {
	if r.Path == "" {
		return r.Segment
	}
	return r.Segment + "/" + r.Path
}

// BadReference tells that a manifest's reference is neither a legal tag nor a
// supported digest. Parse lets it through because the answer depends on the
// method: see ReferenceError.
func (r Request) BadReference() bool {
	return r.Kind == KindManifest && r.Tag == "" && r.Digest == ""
}

// ReferenceError is the answer to a BadReference, and nil if the reference is
// good. Nothing can be stored under such a reference, so reading or deleting
// it finds nothing (404 ManifestUnknown, section "Pulling manifests"), while a
// PUT is invalid: 400 DigestInvalid if it was meant as a digest, else 400
// ManifestInvalid, there being no code for tags.
func (r Request) ReferenceError(method string) error {
	if !r.BadReference() {
		return nil
	}
	if method != http.MethodPut {
		return ocierr.ManifestUnknown
	}
	if _, err := digests.Parse(r.Reference); err != nil && strings.Contains(r.Reference, ":") {
		return err // no tag has a colon
	}
	return ocierr.ManifestInvalid.With("%.160q is not a legal tag", r.Reference)
}

// String is the canonical path, which Parse reads back into an equal Request.
func (r Request) String() string {
	switch r.Kind {
	case KindCatalog:
		return catalogPath
	case KindBlob:
		return r.below("/blobs/", string(r.Digest))
	case KindUploads:
		return r.below("/blobs/uploads/", "")
	case KindUpload:
		return r.below("/blobs/uploads/", r.SessionID.String())
	case KindManifest:
		return r.below("/manifests/", r.Reference)
	case KindTags:
		return r.below("/tags/list", "")
	case KindReferrers:
		return r.below("/referrers/", string(r.Digest))
	default:
		return root
	}
}

func (r Request) below(endpoint, last string) string {
	return root + r.Name() + endpoint + last
}
