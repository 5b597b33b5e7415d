package oci_test

import (
	"bytes"
	"errors"
	"log/slog"
	"net/http"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/berthregistry/berth/internal/oci/ocitest"
	"github.com/berthregistry/berth/internal/storage"
	"github.com/berthregistry/berth/internal/storage/diskcache"
)

// copies puts a cache on a disk before a store, which it leaves open.
func copies(t testing.TB) func(storage.Store) storage.Store {
	t.Helper()
	return func(s storage.Store) storage.Store {
		cache, err := diskcache.New(keptOpen{s}, diskcache.Options{
			Dir: t.TempDir(), Size: diskcache.MinSize, Logger: slog.New(slog.DiscardHandler),
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := cache.Close(); err != nil {
				t.Error(err)
			}
		})
		return cache
	}
}

type keptOpen struct{ storage.Store }

func (keptOpen) Close() error { return nil }

// TestSpecCopies: what has been pulled is pulled again without the store behind, by everybody who may, and whatever that does
// meanwhile. What it never gave is no different from what it is without copies.
func TestSpecCopies(t *testing.T) {
	ocitest.Each(t, func(t *testing.T, env *ocitest.Env) {
		broken := &brokenStore{}
		r := env.Replica(t, ocitest.Options{ChunkSize: smallChunk, Store: func(s storage.Store) storage.Store {
			broken.Store = s
			return copies(t)(broken)
		}})
		c := r.Client
		content, unseen := pattern(3*smallChunk+1, 7), pattern(1000, 8)
		path, other := blobURL("demo/app", c.Push("demo/app", content)), blobURL("demo/app", c.Push("demo/app", unseen))
		c.Want(http.StatusOK, http.MethodGet, path, nil)
		c.Want(http.StatusOK, http.MethodGet, path, nil) // waits for the copies that the first began
		fails := func(int64) error { return storage.ErrUnavailable }
		broken.open.Store(&fails)
		for range 3 {
			if a := c.Do(http.MethodGet, path, nil); a.Status != http.StatusOK || !bytes.Equal(a.Body, content) {
				t.Errorf("a copy while the store is broken: %d with %d bytes", a.Status, len(a.Body))
			}
		}
		part := c.Want(http.StatusPartialContent, http.MethodGet, path, nil, "Range", "bytes=65530-65545")
		if !bytes.Equal(part.Body, content[65530:65546]) {
			t.Errorf("a range of copies: %d bytes", len(part.Body))
		}
		refused(t, c.Do(http.MethodGet, other, nil), http.StatusServiceUnavailable, "UNAVAILABLE")
		lost := func(int64) error { return storage.ErrNotFound }
		broken.open.Store(&lost)
		if a := c.Do(http.MethodGet, other, nil); a.Status != http.StatusInternalServerError {
			t.Errorf("a blob without its object: %d", a.Status)
		}
		broken.open.Store(nil)
		if a := c.Do(http.MethodGet, other, nil); a.Status != http.StatusOK || !bytes.Equal(a.Body, unseen) {
			t.Errorf("once the store is well again: %d with %d bytes", a.Status, len(a.Body))
		}

		refused(t, c.Nobody().Do(http.MethodGet, path, nil), http.StatusUnauthorized, "UNAUTHORIZED")
		stranger := blobURL("strange/app", digest.FromBytes(content))
		c.Push("strange/app", []byte("something else"))
		refused(t, c.Do(http.MethodGet, stranger, nil), http.StatusNotFound, "BLOB_UNKNOWN")
		c.Want(http.StatusAccepted, http.MethodDelete, path, nil)
		refused(t, c.Do(http.MethodGet, path, nil), http.StatusNotFound, "BLOB_UNKNOWN")
	})
}

// TestSpecCopiesBreakOff: a store that breaks off is asked for the rest, as without copies; if it goes on doing so, the
// answer is cut, and no copy has the bytes that there are.
func TestSpecCopiesBreakOff(t *testing.T) {
	ocitest.Each(t, func(t *testing.T, env *ocitest.Env) {
		broken := &brokenStore{}
		c := env.Replica(t, ocitest.Options{Store: func(s storage.Store) storage.Store {
			broken.Store = s
			return copies(t)(broken)
		}}).Client
		content := pattern(50_000, 9)
		path := blobURL("demo/app", c.Push("demo/app", content))
		failure := errors.Join(storage.ErrUnavailable, errors.New("cut"))
		broken.read.Store(&failure)
		for range 2 { // each read gives a thousand bytes
			if a := c.Do(http.MethodGet, path, nil); a.Status != http.StatusOK || !bytes.Equal(a.Body, content) {
				t.Errorf("%d with %d bytes", a.Status, len(a.Body))
			}
		}
		broken.read.Store(nil)
		if a := c.Do(http.MethodGet, path, nil); a.Status != http.StatusOK || !bytes.Equal(a.Body, content) {
			t.Errorf("afterwards: %d with %d bytes", a.Status, len(a.Body))
		}
	})
}
