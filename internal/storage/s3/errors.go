package s3

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"

	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/smithy-go"

	"github.com/berthregistry/berth/internal/storage"
)

// failure turns an error of the SDK into one of the port's. Whatever is not understood counts as unavailability: a
// missing bucket, an expired credential or a broken proxy is the operator's to mend, and the client's to wait for.
func (s *Store) failure(ctx context.Context, op, key string, err error) error {
	if err == nil {
		return nil
	}
	if cause := ctx.Err(); cause != nil {
		return fmt.Errorf("s3: %s %s: %w", op, key, cause)
	}
	if sentinel := sentinelOf(err); sentinel != nil {
		return fmt.Errorf("s3: %s %s: %w", op, key, sentinel)
	}
	return fmt.Errorf("s3: %s %s: %w: %w", op, key, storage.ErrUnavailable, err)
}

// headFailure is failure for HEAD, whose answer has no body to carry a code. Elsewhere a 404 without one is no word of
// S3's, but of a proxy that lost its way.
func (s *Store) headFailure(ctx context.Context, op, key string, err error) error {
	if ctx.Err() == nil && status(err) == http.StatusNotFound {
		return fmt.Errorf("s3: %s %s: %w", op, key, storage.ErrNotFound)
	}
	return s.failure(ctx, op, key, err)
}

// sentinelOf knows the answers that are about the object.
func sentinelOf(err error) error {
	switch code(err) {
	case "NoSuchKey":
		return storage.ErrNotFound
	case "PreconditionFailed":
		return storage.ErrExists
	case "InvalidRange":
		return io.ErrUnexpectedEOF
	}
	return nil
}

// code returns the error code that the server sent, if any.
func code(err error) string {
	var api smithy.APIError
	if errors.As(err, &api) {
		return api.ErrorCode()
	}
	return ""
}

// status returns the HTTP status that the server sent, or 0 when there was no answer.
func status(err error) int {
	var res *awshttp.ResponseError
	if errors.As(err, &res) {
		return res.HTTPStatusCode()
	}
	return 0
}

// unknownHeader says that the server refuses a request because it does not know a header in it.
func unknownHeader(err error) bool {
	return status(err) == http.StatusNotImplemented || code(err) == "NotImplemented"
}
