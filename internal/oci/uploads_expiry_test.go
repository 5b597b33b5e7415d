package oci_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/berthregistry/berth/internal/oci/ocitest"
)

// TestUploadExpiry ends a session a day after its last activity, and releases its bytes.
func TestUploadExpiry(t *testing.T) {
	eachUploads(t, func(t *testing.T, env *ocitest.Env) {
		clock := &testClock{}
		r := env.Replica(t, ocitest.Options{ChunkSize: uploadChunk, Clock: clock.Now})
		c := r.Client
		tidy := func() {
			t.Helper()
			if err := r.Uploads.Expire(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		content := noise(3*uploadChunk, 1)
		start := c.Start(uploadRepo)
		location := patch(c, start, content[:uploadChunk])
		for i := range 2 {
			clock.Advance(23 * time.Hour)
			tidy()
			location = patch(c, location, content[(i+1)*uploadChunk:(i+2)*uploadChunk])
		}
		clock.Advance(23 * time.Hour)
		tidy()
		asked := wantCommitted(t, c, location, len(content)) // asking is no activity
		wantCode(t, c.Do(http.MethodGet, start, nil), http.StatusNotFound, "BLOB_UPLOAD_UNKNOWN")
		clock.Advance(2 * time.Hour)
		tidy()
		for _, location := range []string{start, location, asked} {
			wantCode(t, put(c, location, content, nil), http.StatusNotFound, "BLOB_UPLOAD_UNKNOWN")
			wantCode(t, c.Do(http.MethodPatch, location, content), http.StatusNotFound, "BLOB_UPLOAD_UNKNOWN")
		}
		if n := rows(t, env, `SELECT count(*) FROM upload_sessions`) + rows(t, env, `SELECT count(*) FROM chunks`); n != 0 {
			t.Errorf("%d rows are left", n)
		}
		wantObjects(t, env, r, clock, 0)
	})
}

// TestUploadFinishedExpiry remembers the digest of a finished session as long as an open one would have lived, and
// leaves its blob alone afterwards.
func TestUploadFinishedExpiry(t *testing.T) {
	eachUploads(t, func(t *testing.T, env *ocitest.Env) {
		clock := &testClock{}
		r := env.Replica(t, ocitest.Options{ChunkSize: uploadChunk, Clock: clock.Now})
		c := r.Client
		content := noise(3*uploadChunk, 1)
		location := patch(c, c.Start(uploadRepo), content)
		wantStatus(t, put(c, location, content, nil), http.StatusCreated)
		clock.Advance(23 * time.Hour)
		if err := r.Uploads.Expire(t.Context()); err != nil {
			t.Fatal(err)
		}
		wantStatus(t, put(c, location, content, nil), http.StatusCreated)
		clock.Advance(2 * time.Hour)
		wantObjects(t, env, r, clock, 3)
		wantCode(t, put(c, location, content, nil), http.StatusNotFound, "BLOB_UPLOAD_UNKNOWN")
		wantBlob(t, c, content)
		if n := rows(t, env, `SELECT count(*) FROM upload_sessions`); n != 0 {
			t.Errorf("%d sessions are left", n)
		}
	})
}

// TestUploadExpiryAcrossClocks has replicas whose clocks differ: one forgets a finished session whose first Location
// another one still takes. The blob that it became must not be touched through it.
func TestUploadExpiryAcrossClocks(t *testing.T) {
	eachUploads(t, func(t *testing.T, env *ocitest.Env) {
		behind, ahead := &testClock{}, &testClock{}
		ahead.Advance(10 * time.Minute)
		late := env.Replica(t, ocitest.Options{ChunkSize: uploadChunk, Clock: behind.Now})
		early := env.Replica(t, ocitest.Options{ChunkSize: uploadChunk, Clock: ahead.Now})
		c := late.Client
		content := noise(3*uploadChunk, 1)
		start := c.At(early).Start(uploadRepo)
		wantStatus(t, put(c, start, content, content), http.StatusCreated)
		for _, clock := range []*testClock{behind, ahead} {
			clock.Advance(24*time.Hour + time.Minute)
		}
		if err := early.Uploads.Expire(t.Context()); err != nil {
			t.Fatal(err)
		}
		if n := rows(t, env, `SELECT count(*) FROM upload_sessions`); n != 0 {
			t.Fatalf("%d sessions are left, so this test shows nothing", n)
		}
		other := noise(uploadChunk/2, 2)
		wantCode(t, c.Do(http.MethodPatch, start, noise(7*uploadChunk/2, 3)), http.StatusNotFound, "BLOB_UPLOAD_UNKNOWN")
		wantCode(t, c.Do(http.MethodPatch, start, other), http.StatusNotFound, "BLOB_UPLOAD_UNKNOWN")
		wantCode(t, put(c, start, other, other), http.StatusNotFound, "BLOB_UPLOAD_UNKNOWN")
		wantCode(t, c.Do(http.MethodDelete, start, nil), http.StatusNotFound, "BLOB_UPLOAD_UNKNOWN")
		wantBlob(t, c, content)
		wantObjects(t, env, late, behind, 3)
		wantBlob(t, c, content)
	})
}
