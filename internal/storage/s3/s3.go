// Package s3 keeps objects in a bucket of Amazon S3 or of a server that speaks its protocol.
//
// S3 takes an object only with its length known, so a Writer gathers its bytes in a spool first, a little memory and
// then an unlinked temporary file, and sends them at Commit in one request. That request carries a CRC32C, computed
// while the bytes came in and checked by the server before it acknowledges, and asks for no second hash of the body.
//
// What S3 acknowledged is durable. A Commit whose outcome stayed unknown (cancelled, connection cut) may still take
// effect on the server; Abort then deletes the key, and what escapes even that is an orphan without a row.
package s3

import (
	"context"
	"fmt"
	"os"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go/middleware"

	"github.com/berthregistry/berth/internal/storage"
)

const (
	mib = 1 << 20
	gib = 1 << 30
)

// Options tunes a store. The zero value of each field means its default.
type Options struct {
	// UploadMemory bounds the memory of all spools together, in bytes; default 256 MiB. It is never waited for: when
	// it is used up, spools go to disk at once. A negative value means no memory at all.
	UploadMemory int64
	// SpoolDir is the folder of the temporary files; default os.TempDir(). It should be on a disk.
	SpoolDir string
	// SpoolMax bounds the disk space of all spools together, in bytes; default 16 GiB. A Write beyond it waits, at
	// most 30 seconds, until others are done, and then fails with storage.ErrUnavailable. A negative value means no
	// disk at all.
	SpoolMax int64
	// Attempts is how often a request is sent at most that fails, with jittered exponential back-off between; default 4.
	// One that is not answered in time is sent once: its caller has waited for long enough.
	Attempts int
	// MaxBackoff is the longest pause before a request is sent again; default 5 seconds.
	MaxBackoff time.Duration
	// IdleTimeout is how long a transfer may stand still while the server owes or takes bytes, and how long the server
	// may take to begin its answer; default 1 minute. It does not limit how long a transfer takes that moves.
	IdleTimeout time.Duration
	// Middleware is added to every request, for instance for tracing.
	Middleware []func(*middleware.Stack) error
}

func (o Options) withDefaults() Options {
	o.UploadMemory = orDefault(o.UploadMemory, 256*mib)
	o.SpoolMax = orDefault(o.SpoolMax, 16*gib)
	o.Attempts = orDefault(o.Attempts, 4)
	o.MaxBackoff = orDefault(o.MaxBackoff, 5*time.Second)
	o.IdleTimeout = orDefault(o.IdleTimeout, time.Minute)
	o.SpoolDir = orDefault(o.SpoolDir, os.TempDir())
	return o
}

func orDefault[T comparable](value, fallback T) T {
	var zero T
	if value == zero {
		return fallback
	}
	return value
}

// Store keeps objects in a bucket. It implements storage.Store.
type Store struct {
	location Location
	options  Options
	client   *awss3.Client
	presign  *presigner
	fast     *httpClient // for requests that answer soon
	slow     *httpClient // for copies inside the server, which answer when they are done
	spools   *spools
	puts     chan struct{}             // holds one element for each object that is being sent
	sent     atomic.Pointer[time.Time] // when one was, the last time; nil: never

	// unconditional is set once the server turned out not to know If-None-Match on writes.
	unconditional atomic.Bool
}

var _ storage.Store = (*Store)(nil)

// New prepares a store at a location with credentials from the standard AWS chain. It sends nothing to the bucket:
// see Check. It returns storage.ErrInvalid when the configuration cannot work.
func New(ctx context.Context, loc Location, options Options) (*Store, error) {
	options = options.withDefaults()
	spools, err := newSpools(options)
	if err != nil {
		return nil, err
	}
	s := &Store{location: loc, options: options, spools: spools, puts: make(chan struct{}, maxPuts)}
	if err := s.connect(ctx); err != nil {
		return nil, err
	}
	return s, nil
}

// SpoolStats tells what the spools hold at the moment.
func (s *Store) SpoolStats() SpoolStats { return s.spools.stats() }

// Check asks whether the bucket is there and may be used, in one request without retries. It needs the permission
// s3:ListBucket.
func (s *Store) Check(ctx context.Context) error {
	_, err := s.client.HeadBucket(ctx, &awss3.HeadBucketInput{Bucket: aws.String(s.location.Bucket)}, once)
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return s.failure(ctx, "check", s.location.Bucket, err)
	}
	return fmt.Errorf("s3: check %s: %w: %w", s.location.Bucket, storage.ErrUnavailable, err)
}

// Limits suggests chunks that one request carries well. Four puts at once saturate what one connection cannot.
func (s *Store) Limits() storage.Limits {
	return storage.Limits{ChunkSize: 16 * mib, MinChunk: 5 * mib, Pipeline: 4}
}

// Close drops idle connections. It always returns nil.
func (s *Store) Close() error {
	s.fast.CloseIdleConnections()
	s.slow.CloseIdleConnections()
	return nil
}

// object returns the bucket and the whole key of an object.
func (s *Store) object(key string) (bucket, name *string) {
	return aws.String(s.location.Bucket), aws.String(s.location.Prefix + key)
}

// once sends a request without retries.
func once(o *awss3.Options) { o.Retryer = aws.NopRetryer{} }

// patiently waits longer for the answer to begin.
func (s *Store) patiently(o *awss3.Options) { o.HTTPClient = s.slow }
