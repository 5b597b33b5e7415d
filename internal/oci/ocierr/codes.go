package ocierr

import "net/http"

// The codes of the section "Error Codes" of the OCI Distribution
// Specification, and the two that every registry adds for failures of its own
// (UNKNOWN and UNAVAILABLE, known to clients since Docker Distribution).
const (
	codeBlobUnknown         = "BLOB_UNKNOWN"
	codeBlobUploadInvalid   = "BLOB_UPLOAD_INVALID"
	codeBlobUploadUnknown   = "BLOB_UPLOAD_UNKNOWN"
	codeDigestInvalid       = "DIGEST_INVALID"
	codeManifestBlobUnknown = "MANIFEST_BLOB_UNKNOWN"
	codeManifestInvalid     = "MANIFEST_INVALID"
	codeManifestUnknown     = "MANIFEST_UNKNOWN"
	codeNameInvalid         = "NAME_INVALID"
	codeNameUnknown         = "NAME_UNKNOWN"
	codeSizeInvalid         = "SIZE_INVALID"
	codeUnauthorized        = "UNAUTHORIZED"
	codeDenied              = "DENIED"
	codeUnsupported         = "UNSUPPORTED"
	codeTooManyRequests     = "TOOMANYREQUESTS"
	codeUnavailable         = "UNAVAILABLE"
	codeUnknown             = "UNKNOWN"
)

// What is missing.
var (
	// BlobUnknown answers for a blob that the repository does not show
	// (section "Pulling blobs").
	BlobUnknown = define(http.StatusNotFound, codeBlobUnknown, "blob unknown to registry")

	// BlobUploadUnknown answers for a session that does not exist, has ended,
	// or belongs to somebody else (end-5, end-6, end-13, end-14).
	BlobUploadUnknown = define(http.StatusNotFound, codeBlobUploadUnknown, "blob upload unknown to registry")

	// ManifestUnknown answers for a tag or digest that the repository does not
	// show (section "Pulling manifests").
	ManifestUnknown = define(http.StatusNotFound, codeManifestUnknown, "manifest unknown to registry")

	// NameUnknown answers for a repository that does not exist
	// (section "Pushing Manifests").
	NameUnknown = define(http.StatusNotFound, codeNameUnknown, "repository name not known to registry")

	// RouteUnknown answers for a path that is none of the section "Endpoints".
	RouteUnknown = define(http.StatusNotFound, codeUnsupported, "no such endpoint")
)

// What is wrong with the request.
var (
	// BlobUploadInvalid answers for an upload request that contradicts itself
	// (section "Pushing blobs").
	BlobUploadInvalid = define(http.StatusBadRequest, codeBlobUploadInvalid, "blob upload invalid")

	// DigestInvalid answers for a digest of bad form, of an unsupported
	// algorithm, or not of the content sent (section "Pushing blobs").
	DigestInvalid = define(http.StatusBadRequest, codeDigestInvalid, "provided digest did not match uploaded content")

	// ManifestBlobUnknown answers a manifest whose descriptors name content
	// that the repository lacks (section "Push"). The specification fixes the
	// code and leaves the status open. It is 400, as Docker Distribution and
	// the registries that follow it answer: to clients a 404 of a PUT means
	// that the repository or the endpoint is missing (some then fall back to
	// older protocols or report "not found" for the tag), whereas with a 400
	// they look at the code, and oras copies the missing content again.
	ManifestBlobUnknown = define(http.StatusBadRequest, codeManifestBlobUnknown, "manifest references a manifest or blob unknown to registry")

	// ManifestInvalid answers for a manifest that does not parse, or is of a
	// type that is not served (section "Pushing Manifests").
	ManifestInvalid = define(http.StatusBadRequest, codeManifestInvalid, "manifest invalid")

	// NameInvalid answers for a repository name outside the grammar of the
	// section "Pulling manifests".
	NameInvalid = define(http.StatusBadRequest, codeNameInvalid, "invalid repository name")

	// SizeInvalid answers for a body that is not as long as announced.
	SizeInvalid = define(http.StatusBadRequest, codeSizeInvalid, "provided length did not match content length")

	// Unsupported answers for a method that an endpoint does not have.
	Unsupported = define(http.StatusMethodNotAllowed, codeUnsupported, "the operation is unsupported")
)

// What is out of bounds.
var (
	// BlobTooLarge answers for a blob over the configured size. It has the code
	// and status of ManifestTooLarge, so errors.Is does not tell them apart.
	BlobTooLarge = define(http.StatusRequestEntityTooLarge, codeSizeInvalid, "blob exceeds the size limit")

	// ManifestTooLarge answers for a manifest over the size limit
	// (section "Pushing Manifests").
	ManifestTooLarge = define(http.StatusRequestEntityTooLarge, codeSizeInvalid, "manifest exceeds the size limit")

	// RangeInvalid answers for an upload's Content-Range that is malformed or
	// out of order (section "Pushing a blob in chunks").
	RangeInvalid = define(http.StatusRequestedRangeNotSatisfiable, codeBlobUploadInvalid, "content range does not continue the upload")

	// PreconditionFailed answers for content that If-Match does not name
	// (RFC 9110, section 13.1.1); the specification has no code for it.
	PreconditionFailed = define(http.StatusPreconditionFailed, codeUnsupported, "the content is not what If-Match names")

	// RangeNotSatisfiable answers for a Range outside a blob
	// (section "Pulling blobs"; RFC 9110, section 15.5.17).
	RangeNotSatisfiable = define(http.StatusRequestedRangeNotSatisfiable, codeSizeInvalid, "requested range is outside the content")
)

// Who asks, and how often.
var (
	// Unauthorized answers for missing or insufficient credentials; the
	// challenge is added as a header.
	Unauthorized = define(http.StatusUnauthorized, codeUnauthorized, "authentication required")

	// Denied answers for what the policy refuses to a known caller.
	Denied = define(http.StatusForbidden, codeDenied, "requested access to the resource is denied")

	// TooManyRequests answers over a rate limit; the specification asks for the
	// Retry-After, which callers that know better replace.
	TooManyRequests = define(http.StatusTooManyRequests, codeTooManyRequests, "too many requests").WithHeader("Retry-After", "1")
)

// What is wrong on this side.
var (
	// Unavailable answers while the database or the storage does not.
	Unavailable = define(http.StatusServiceUnavailable, codeUnavailable, "the registry is unavailable for the moment").WithHeader("Retry-After", "1")

	// Internal answers for everything unexpected.
	Internal = define(http.StatusInternalServerError, codeUnknown, "internal error")
)

func define(status int, code, message string) *Error {
	return &Error{Status: status, Code: code, Message: message}
}
