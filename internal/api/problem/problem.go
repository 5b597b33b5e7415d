// Package problem writes the errors of everything outside the registry API: problem details (RFC 9457) with types that
// stay as they are. Causes are logged with the request's ID and never sent.
package problem

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"

	"github.com/berthregistry/berth/internal/telemetry/reqlog"
)

// typePrefix begins the URI of every type.
const typePrefix = "urn:berth:problem:"

// Error is an error that has an answer. Values are immutable: the With methods return copies.
type Error struct {
	// Kind is the last part of the type's URI.
	Kind string
	// Status is that of the answer.
	Status int
	// Title says what the type means; it is the same for all errors of a type.
	Title string
	// Detail says what is wrong this time. It is sent.
	Detail string
	// Fields points at what is wrong in the request.
	Fields []Field
	// Header is added to the answer.
	Header http.Header

	cause error
}

// Field says what is wrong with one field.
type Field struct {
	// Pointer is a JSON pointer into the body, "?name" for a query parameter, or the name of a header.
	Pointer string `json:"pointer"`
	// Detail says what is wrong with it.
	Detail string `json:"detail"`
}

// The types. Their Kind and Status are part of the contract.
var (
	BadRequest           = kind(http.StatusBadRequest, "bad-request", "The request cannot be read")
	Unauthenticated      = kind(http.StatusUnauthorized, "unauthenticated", "Not signed in")
	Forbidden            = kind(http.StatusForbidden, "forbidden", "Not allowed")
	NotFound             = kind(http.StatusNotFound, "not-found", "Not found")
	MethodNotAllowed     = kind(http.StatusMethodNotAllowed, "method-not-allowed", "Method not allowed")
	Conflict             = kind(http.StatusConflict, "conflict", "Not possible in the current state")
	SlugTaken            = kind(http.StatusConflict, "slug-taken", "The name is in use")
	SlugReserved         = kind(http.StatusConflict, "slug-reserved", "The name is reserved")
	AlreadyExists        = kind(http.StatusConflict, "already-exists", "It exists already")
	AlreadyClaimed       = kind(http.StatusConflict, "already-claimed", "Somebody was faster")
	LastOwner            = kind(http.StatusConflict, "last-owner", "The last owner has to stay")
	LastAdmin            = kind(http.StatusConflict, "last-admin", "The last admin has to stay")
	Immutable            = kind(http.StatusConflict, "immutable", "The tag stays as it is")
	OverQuota            = kind(http.StatusConflict, "over-quota", "There is no room for it")
	InProgress           = kind(http.StatusConflict, "in-progress", "The same request is being answered, or was cut off")
	VersionMismatch      = kind(http.StatusPreconditionFailed, "version-mismatch", "It has changed since")
	TooLarge             = kind(http.StatusRequestEntityTooLarge, "too-large", "The request is too large")
	UnsupportedMediaType = kind(http.StatusUnsupportedMediaType, "unsupported-media-type", "The request is not JSON")
	Invalid              = kind(http.StatusUnprocessableEntity, "invalid", "Invalid request")
	KeyReused            = kind(http.StatusUnprocessableEntity, "idempotency-key-reused", "The key belongs to another request")
	OverLimit            = kind(http.StatusForbidden, "over-limit", "There are too many already")
	TooManyRequests      = kind(http.StatusTooManyRequests, "too-many-requests", "Too many requests")
	Internal             = kind(http.StatusInternalServerError, "internal", "Something went wrong here")
	Unavailable          = kind(http.StatusServiceUnavailable, "unavailable", "Temporarily unavailable").
				WithHeader("Retry-After", "5")
)

func kind(status int, name, title string) *Error {
	return &Error{Kind: name, Status: status, Title: title}
}

// Error implements error. It includes the cause.
func (e *Error) Error() string {
	text := e.Kind
	if e.Detail != "" {
		text += ": " + e.Detail
	}
	if e.cause != nil {
		text += ": " + e.cause.Error()
	}
	return text
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.cause }

// Is tells whether target is of the same type.
func (e *Error) Is(target error) bool {
	other, ok := target.(*Error)
	return ok && other.Kind == e.Kind
}

// With returns a copy with a detail, which is sent.
func (e *Error) With(format string, args ...any) *Error {
	c := *e
	c.Detail = fmt.Sprintf(format, args...)
	return &c
}

// WithCause returns a copy with a cause, which is logged and not sent.
func (e *Error) WithCause(err error) *Error {
	c := *e
	c.cause = err
	return &c
}

// WithFields returns a copy that points at what is wrong in the request.
func (e *Error) WithFields(fields ...Field) *Error {
	c := *e
	c.Fields = append(append([]Field(nil), e.Fields...), fields...)
	return &c
}

// WithHeader returns a copy whose answer has one more header.
func (e *Error) WithHeader(name, value string) *Error {
	c := *e
	if c.Header = e.Header.Clone(); c.Header == nil {
		c.Header = http.Header{}
	}
	c.Header.Set(name, value)
	return &c
}

// details is the body of an answer.
type details struct {
	Type      string  `json:"type"`
	Title     string  `json:"title"`
	Status    int     `json:"status"`
	Detail    string  `json:"detail,omitempty"`
	Errors    []Field `json:"errors,omitempty"`
	RequestID string  `json:"request_id,omitempty"`
}

// Write answers a request with e and notes the cause for the log. Nothing must have been written before. The answer to
// HEAD has no body.
func (e *Error) Write(w http.ResponseWriter, r *http.Request) {
	reqlog.Fail(r.Context(), e.cause)
	// Marshalling texts and numbers cannot fail.
	body, _ := json.Marshal(details{
		Type: typePrefix + e.Kind, Title: e.Title, Status: e.Status, Detail: e.Detail, Errors: e.Fields,
		RequestID: reqlog.ID(r.Context()),
	})
	header := w.Header()
	for _, name := range []string{"Etag", "Link", "Location"} { // of the content that is not sent now
		header.Del(name)
	}
	header.Set("Content-Type", "application/problem+json")
	header.Set("Content-Length", strconv.Itoa(len(body)))
	header.Set("Cache-Control", "no-store")
	header.Set("X-Content-Type-Options", "nosniff")
	for name, values := range e.Header {
		header[name] = append([]string(nil), values...)
	}
	w.WriteHeader(e.Status)
	if r.Method != http.MethodHead {
		_, _ = w.Write(body) // the client may be gone; there is nobody left to tell
	}
}
