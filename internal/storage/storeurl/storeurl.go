// Package storeurl opens the object store that a setting names.
package storeurl

import (
	"context"
	"fmt"
	"strings"

	"github.com/berthregistry/berth/internal/storage"
	"github.com/berthregistry/berth/internal/storage/fs"
	"github.com/berthregistry/berth/internal/storage/s3"
)

// Options tunes the store, whichever kind it is.
type Options struct {
	// S3 applies to buckets only.
	S3 s3.Options
}

// Open opens the store that a URL names:
//
//	file:PATH                         a folder, created where it is missing; relative to the working directory or absolute
//	s3://bucket/prefix?region=...     a bucket, see s3.ParseLocation
//	arn:aws:s3:...:accesspoint/name   an access point, see s3.ParseLocation
//
// A path is taken as it stands, without escapes; "file:///PATH" is the same as "file:/PATH". Open returns
// storage.ErrInvalid for anything else and storage.ErrUnavailable when the folder cannot be used. It sends nothing to
// a bucket: that is what Check is for.
func Open(ctx context.Context, url string, options Options) (storage.Store, error) {
	scheme, rest, _ := strings.Cut(url, ":")
	switch scheme {
	case "file":
		return openFolder(rest)
	case "s3", "arn":
		loc, err := s3.ParseLocation(url)
		if err != nil {
			return nil, fmt.Errorf("storage URL: %w", err)
		}
		store, err := s3.New(ctx, loc, options.S3)
		if err != nil {
			return nil, fmt.Errorf("storage URL: %w", err)
		}
		return store, nil
	}
	return nil, fmt.Errorf("storage URL: %w: want file:PATH, s3://bucket/prefix or the ARN of an access point", storage.ErrInvalid)
}

func openFolder(path string) (storage.Store, error) {
	if rest, ok := strings.CutPrefix(path, "//"); ok {
		if !strings.HasPrefix(rest, "/") {
			return nil, fmt.Errorf("storage URL: %w: file://%s names a host; want file:PATH", storage.ErrInvalid, rest)
		}
		path = rest
	}
	if path == "" || strings.ContainsRune(path, 0) {
		return nil, fmt.Errorf("storage URL: %w: want file:PATH", storage.ErrInvalid)
	}
	store, err := fs.New(path)
	if err != nil {
		return nil, fmt.Errorf("storage URL: %w", err)
	}
	return store, nil
}
