package s3

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/berthregistry/berth/internal/storage"
)

// deleteBatch is how many keys one DeleteObjects takes.
const deleteBatch = 1000

// List implements storage.Store. Objects that others put below the prefix under keys of another form are passed over.
func (s *Store) List(ctx context.Context, prefix string, yield func(storage.Object) error) error {
	folder, err := storage.ValidatePrefix(prefix)
	if err != nil {
		return fmt.Errorf("s3: list: %w", err)
	}
	bucket, name := s.object(folder + "/")
	pages := awss3.NewListObjectsV2Paginator(s.client, &awss3.ListObjectsV2Input{Bucket: bucket, Prefix: name})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return s.failure(ctx, "list", folder, err)
		}
		for _, o := range page.Contents {
			key := strings.TrimPrefix(aws.ToString(o.Key), s.location.Prefix)
			if storage.ValidateKey(key) != nil {
				continue
			}
			object := storage.Object{Key: key, Size: aws.ToInt64(o.Size), Modified: aws.ToTime(o.LastModified)}
			if err := yield(object); err != nil {
				return err
			}
		}
	}
	return nil
}

// Delete implements storage.Store, in batches of 1,000.
func (s *Store) Delete(ctx context.Context, keys ...string) error {
	for _, key := range keys {
		if err := storage.ValidateKey(key); err != nil {
			return fmt.Errorf("s3: delete: %w", err)
		}
	}
	var failures []error
	for batch := range slices.Chunk(keys, deleteBatch) {
		if err := s.deleteBatch(ctx, batch); err != nil {
			failures = append(failures, err)
		}
		if ctx.Err() != nil {
			break
		}
	}
	return errors.Join(failures...)
}

func (s *Store) deleteBatch(ctx context.Context, keys []string) error {
	bucket := aws.String(s.location.Bucket)
	objects := make([]types.ObjectIdentifier, 0, len(keys))
	for _, key := range keys {
		objects = append(objects, types.ObjectIdentifier{Key: aws.String(s.location.Prefix + key)})
	}
	out, err := s.client.DeleteObjects(ctx, &awss3.DeleteObjectsInput{
		Bucket: bucket, Delete: &types.Delete{Objects: objects, Quiet: aws.Bool(true)},
	})
	if err != nil {
		return s.failure(ctx, "delete", fmt.Sprintf("%d objects", len(keys)), err)
	}
	var failures []error
	for _, e := range out.Errors {
		if aws.ToString(e.Code) == "NoSuchKey" {
			continue
		}
		failures = append(failures, fmt.Errorf("s3: delete %s: %w: %s: %s",
			aws.ToString(e.Key), storage.ErrUnavailable, aws.ToString(e.Code), aws.ToString(e.Message)))
	}
	return errors.Join(failures...)
}
