package ocierr

import (
	"context"
	"errors"
	"net/http"
	"strconv"

	"github.com/berthregistry/berth/internal/database"
	"github.com/berthregistry/berth/internal/limits"
	"github.com/berthregistry/berth/internal/ratelimit"
	"github.com/berthregistry/berth/internal/storage"
)

// From finds the answer for any error. An *Error in the chain wins; a database
// or storage that does not answer, or not in time, is Unavailable; a request
// over a rate limit is TooManyRequests; a body over the limit of
// http.MaxBytesReader is 413; everything else is Internal.
// The error itself becomes the cause. From of nil is nil: test for it before
// assigning the result to a variable of type error.
func From(err error) *Error {
	if err == nil {
		return nil
	}
	if known, ok := errors.AsType[*Error](err); ok && known != nil {
		return withContext(known, err)
	}
	if unavailable(err) {
		return Unavailable.WithCause(err)
	}
	if limited, ok := errors.AsType[*ratelimit.Error](err); ok {
		return TooManyRequests.WithHeader("Retry-After", limited.RetryAfter()).WithCause(err)
	}
	if over, ok := errors.AsType[*limits.ExceededError](err); ok {
		return overLimit(over).WithCause(err)
	}
	if tooLarge, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return BlobTooLarge.With("request body exceeds %d bytes", tooLarge.Limit).WithCause(err)
	}
	return Internal.WithCause(err)
}

// overLimit answers for one thing too many: TooManyRequests where time helps, else Denied.
func overLimit(over *limits.ExceededError) *Error {
	if over.Wait > 0 {
		return TooManyRequests.With("%s", over).WithHeader("Retry-After", strconv.FormatInt(over.RetryAfter(), 10))
	}
	return Denied.With("%s", over)
}

// withContext keeps, for the log, what callers wrapped around an *Error.
func withContext(known *Error, err error) *Error {
	if error(known) == err { //nolint:errorlint // asks whether anything is wrapped around it
		return known
	}
	return known.WithCause(err)
}

// unavailable tells failures that time heals. A cancelled context is one of
// them: the client is gone, or this replica is draining.
func unavailable(err error) bool {
	return errors.Is(err, database.ErrUnavailable) ||
		errors.Is(err, storage.ErrUnavailable) ||
		errors.Is(err, context.DeadlineExceeded) ||
		errors.Is(err, context.Canceled)
}
