package s3

import (
	"context"
	"fmt"
	"time"

	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/berthregistry/berth/internal/storage"
)

// The life of a presigned URL, as AWS allows it. Temporary credentials may end it sooner.
const (
	minPresign = time.Second
	maxPresign = 7 * 24 * time.Hour
)

// Presign implements storage.Store. Signing is done here; nothing is sent, except to renew credentials.
func (s *Store) Presign(ctx context.Context, key string, p storage.Presign) (string, error) {
	if err := storage.ValidateKey(key); err != nil {
		return "", fmt.Errorf("s3: presign: %w", err)
	}
	if p.Expires < minPresign || p.Expires > maxPresign {
		return "", fmt.Errorf("s3: presign %s: %w: expires in %v", key, storage.ErrInvalid, p.Expires)
	}
	bucket, name := s.object(key)
	input := &awss3.GetObjectInput{Bucket: bucket, Key: name}
	if p.ContentType != "" {
		input.ResponseContentType = &p.ContentType
	}
	if p.CacheControl != "" {
		input.ResponseCacheControl = &p.CacheControl
	}
	req, err := s.presign.PresignGetObject(ctx, input, awss3.WithPresignExpires(p.Expires))
	if err != nil {
		return "", s.failure(ctx, "presign", key, err)
	}
	return req.URL, nil
}
