package s3

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/berthregistry/berth/internal/storage"
)

// cleanTimeout bounds the requests that clean up after a failure, whose own context is done already.
const cleanTimeout = 10 * time.Second

// errUnclear marks failures after which the server may have stored the object all the same.
var errUnclear = errors.New("outcome unknown")

// maxPuts is how many objects are sent at once. More are no faster, and each takes buffers and a connection.
const maxPuts = 16

// put stores the bytes of a spool as one object.
func (s *Store) put(ctx context.Context, key string, body *spool) error {
	if err := s.takeTurn(ctx, key); err != nil {
		return err
	}
	defer func() { <-s.puts }()
	ctx, seen := watchAttempts(ctx)
	err := s.conditionally(func(ifNoneMatch *string) error {
		return s.putOnce(ctx, key, body, ifNoneMatch)
	})
	if err = s.verdict(ctx, "put", key, err, seen, body.size(), checksum(body)); err == nil {
		now := time.Now()
		s.sent.Store(&now)
	}
	return err
}

// takeTurn waits until fewer than maxPuts objects are being sent, in the order of those who ask. While others are done,
// however slowly, it goes on waiting; it gives up when none was for as long as a server that hangs keeps them.
func (s *Store) takeTurn(ctx context.Context, key string) error {
	select {
	case s.puts <- struct{}{}:
		return nil
	default:
	}
	late := time.NewTimer(s.options.IdleTimeout)
	defer late.Stop()
	for {
		select {
		case s.puts <- struct{}{}:
			return nil
		case <-late.C:
			sent := s.sent.Load()
			if sent == nil || time.Since(*sent) >= s.options.IdleTimeout {
				return fmt.Errorf("s3: put %s: %w: %d others are being sent, and none is done", key, storage.ErrUnavailable, maxPuts)
			}
			late.Reset(s.options.IdleTimeout - time.Since(*sent))
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func (s *Store) putOnce(ctx context.Context, key string, body *spool, ifNoneMatch *string) error {
	bucket, name := s.object(key)
	_, err := s.client.PutObject(ctx, &awss3.PutObjectInput{
		Bucket: bucket, Key: name, Body: body.reader(), ContentLength: aws.Int64(body.size()),
		ContentType: aws.String("application/octet-stream"), ChecksumCRC32C: aws.String(checksum(body)), IfNoneMatch: ifNoneMatch,
	}, awss3.WithAPIOptions(v4.SwapComputePayloadSHA256ForUnsignedPayloadMiddleware))
	return err
}

// checksum returns the CRC32C of a spool as S3 writes it.
func checksum(body *spool) string {
	return base64.StdEncoding.EncodeToString(binary.BigEndian.AppendUint32(nil, body.crc))
}

// conditionally sends a write that must not replace anything, and again without that condition when the server does
// not know it, which is remembered.
func (s *Store) conditionally(write func(ifNoneMatch *string) error) error {
	if s.unconditional.Load() {
		return write(nil)
	}
	err := write(aws.String("*"))
	if err == nil || !unknownHeader(err) {
		return err
	}
	if err = write(nil); err == nil {
		s.unconditional.Store(true)
	}
	return err
}

// verdict decides what became of a conditional write. The answer to an attempt may be lost after the object was
// stored; the next attempt then finds the key taken by our own bytes. A failure is clear when every attempt got a
// definite no; the one that hides in a 200 is not.
func (s *Store) verdict(
	ctx context.Context, op, key string, err error, seen *attempts, size int64, crc string,
) error {
	if err == nil {
		return nil
	}
	failure := s.failure(ctx, op, key, err)
	unclear := seen.unclear.Load() > 0
	if errors.Is(failure, storage.ErrExists) {
		if unclear && s.holds(ctx, key, size, crc) {
			return nil
		}
		return failure
	}
	if !unclear && status(err) != http.StatusOK {
		return failure
	}
	return fmt.Errorf("%w (%w)", failure, errUnclear)
}

// holds says whether the object under a key is the one that was sent. crc is empty where it is unknown; servers that
// keep no checksum are judged by the length alone, since nobody else draws the same key.
func (s *Store) holds(ctx context.Context, key string, size int64, crc string) bool {
	bucket, name := s.object(key)
	out, err := s.client.HeadObject(ctx, &awss3.HeadObjectInput{Bucket: bucket, Key: name, ChecksumMode: "ENABLED"})
	if err != nil || aws.ToInt64(out.ContentLength) != size {
		return false
	}
	stored := aws.ToString(out.ChecksumCRC32C)
	return crc == "" || stored == "" || stored == crc
}

// expunge deletes an object that a failed write may have left, also when the context is done.
func (s *Store) expunge(ctx context.Context, key string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanTimeout)
	defer cancel()
	bucket, name := s.object(key)
	_, err := s.client.DeleteObject(ctx, &awss3.DeleteObjectInput{Bucket: bucket, Key: name}, once)
	if err != nil {
		return fmt.Errorf("s3: clean up %s: %w: %w", key, storage.ErrUnavailable, err)
	}
	return nil
}
