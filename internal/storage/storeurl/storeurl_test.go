package storeurl_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/berthregistry/berth/internal/storage"
	"github.com/berthregistry/berth/internal/storage/fs"
	"github.com/berthregistry/berth/internal/storage/s3"
	"github.com/berthregistry/berth/internal/storage/storeurl"
)

func TestOpenFolder(t *testing.T) {
	t.Chdir(t.TempDir())
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for url, want := range map[string]string{
		"file:data/objects":                 "data/objects",
		"file:" + here + "/absolute":        "absolute",
		"file://" + here + "/three-slashes": "three-slashes",
		"file:with space?and=query%20#frag": "with space?and=query%20#frag",
	} {
		store, err := storeurl.Open(t.Context(), url, storeurl.Options{})
		if err != nil {
			t.Errorf("Open(%q): %v", url, err)
			continue
		}
		if _, ok := store.(*fs.Store); !ok {
			t.Errorf("Open(%q) = %T", url, store)
		}
		if info, err := os.Stat(filepath.Join(here, want)); err != nil || info.Mode().Perm() != 0o700 {
			t.Errorf("Open(%q) made %v, %v", url, info, err)
		}
		if err := store.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	}
}

func TestOpenBucket(t *testing.T) {
	for _, url := range []string{
		"s3://bucket/prefix?region=eu-west-1", "s3://bucket?endpoint=http://127.0.0.1:1&path_style=true&region=x",
		"arn:aws:s3:us-west-2:123456789012:accesspoint/name/prefix",
	} {
		store, err := storeurl.Open(t.Context(), url, storeurl.Options{S3: s3.Options{SpoolDir: t.TempDir()}})
		if err != nil {
			t.Errorf("Open(%q): %v", url, err)
			continue
		}
		if _, ok := store.(*s3.Store); !ok {
			t.Errorf("Open(%q) = %T", url, store)
		}
		if err := store.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	}
}

func TestOpenRefuses(t *testing.T) {
	for _, url := range []string{
		"", "data/objects", "/data", "file:", "file://", "file://host/path", "file:a\x00b", "http://host", "gs://bucket",
		"s3:bucket", "s3://bucket?unknown=1", "arn:aws:s3:::bucket",
	} {
		store, err := storeurl.Open(t.Context(), url, storeurl.Options{})
		if !errors.Is(err, storage.ErrInvalid) {
			t.Errorf("Open(%q) = %v, %v; want ErrInvalid", url, store, err)
		}
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := storeurl.Open(t.Context(), "file:"+file, storeurl.Options{}); !errors.Is(err, storage.ErrUnavailable) {
		t.Errorf("a file instead of a folder: %v, want ErrUnavailable", err)
	}
}
