package ocipath

import (
	"strings"

	"github.com/google/uuid"

	"github.com/berthregistry/berth/internal/oci/digests"
	"github.com/berthregistry/berth/internal/oci/ocierr"
)

const (
	root        = "/v2/"
	catalogPath = root + "_catalog"
)

// Parse reads the path of a request under /v2, as url.URL.EscapedPath gives
// it. Errors are *ocierr.Error: RouteUnknown for a path that is no endpoint,
// NameInvalid, DigestInvalid (blobs and referrers) and BlobUploadUnknown (a
// session ID that is no UUID). A manifest's reference of bad form is not an
// error here: see Request.BadReference.
//
// Names may hold the words of the endpoints as components, so a path is read
// from its right end, where clients put the endpoint. The rules, in order,
// with what makes each of them unambiguous:
//
//  1. /v2 and /v2/ are the ping; /v2/_catalog is the catalog, as no name
//     starts with an underscore.
//  2. …/blobs/uploads and …/blobs/uploads/ open a session: `uploads` is no
//     digest.
//  3. Otherwise the component before the last one decides: `manifests`,
//     `blobs` and `referrers` name the last component's kind, `tags` wants
//     `list`.
//  4. If it is `uploads` right after `blobs`, the last one is a session ID.
//  5. Everything left of the endpoint is the name, whatever words it is made
//     of: a/blobs/uploads/manifests/x is the manifest x of a/blobs/uploads.
//
// Nothing in a name, tag or session ID ever needs escaping, so every escape in
// them is refused (%2F, %5C, %2E, over-long and control characters alike), and
// so is a second slash. Only the colon of a digest may come as %3A, because
// libraries that escape components send it so.
func Parse(escapedPath string) (Request, error) {
	switch escapedPath {
	case root, strings.TrimSuffix(root, "/"):
		return Request{Kind: KindPing}, nil
	case catalogPath:
		return Request{Kind: KindCatalog}, nil
	}
	rest, found := strings.CutPrefix(escapedPath, root)
	if !found {
		return Request{}, ocierr.RouteUnknown
	}
	if name, ok := cutUploads(rest); ok {
		return parseNamed(Request{Kind: KindUploads}, name)
	}
	return parseLast(rest)
}

// cutUploads is rule 2.
func cutUploads(rest string) (name string, ok bool) {
	return strings.CutSuffix(strings.TrimSuffix(rest, "/"), "/blobs/uploads")
}

// parseLast is rules 3 and 4.
func parseLast(rest string) (Request, error) {
	before, last, found := cutLast(rest)
	if !found || last == "" {
		return Request{}, ocierr.RouteUnknown
	}
	name, endpoint, found := cutLast(before)
	if !found {
		return Request{}, ocierr.RouteUnknown
	}
	switch endpoint {
	case "manifests":
		return parseManifest(name, last)
	case "blobs":
		return parseDigested(KindBlob, name, last)
	case "referrers":
		return parseDigested(KindReferrers, name, last)
	case "tags":
		return parseTags(name, last)
	case "uploads":
		return parseUpload(name, last)
	}
	return Request{}, ocierr.RouteUnknown
}

func parseManifest(name, reference string) (Request, error) {
	reference = unescapeColon(reference)
	request := Request{Kind: KindManifest, Reference: reference}
	if ValidTag(reference) {
		request.Tag = reference
	} else if d, err := digests.Parse(reference); err == nil {
		request.Digest = d
	}
	return parseNamed(request, name)
}

func parseDigested(kind Kind, name, last string) (Request, error) {
	request, err := parseNamed(Request{Kind: kind}, name)
	if err != nil {
		return Request{}, err
	}
	request.Digest, err = digests.Parse(unescapeColon(last))
	if err != nil {
		return Request{}, err
	}
	return request, nil
}

func parseTags(name, last string) (Request, error) {
	if last != "list" {
		return Request{}, ocierr.RouteUnknown
	}
	return parseNamed(Request{Kind: KindTags}, name)
}

func parseUpload(before, last string) (Request, error) {
	name, ok := strings.CutSuffix(before, "/blobs")
	if !ok {
		return Request{}, ocierr.RouteUnknown
	}
	request, err := parseNamed(Request{Kind: KindUpload}, name)
	if err != nil {
		return Request{}, err
	}
	request.SessionID, ok = parseSessionID(last)
	if !ok {
		return Request{}, ocierr.BlobUploadUnknown
	}
	return request, nil
}

// parseNamed adds the repository name.
func parseNamed(request Request, name string) (Request, error) {
	var err error
	request.Segment, request.Path, err = ParseName(name)
	if err != nil {
		return Request{}, err
	}
	return request, nil
}

// parseSessionID takes the canonical form only, of the many that the library
// reads: a session has one URL.
func parseSessionID(text string) (uuid.UUID, bool) {
	if len(text) != 36 || strings.ContainsAny(text, "ABCDEF") {
		return uuid.Nil, false
	}
	id, err := uuid.Parse(text)
	return id, err == nil
}

// unescapeColon allows the one escape that clients send, once, in the place
// where a digest may stand.
func unescapeColon(component string) string {
	before, after, found := strings.Cut(component, "%")
	if !found || len(after) < 2 || !strings.EqualFold(after[:2], "3a") || strings.Contains(after, "%") {
		return component
	}
	return before + ":" + after[2:]
}

func cutLast(text string) (before, last string, found bool) {
	at := strings.LastIndexByte(text, '/')
	if at < 0 {
		return "", text, false
	}
	return text[:at], text[at+1:], true
}
