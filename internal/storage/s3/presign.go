package s3

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
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
	// presignWindow is for how long who asks for the same is given the same URL; those that live for less than three windows are
	// signed each time. Signing takes longer than all else that a redirect does, and many machines pull an image at once.
	presignWindow = 5 * time.Minute
	// presignMemory is how many URLs are remembered, of half a KiB each, and of temporary credentials about two.
	presignMemory = 4096
)

// presigner signs URLs and remembers them.
type presigner struct {
	client      *awss3.PresignClient
	signer      awss3.HTTPPresignerV4
	credentials aws.CredentialsProvider
	urls        *recent.Cache[presigned, string]
}

// presigned is what a URL is made from: a new one is made with new credentials, as the old ones may not be accepted any more.
type presigned struct {
	key, accessKey string
	window         int64
	storage.Presign
}

func newPresigner(client *awss3.Client, credentials aws.CredentialsProvider) (*presigner, error) {
	urls, err := recent.New[presigned, string](presignMemory, presignWindow, time.Now)
	if err != nil {
		return nil, fmt.Errorf("s3: %w", err)
	}
	// As the SDK makes it for S3, whose paths are escaped once.
	signer := v4.NewSigner(func(o *v4.SignerOptions) { o.DisableURIPathEscaping = true })
	return &presigner{client: awss3.NewPresignClient(client), signer: signer, credentials: credentials, urls: urls}, nil
}

// signedAt signs for the beginning of a window instead of now. So a URL tells nobody when others have asked for the object,
// and a clock that is set leads to another window.
type signedAt struct {
	awss3.HTTPPresignerV4
	at time.Time
}

// PresignHTTP implements awss3.HTTPPresignerV4.
func (s signedAt) PresignHTTP(ctx context.Context, credentials aws.Credentials, r *http.Request, payload, service, region string,
	_ time.Time, options ...func(*v4.SignerOptions),
) (string, http.Header, error) {
	return s.HTTPPresignerV4.PresignHTTP(ctx, credentials, r, payload, service, region, s.at, options...) //nolint:wrapcheck // the SDK's own
}

// Presign implements storage.Store. Signing is done here; nothing is sent, except to renew credentials.
func (s *Store) Presign(ctx context.Context, key string, p storage.Presign) (string, error) {
	if err := storage.ValidateKey(key); err != nil {
		return "", fmt.Errorf("s3: presign: %w", err)
	}
	if p.Expires < minPresign || p.Expires > maxPresign {
		return "", fmt.Errorf("s3: presign %s: %w: expires in %v", key, storage.ErrInvalid, p.Expires)
	}
	if p.Expires < 3*presignWindow {
		return s.sign(ctx, key, p)
	}
	credentials, err := s.presign.credentials.Retrieve(ctx) // remembered by the SDK until they expire
	if err != nil {
		return "", s.failure(ctx, "presign", key, err)
	}
	at := time.Now().Truncate(presignWindow)
	asked := presigned{key: key, accessKey: credentials.AccessKeyID, window: at.Unix(), Presign: p}
	return s.presign.urls.Get(ctx, asked, func(ctx context.Context) (string, error) {
		return s.sign(ctx, key, p, func(o *awss3.PresignOptions) { o.Presigner = signedAt{s.presign.signer, at} })
	})
}

func (s *Store) sign(ctx context.Context, key string, p storage.Presign, options ...func(*awss3.PresignOptions)) (string, error) {
	bucket, name := s.object(key)
	input := &awss3.GetObjectInput{Bucket: bucket, Key: name}
	if p.ContentType != "" {
		input.ResponseContentType = &p.ContentType
	}
	if p.CacheControl != "" {
		input.ResponseCacheControl = &p.CacheControl
	}
	req, err := s.presign.client.PresignGetObject(ctx, input, append(options, awss3.WithPresignExpires(p.Expires))...)
	if err != nil {
		return "", s.failure(ctx, "presign", key, err)
	}
	return req.URL, nil
}
