package oci_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"

	"github.com/berthregistry/berth/internal/oci/ocitest"
	"github.com/berthregistry/berth/internal/storage"
	"github.com/berthregistry/berth/internal/telemetry/reqlog"
)

// brokenStore fails reads as a test says.
type brokenStore struct {
	storage.Store
	open atomic.Pointer[func(offset int64) error] // of Open
	read atomic.Pointer[error]                    // of Read, after the first bytes
}

func (s *brokenStore) Open(ctx context.Context, key string, offset, length int64) (io.ReadCloser, error) {
	if open := s.open.Load(); open != nil {
		if err := (*open)(offset); err != nil {
			return nil, err
		}
	}
	r, err := s.Store.Open(ctx, key, offset, length)
	if read := s.read.Load(); err == nil && read != nil {
		return &brokenReader{ReadCloser: r, err: *read}, nil
	}
	return r, err
}

// brokenReader fails after a thousand bytes.
type brokenReader struct {
	io.ReadCloser
	n   int
	err error
}

func (r *brokenReader) Read(p []byte) (int, error) {
	if r.n >= 1000 {
		return 0, r.err
	}
	n, err := r.ReadCloser.Read(p[:min(len(p), 1000-r.n)])
	r.n += n
	return n, err
}

// TestSpecStorageFails: what the store fails at is never a short body that looks like a whole one. Before the first byte
// it is 503 or, where a row has lost its object, 500, which the log explains.
func TestSpecStorageFails(t *testing.T) {
	ocitest.Each(t, func(t *testing.T, env *ocitest.Env) {
		store := &brokenStore{}
		r := env.Replica(t, ocitest.Options{ChunkSize: smallChunk, Store: func(s storage.Store) storage.Store {
			store.Store = s
			return store
		}})
		c := r.Client
		path := blobURL("demo/app", c.Push("demo/app", pattern(3*smallChunk, 9)))
		for name, tt := range map[string]struct {
			err    error
			status int
			code   string
		}{
			"unavailable": {fmt.Errorf("open: %w", storage.ErrUnavailable), http.StatusServiceUnavailable, "UNAVAILABLE"},
			"no object":   {fmt.Errorf("open: %w", storage.ErrNotFound), http.StatusInternalServerError, "UNKNOWN"},
			"a defect":    {errors.New("a defect"), http.StatusInternalServerError, "UNKNOWN"},
		} {
			open := func(int64) error { return tt.err }
			store.open.Store(&open)
			for _, asked := range []string{"bytes=0-", "bytes=-7", ""} {
				a := c.Do(http.MethodGet, path, nil, "Range", asked)
				refused(t, a, tt.status, tt.code)
				headers(t, a, "Accept-Ranges", "", "Content-Range", "")
				if (a.Header.Get("Retry-After") != "") != (tt.status == http.StatusServiceUnavailable) {
					t.Errorf("%s: Retry-After %q", name, a.Header.Get("Retry-After"))
				}
			}
			c.Want(http.StatusOK, http.MethodHead, path, nil)
			ctx, record := reqlog.New(t.Context(), "test")
			r.Handler.ServeHTTP(httptest.NewRecorder(), c.Request(ctx, http.MethodGet, path, http.NoBody))
			if !errors.Is(record.Err(), tt.err) {
				t.Errorf("%s: logged %v", name, record.Err())
			}
			store.open.Store(nil)
		}
		for name, err := range map[string]error{"unavailable": storage.ErrUnavailable, "cut": io.ErrUnexpectedEOF, "ends": io.EOF} {
			store.read.Store(&err)
			for _, asked := range []string{"", "bytes=500-150000", "bytes=0-0,500-150000"} {
				a, failure := c.Send(c.Request(t.Context(), http.MethodGet, path, http.NoBody, "Range", asked))
				healed := name == "unavailable" && asked != "bytes=0-0,500-150000"
				if (failure == nil) != healed || a.Status >= 400 {
					t.Errorf("%s, %q: %d with %d bytes and %v", name, asked, a.Status, len(a.Body), failure)
				}
			}
			store.read.Store(nil)
		}
		c.Want(http.StatusOK, http.MethodGet, path, nil)
	})
}
