package s3

import (
	"context"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/berthregistry/berth/internal/recent"
	"github.com/berthregistry/berth/internal/storage"
)

// The life of a presigned URL, as AWS allows it. Temporary credentials may end it sooner.
const (
	minPresign = time.Second
	maxPresign = 7 * 24 * time.Hour
)

const (
	// presignReuse is how long a URL is given to others who ask for the same; those that live for less than three times as
	// long are not. Signing takes longer than all else that a redirect does, and many machines pull an image at once.
	presignReuse = 5 * time.Minute
	// presignMemory is how many URLs are remembered, of half a KiB each.
	presignMemory = 4096
)

// presigner signs URLs and remembers them.
type presigner struct {
	client      *awss3.PresignClient
	credentials aws.CredentialsProvider
	urls        *recent.Cache[presigned, string]
}

// presigned is what a URL is made from: a new one is made with new credentials, as the old ones may not be accepted any more.
type presigned struct {
	key, accessKey string
	storage.Presign
}

func newPresigner(client *awss3.Client, credentials aws.CredentialsProvider) (*presigner, error) {
	urls, err := recent.New[presigned, string](presignMemory, presignReuse, wallClock)
	if err != nil {
		return nil, fmt.Errorf("s3: %w", err)
	}
	return &presigner{client: awss3.NewPresignClient(client), credentials: credentials, urls: urls}, nil
}

// wallClock is the time that URLs expire by, also while the machine sleeps.
func wallClock() time.Time { return time.Now().Round(0) }

// Presign implements storage.Store. Signing is done here; nothing is sent, except to renew credentials.
func (s *Store) Presign(ctx context.Context, key string, p storage.Presign) (string, error) {
	if err := storage.ValidateKey(key); err != nil {
		return "", fmt.Errorf("s3: presign: %w", err)
	}
	if p.Expires < minPresign || p.Expires > maxPresign {
		return "", fmt.Errorf("s3: presign %s: %w: expires in %v", key, storage.ErrInvalid, p.Expires)
	}
	sign := func(ctx context.Context) (string, error) { return s.sign(ctx, key, p) }
	if p.Expires < 3*presignReuse || s.presign.credentials == nil {
		return sign(ctx)
	}
	credentials, err := s.presign.credentials.Retrieve(ctx) // remembered by the SDK until they expire
	if err != nil {
		return "", s.failure(ctx, "presign", key, err)
	}
	return s.presign.urls.Get(ctx, presigned{key, credentials.AccessKeyID, p}, sign)
}

func (s *Store) sign(ctx context.Context, key string, p storage.Presign) (string, error) {
	bucket, name := s.object(key)
	input := &awss3.GetObjectInput{Bucket: bucket, Key: name}
	if p.ContentType != "" {
		input.ResponseContentType = &p.ContentType
	}
	if p.CacheControl != "" {
		input.ResponseCacheControl = &p.CacheControl
	}
	req, err := s.presign.client.PresignGetObject(ctx, input, awss3.WithPresignExpires(p.Expires))
	if err != nil {
		return "", s.failure(ctx, "presign", key, err)
	}
	return req.URL, nil
}
