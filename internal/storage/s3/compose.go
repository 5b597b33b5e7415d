package s3

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"golang.org/x/sync/errgroup"

	"github.com/berthregistry/berth/internal/storage"
)

const (
	composeParallel = 4               // parts of one object that are made at once
	beginGrace      = 3 * time.Second // from a cancellation until the ID of a multipart upload is given up
	abortPause      = 50 * time.Millisecond
	abortRepeats    = 4
)

// Compose implements storage.Store. Ranges of 5 MiB and more are copied by the server; smaller ones are read and
// uploaded together. Objects of more than 5 TiB yield storage.ErrInvalid. A process that dies meanwhile leaves parts
// behind that no listing shows: give the bucket a lifecycle rule that aborts incomplete multipart uploads.
func (s *Store) Compose(ctx context.Context, dst string, parts []storage.Part) error {
	total, err := storage.ValidateParts(dst, parts)
	if err != nil {
		return fmt.Errorf("s3: compose: %w", err)
	}
	steps, err := plan(parts, total)
	if err != nil {
		return fmt.Errorf("s3: compose %s: %w", dst, err)
	}
	if len(steps) == 0 {
		steps = []step{{}}
	}
	if len(steps) == 1 && !steps[0].copied {
		err = s.composeSmall(ctx, dst, steps[0])
	} else {
		err = s.composeLarge(ctx, dst, steps, total)
	}
	if errors.Is(err, errUnclear) {
		return errors.Join(err, s.expunge(ctx, dst))
	}
	return err
}

// composeSmall reads everything and puts it.
func (s *Store) composeSmall(ctx context.Context, dst string, st step) error {
	body, err := s.gather(ctx, st)
	if err != nil {
		return fmt.Errorf("s3: compose %s: %w", dst, err)
	}
	defer body.release()
	return s.put(ctx, dst, body)
}

// gather reads the sources of a step into a spool, which the caller releases.
func (s *Store) gather(ctx context.Context, st step) (*spool, error) {
	body := s.spools.newSpool()
	for _, p := range st.sources {
		if err := s.gatherOne(ctx, body, p); err != nil {
			body.release()
			return nil, err
		}
	}
	return body, nil
}

func (s *Store) gatherOne(ctx context.Context, body *spool, p storage.Part) error {
	r, err := s.Open(ctx, p.Key, p.Offset, p.Length)
	if err != nil {
		return err
	}
	if _, err := io.Copy(patientSpool{ctx, body}, r); err != nil {
		_ = r.Close()
		return err
	}
	return r.Close()
}

// multipart is one multipart upload.
type multipart struct {
	store  *Store
	key    string
	bucket *string
	name   *string
	id     *string
}

// composeLarge makes a multipart upload and aborts it unless it is completed.
func (s *Store) composeLarge(ctx context.Context, dst string, steps []step, total int64) error {
	m, err := s.beginMultipart(ctx, dst)
	if err != nil {
		return err
	}
	parts, err := m.makeAll(ctx, steps)
	if err == nil {
		err = m.complete(ctx, parts, total)
	}
	if err != nil {
		return errors.Join(err, m.abort(ctx))
	}
	return nil
}

// beginMultipart waits a little for the answer even when the context ends: without the upload's ID nobody can abort it.
func (s *Store) beginMultipart(ctx context.Context, dst string) (*multipart, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("s3: compose %s: %w", dst, err)
	}
	patient, cancel := outlive(ctx, beginGrace)
	defer cancel()
	bucket, name := s.object(dst)
	out, err := s.client.CreateMultipartUpload(patient, &awss3.CreateMultipartUploadInput{
		Bucket: bucket, Key: name, ContentType: aws.String("application/octet-stream"),
	})
	if err != nil {
		return nil, s.failure(ctx, "begin composing", dst, err)
	}
	return &multipart{store: s, key: dst, bucket: bucket, name: name, id: out.UploadId}, nil
}

// outlive returns a context that ends a while after its parent does.
func outlive(parent context.Context, grace time.Duration) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(parent))
	stop := context.AfterFunc(parent, func() {
		timer := time.AfterFunc(grace, cancel)
		context.AfterFunc(ctx, func() { timer.Stop() })
	})
	return ctx, func() {
		stop()
		cancel()
	}
}

// makeAll makes the parts, several at once, and ends with the first failure.
func (m *multipart) makeAll(ctx context.Context, steps []step) ([]types.CompletedPart, error) {
	parts := make([]types.CompletedPart, len(steps))
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(composeParallel)
	for i, st := range steps {
		if groupCtx.Err() != nil {
			break
		}
		group.Go(func() error {
			number := int32(i + 1) // at most 10,000
			etag, err := m.makePart(groupCtx, number, st)
			parts[i] = types.CompletedPart{ETag: etag, PartNumber: aws.Int32(number)}
			return err
		})
	}
	err := group.Wait()
	if err == nil {
		err = ctx.Err() // it may have ended the loop
	}
	if err != nil {
		return nil, fmt.Errorf("s3: compose %s: %w", m.key, err)
	}
	return parts, nil
}

func (m *multipart) makePart(ctx context.Context, number int32, st step) (*string, error) {
	if st.copied {
		return m.copyPart(ctx, number, st.sources[0])
	}
	return m.uploadPart(ctx, number, st)
}

func (m *multipart) copyPart(ctx context.Context, number int32, p storage.Part) (*string, error) {
	out, err := m.store.client.UploadPartCopy(ctx, &awss3.UploadPartCopyInput{
		Bucket: m.bucket, Key: m.name, UploadId: m.id, PartNumber: aws.Int32(number),
		CopySource: aws.String(m.store.copySource(p.Key)), CopySourceRange: rangeHeader(p.Offset, p.Length),
	}, m.store.patiently)
	if code(err) == "InvalidArgument" { // what S3 says of a range beyond the end; the source is otherwise well-formed
		return nil, fmt.Errorf("s3: copy %s: %w: %w", p.Key, io.ErrUnexpectedEOF, err)
	}
	if err != nil {
		return nil, m.store.failure(ctx, "copy", p.Key, err)
	}
	return out.CopyPartResult.ETag, nil
}

// uploadPart lets the SDK sign the body's hash: these parts are few and small.
func (m *multipart) uploadPart(ctx context.Context, number int32, st step) (*string, error) {
	body, err := m.store.gather(ctx, st)
	if err != nil {
		return nil, err
	}
	defer body.release()
	out, err := m.store.client.UploadPart(ctx, &awss3.UploadPartInput{
		Bucket: m.bucket, Key: m.name, UploadId: m.id, PartNumber: aws.Int32(number),
		Body: body.reader(), ContentLength: aws.Int64(body.size()),
	})
	if err != nil {
		return nil, m.store.failure(ctx, "upload part of", m.key, err)
	}
	return out.ETag, nil
}

// complete makes the object visible. When the answer to a first attempt is lost, the next one finds the upload gone.
func (m *multipart) complete(ctx context.Context, parts []types.CompletedPart, total int64) error {
	ctx, seen := watchAttempts(ctx)
	err := m.store.conditionally(func(ifNoneMatch *string) error {
		_, err := m.store.client.CompleteMultipartUpload(ctx, &awss3.CompleteMultipartUploadInput{
			Bucket: m.bucket, Key: m.name, UploadId: m.id, IfNoneMatch: ifNoneMatch,
			MultipartUpload: &types.CompletedMultipartUpload{Parts: parts},
		}, m.store.patiently)
		return err
	})
	if code(err) == "NoSuchUpload" && seen.unclear.Load() > 0 && m.store.holds(ctx, m.key, total, "") {
		return nil
	}
	return m.store.verdict(ctx, "complete", m.key, err, seen, total, "")
}

// abort frees what the parts occupy. A part that the server is still busy with, although its request was cancelled, can
// outlive one abort; so it is repeated until the server knows the upload no more, or a few times.
func (m *multipart) abort(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanTimeout)
	defer cancel()
	var err error
	for pause := abortPause; pause <= abortPause<<abortRepeats; pause *= 2 {
		_, err = m.store.client.AbortMultipartUpload(ctx, &awss3.AbortMultipartUploadInput{
			Bucket: m.bucket, Key: m.name, UploadId: m.id,
		})
		if code(err) == "NoSuchUpload" {
			return nil
		}
		if !wait(ctx, pause) {
			break
		}
	}
	if err != nil {
		return fmt.Errorf("s3: abort composing %s: %w: %w", m.key, storage.ErrUnavailable, err)
	}
	return nil
}

// wait says whether the pause passed before the context ended.
func wait(ctx context.Context, pause time.Duration) bool {
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// copySource names a source as the header x-amz-copy-source wants it: URL-encoded, slashes apart.
func (s *Store) copySource(key string) string {
	name := s.location.Bucket + "/"
	if strings.HasPrefix(s.location.Bucket, "arn:") {
		name += "object/"
	}
	segments := strings.Split(name+s.location.Prefix+key, "/")
	for i, segment := range segments {
		segments[i] = url.PathEscape(segment)
	}
	return strings.Join(segments, "/")
}
