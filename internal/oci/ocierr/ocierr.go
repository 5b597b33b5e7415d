// Package ocierr is the error vocabulary of the OCI plane: every failure that
// a client may see under /v2 and /auth is an *Error, and Write is the only
// place that turns one into a response (OCI Distribution Specification,
// section "Error Codes").
package ocierr

import (
	"fmt"
	"net/http"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxMessage bounds a message in bytes; messages quote what clients sent.
const maxMessage = 512

// Error is one entry of the OCI error envelope with the status, the headers
// and the cause around it. Values are immutable by convention: the With
// methods return copies, so that the package's variables can be refined.
type Error struct {
	// Status is the HTTP status of the response.
	Status int
	// Code is the identifier of the section "Error Codes" of the specification.
	Code string
	// Message is for people. Clients see it, so it holds no causes.
	Message string
	// Detail is optional data that is marshalled to JSON.
	Detail any
	// Header is added to the response.
	Header http.Header
	// Cause is logged and never sent.
	Cause error
}

// Error describes the error for logs, cause included.
func (e *Error) Error() string {
	text := fmt.Sprintf("%s (%d): %s", e.Code, e.Status, e.Message)
	if e.Cause == nil {
		return text
	}
	return text + ": " + e.Cause.Error()
}

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Cause }

// Is makes errors.Is compare the code and the status, so that a refined copy
// still is the variable it was made from.
func (e *Error) Is(target error) bool {
	other, ok := target.(*Error)
	return ok && other != nil && e.Code == other.Code && e.Status == other.Status
}

// With returns a copy with another message. What the arguments quote is
// bounded in length and cleaned of control characters.
func (e *Error) With(format string, args ...any) *Error {
	refined := e.copy()
	refined.Message = cleanMessage(fmt.Sprintf(format, args...))
	return refined
}

// WithDetail returns a copy with a detail. Write drops details that cannot be
// marshalled or are longer than 4 KiB.
func (e *Error) WithDetail(detail any) *Error {
	refined := e.copy()
	refined.Detail = detail
	return refined
}

// WithHeader returns a copy whose response carries the header; an earlier
// value of the same header is replaced.
func (e *Error) WithHeader(key, value string) *Error {
	refined := e.copy()
	refined.Header = e.Header.Clone()
	if refined.Header == nil {
		refined.Header = make(http.Header, 1)
	}
	refined.Header.Set(key, value)
	return refined
}

// WithCause returns a copy with a cause, which is logged and never sent.
func (e *Error) WithCause(cause error) *Error {
	refined := e.copy()
	refined.Cause = cause
	return refined
}

func (e *Error) copy() *Error {
	refined := *e
	return &refined
}

// cleanMessage makes any text safe to send and to log on one line.
func cleanMessage(text string) string {
	if len(text) > maxMessage {
		text = truncate(text, maxMessage)
	}
	return strings.Map(printable, text)
}

// truncate cuts at a rune boundary and marks the cut.
func truncate(text string, limit int) string {
	const mark = "..."
	cut := limit - len(mark)
	for cut > limit-len(mark)-utf8.UTFMax && !utf8.RuneStart(text[cut]) {
		cut--
	}
	return text[:cut] + mark
}

// printable replaces control, formatting (bidirectional overrides) and
// invalid characters: a message ends up in terminals.
func printable(r rune) rune {
	if r == utf8.RuneError || !unicode.IsPrint(r) {
		return '?'
	}
	return r
}
