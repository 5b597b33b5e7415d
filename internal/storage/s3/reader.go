package s3

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/berthregistry/berth/internal/storage"
	"github.com/berthregistry/berth/internal/storage/internal/buffer"
)

// errStalled is why a transfer is given up that stands still.
var errStalled = errors.New("no bytes for too long")

// reader reads the body of one answer. It must deliver exactly what the answer promised.
type reader struct {
	parent context.Context // the context of Open covers the reading
	ctx    context.Context // parent, and given up when the transfer stalls
	cancel context.CancelCauseFunc
	watch  *time.Timer // runs while a Read waits
	idle   time.Duration
	key    string
	body   io.ReadCloser
	left   int64 // bytes still owed, or -1 when the server did not say
	end    error // what follows them: io.EOF, or io.ErrUnexpectedEOF when the range is longer than the object
}

// Open implements storage.Store. A transfer that is cut, or stands still for longer than Options.IdleTimeout, fails
// with storage.ErrUnavailable and io.ErrUnexpectedEOF; only the latter stands for an object shorter than asked.
func (s *Store) Open(ctx context.Context, key string, offset, length int64) (io.ReadCloser, error) {
	if err := storage.ValidateKey(key); err != nil {
		return nil, fmt.Errorf("s3: open: %w", err)
	}
	if err := storage.ValidateRange(offset, length); err != nil {
		return nil, fmt.Errorf("s3: open %s: %w", key, err)
	}
	if length == 0 {
		return s.openNothing(ctx, key)
	}
	r := &reader{parent: ctx, key: key, idle: s.options.IdleTimeout, end: io.EOF}
	r.ctx, r.cancel = context.WithCancelCause(ctx)
	if err := s.get(r, offset, length); err != nil {
		r.cancel(nil)
		return nil, err
	}
	r.watch = time.AfterFunc(r.idle, func() { r.cancel(errStalled) })
	r.watch.Stop()
	return r, nil
}

// openNothing stands for an empty range, which HTTP cannot express.
func (s *Store) openNothing(ctx context.Context, key string) (io.ReadCloser, error) {
	bucket, name := s.object(key)
	if _, err := s.client.HeadObject(ctx, &awss3.HeadObjectInput{Bucket: bucket, Key: name}); err != nil {
		return nil, s.headFailure(ctx, "open", key, err)
	}
	return &reader{parent: ctx, key: key, cancel: func(error) {}, body: http.NoBody, end: io.EOF}, nil
}

// get sends the request and fills in what the answer says.
func (s *Store) get(r *reader, offset, length int64) error {
	bucket, name := s.object(r.key)
	byteRange := rangeHeader(offset, length)
	out, err := s.client.GetObject(r.ctx, &awss3.GetObjectInput{Bucket: bucket, Key: name, Range: byteRange})
	if code(err) == "InvalidRange" || status(err) == http.StatusRequestedRangeNotSatisfiable {
		r.body = http.NoBody
		if length > 0 {
			r.end = io.ErrUnexpectedEOF
		}
		return nil
	}
	if err != nil {
		return s.failure(r.parent, "open", r.key, err)
	}
	if byteRange != nil && !startsAt(out, offset) {
		_ = out.Body.Close()
		return fmt.Errorf("s3: open %s: %w: the answer is not the range asked for", r.key, storage.ErrUnavailable)
	}
	r.body, r.left = out.Body, -1
	if out.ContentLength != nil && *out.ContentLength >= 0 {
		r.left = *out.ContentLength
	}
	switch {
	case length < 0:
	case r.left < 0 || r.left > length:
		r.left = length
	case r.left < length:
		r.end = io.ErrUnexpectedEOF
	}
	return nil
}

func rangeHeader(offset, length int64) *string {
	switch {
	case length > 0:
		return aws.String(fmt.Sprintf("bytes=%d-%d", offset, offset+length-1))
	case offset > 0:
		return aws.String(fmt.Sprintf("bytes=%d-", offset))
	}
	return nil
}

// startsAt guards against servers and proxies that ignore Range.
func startsAt(out *awss3.GetObjectOutput, offset int64) bool {
	return strings.HasPrefix(aws.ToString(out.ContentRange), fmt.Sprintf("bytes %d-", offset))
}

// Read implements io.Reader.
func (r *reader) Read(p []byte) (int, error) {
	if err := r.parent.Err(); err != nil {
		return 0, fmt.Errorf("s3: read %s: %w", r.key, err)
	}
	if r.left == 0 {
		return 0, r.end
	}
	if r.left > 0 && int64(len(p)) > r.left {
		p = p[:r.left]
	}
	r.watch.Reset(r.idle)
	n, err := r.body.Read(p)
	r.watch.Stop()
	if r.left > 0 {
		r.left -= int64(n)
	}
	if err == nil {
		return n, nil
	}
	return n, r.verdict(err)
}

// verdict decides what the end of a body means.
func (r *reader) verdict(err error) error {
	if cause := r.parent.Err(); cause != nil {
		return fmt.Errorf("s3: read %s: %w", r.key, cause)
	}
	if errors.Is(err, io.EOF) && r.left <= 0 {
		return r.end
	}
	if cause := context.Cause(r.ctx); cause != nil {
		err = cause
	}
	return fmt.Errorf("s3: read %s: %w: %w: %w", r.key, storage.ErrUnavailable, io.ErrUnexpectedEOF, err)
}

// WriteTo implements io.WriterTo.
func (r *reader) WriteTo(w io.Writer) (int64, error) {
	return buffer.Copy(w, r)
}

// Close implements io.Closer. Closing before the end gives the connection up.
func (r *reader) Close() error {
	if r.watch != nil {
		r.watch.Stop()
	}
	err := r.body.Close()
	r.cancel(nil)
	if err != nil && r.parent.Err() == nil {
		return fmt.Errorf("s3: close %s: %w", r.key, err)
	}
	return nil
}
