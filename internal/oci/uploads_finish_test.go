package oci_test

import (
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/berthregistry/berth/internal/oci/ocitest"
)

// TestThreat21ARetryAfterSuccess repeats a PUT that succeeded.
func TestThreat21ARetryAfterSuccess(t *testing.T) {
	eachUploads(t, func(t *testing.T, env *ocitest.Env) {
		clock := &testClock{}
		c := env.Replica(t, ocitest.Options{ChunkSize: uploadChunk, Clock: clock.Now}).Client
		content, other := noise(5*uploadChunk/2, 1), []byte("other")
		start := c.Start(uploadRepo)
		finish := func(content, body []byte) ocitest.Answer { return put(c, start, content, body) }
		wantStatus(t, finish(content, content), http.StatusCreated)

		keepUntil := func() int64 { return rows(t, env, `SELECT max(keep_until) FROM repository_blobs`) }
		before := keepUntil()
		clock.Advance(time.Hour)
		for _, body := range [][]byte{nil, content, content[:10]} {
			a := finish(content, body)
			wantStatus(t, a, http.StatusCreated)
			want := "/v2/" + uploadRepo + "/blobs/" + digest.FromBytes(content).String()
			if a.Header.Get("Location") != want || a.Header.Get("Docker-Content-Digest") != digest.FromBytes(content).String() {
				t.Errorf("answered with %v", a.Header)
			}
		}
		if got := keepUntil() - before; got < time.Hour.Microseconds() {
			t.Errorf("the link lives %d us longer, want an hour", got)
		}
		wantCode(t, finish(other, nil), http.StatusNotFound, "BLOB_UPLOAD_UNKNOWN")
		wantCode(t, finish(other, other), http.StatusNotFound, "BLOB_UPLOAD_UNKNOWN")
		wantCode(t, c.Do(http.MethodPatch, start, other), http.StatusNotFound, "BLOB_UPLOAD_UNKNOWN")
		wantCode(t, c.Do(http.MethodGet, start, nil), http.StatusNotFound, "BLOB_UPLOAD_UNKNOWN")
		wantCode(t, c.Do(http.MethodDelete, start, nil), http.StatusNotFound, "BLOB_UPLOAD_UNKNOWN")
		wantBlob(t, c, content)
		wantNoBlob(t, c, other)

		c.Want(http.StatusAccepted, http.MethodDelete, "/v2/"+uploadRepo+"/blobs/"+digest.FromBytes(content).String(), nil)
		wantCode(t, finish(content, nil), http.StatusNotFound, "BLOB_UPLOAD_UNKNOWN")
		wantNoBlob(t, c, content)
	})
}

// TestThreat21WrongDigest ends the session, shows nothing, and releases every byte.
func TestThreat21WrongDigest(t *testing.T) {
	eachUploads(t, func(t *testing.T, env *ocitest.Env) {
		clock := &testClock{}
		r := env.Replica(t, ocitest.Options{ChunkSize: uploadChunk, Clock: clock.Now})
		c := r.Client
		content, claimed := noise(5*uploadChunk/2, 1), []byte("claimed")
		whole := c.Start(uploadRepo)
		wantCode(t, put(c, whole, claimed, content), http.StatusBadRequest, "DIGEST_INVALID")
		small := c.Start(uploadRepo)
		wantCode(t, put(c, small, claimed, content[:10]), http.StatusBadRequest, "DIGEST_INVALID")
		parts := patch(c, c.Start(uploadRepo), content)
		wantCode(t, put(c, parts, claimed, nil), http.StatusBadRequest, "DIGEST_INVALID")
		mixed := patch(c, c.Start(uploadRepo), content)
		wantCode(t, put(c, mixed, claimed, content), http.StatusBadRequest, "DIGEST_INVALID")
		empty := c.Start(uploadRepo)
		wantCode(t, put(c, empty, claimed, nil), http.StatusBadRequest, "DIGEST_INVALID")

		for _, location := range []string{whole, small, parts, mixed, empty} {
			wantCode(t, c.Do(http.MethodGet, location, nil), http.StatusNotFound, "BLOB_UPLOAD_UNKNOWN")
			wantCode(t, put(c, location, content, content), http.StatusNotFound, "BLOB_UPLOAD_UNKNOWN")
		}
		wantNoBlob(t, c, claimed)
		wantNoBlob(t, c, content)
		if n := rows(t, env, `SELECT count(*) FROM chunks`); n != 0 {
			t.Errorf("%d chunks have a row", n)
		}
		wantObjects(t, env, r, clock, 0)
	})
}

// TestUploadDigestSyntax refuses what is no digest, and keeps the session.
func TestUploadDigestSyntax(t *testing.T) {
	eachUploads(t, func(t *testing.T, env *ocitest.Env) {
		c := env.Replica(t, ocitest.Options{}).Client
		content := []byte("content")
		location := patch(c, c.Start(uploadRepo), content[:3])
		for _, bad := range []string{"", "sha256", "sha256:", "sha256:abc", "md5:d41d8cd98f00b204e9800998ecf8427e",
			"SHA256:" + digest.FromBytes(content).Encoded(), "sha384:" + digest.SHA384.FromBytes(content).Encoded()} {
			f := startFlow(t, c, http.MethodPut, ocitest.Query(location, "digest", bad), 4, "Expect", "100-continue")
			wantCode(t, f.answer(), http.StatusBadRequest, "DIGEST_INVALID")
			f.stop()
			wantCommitted(t, c, location, 3)
		}
		c.Want(http.StatusBadRequest, http.MethodPost, "/v2/"+uploadRepo+"/blobs/uploads/?digest-algorithm=md5", nil)
		wantStatus(t, put(c, location, content, content[3:]), http.StatusCreated)
		wantBlob(t, c, content)
	})
}

// TestUploadSHA512 takes sha512 whether or not the session was opened for it; if not, it reads every chunk once. A session of
// sha512 knows the canonical digest, too.
func TestUploadSHA512(t *testing.T) {
	eachUploads(t, func(t *testing.T, env *ocitest.Env) {
		clock := &testClock{}
		store, wrap := newTricky()
		r := env.Replica(t, ocitest.Options{ChunkSize: uploadChunk, Store: wrap, Clock: clock.Now})
		c := r.Client
		uploads := "/v2/" + uploadRepo + "/blobs/uploads/"
		open := func(query string) string {
			return c.Want(http.StatusAccepted, http.MethodPost, uploads+query, nil).Header.Get("Location")
		}
		for i, tt := range []struct {
			query     string
			algorithm digest.Algorithm
			reads     int
		}{
			{"", digest.SHA256, 0},
			{"", digest.SHA512, 4},
			{"?digest-algorithm=sha512", digest.SHA512, 0},
			{"?digest-algorithm=sha512", digest.SHA256, 0}, // it keeps the canonical one as well
			{"?mount=" + digest.SHA512.FromString("missing").String() + "&from=demo/none", digest.SHA512, 0},
		} {
			content := noise(7*uploadChunk/2, uint64(i))
			d := tt.algorithm.FromBytes(content)
			for _, split := range []int{0, uploadChunk, len(content)} { // what the PUT carries: all, most, nothing
				location := open(tt.query)
				store.reset(nil)
				if split > 0 {
					location = patch(c, location, content[:split])
				}
				c.Want(http.StatusCreated, http.MethodPut, ocitest.Query(location, "digest", d.String()), content[split:])
				if got := store.count(stepOpen); got != tt.reads {
					t.Errorf("%s on a session with %q read %d chunks, want %d", tt.algorithm, tt.query, got, tt.reads)
				}
			}
			got := c.Want(http.StatusOK, http.MethodGet, "/v2/"+uploadRepo+"/blobs/"+d.String(), nil)
			if tt.algorithm.FromBytes(got.Body) != d {
				t.Errorf("%s came back otherwise", d)
			}
			location := patch(c, open(tt.query), content)
			wrong := tt.algorithm.FromString("wrong").String()
			wantCode(t, c.Do(http.MethodPut, ocitest.Query(location, "digest", wrong), nil), http.StatusBadRequest, "DIGEST_INVALID")
			wantCode(t, c.Do(http.MethodGet, location, nil), http.StatusNotFound, "BLOB_UPLOAD_UNKNOWN")
		}
		wantObjects(t, env, r, clock, 5*4)
	})
}

// TestUploadMonolithic takes a whole blob with the POST, and leaves nothing of a wrong one.
func TestUploadMonolithic(t *testing.T) {
	eachUploads(t, func(t *testing.T, env *ocitest.Env) {
		clock := &testClock{}
		r := env.Replica(t, ocitest.Options{ChunkSize: uploadChunk, Clock: clock.Now})
		c := r.Client
		post := func(content []byte) string {
			return "/v2/" + uploadRepo + "/blobs/uploads/?digest=" + digest.FromBytes(content).String()
		}
		for i, size := range []int{0, 1, uploadChunk, uploadChunk + 1, 7 * uploadChunk / 2} {
			content, longer := noise(size, uint64(i)), noise(size+1, uint64(100+i))
			a := c.Want(http.StatusCreated, http.MethodPost, post(content), content)
			if got, want := a.Header.Get("Location"), "/v2/"+uploadRepo+"/blobs/"+digest.FromBytes(content).String(); got != want {
				t.Errorf("Location %s, want %s", got, want)
			}
			wantBlob(t, c, content)
			wantStatus(t, doChunked(t, c, http.MethodPost, post(content), content), http.StatusCreated)

			wrong := noise(size+1, uint64(200+i))
			wantCode(t, c.Do(http.MethodPost, post(wrong), longer), http.StatusBadRequest, "DIGEST_INVALID")
			wantCode(t, doChunked(t, c, http.MethodPost, post(wrong), longer), http.StatusBadRequest, "DIGEST_INVALID")
			sendPart(t, c, http.MethodPost, post(longer), longer, size)
			wantNoBlob(t, c, wrong)
			wantNoBlob(t, c, longer)
		}
		if n := rows(t, env, `SELECT count(*) FROM upload_sessions WHERE status = 'open'`); n != 0 {
			t.Errorf("%d sessions that nobody knows are open", n)
		}
		wantObjects(t, env, r, clock, 0+1+1+2+4)
		wantCode(t, c.Do(http.MethodPost, "/v2/"+uploadRepo+"/blobs/uploads/?digest=md5:00", []byte("x")),
			http.StatusBadRequest, "DIGEST_INVALID")
	})
}

// TestUploadEqualContentAtOnce lets many clients push one and the same blob: all succeed, one copy stays.
func TestUploadEqualContentAtOnce(t *testing.T) {
	eachUploads(t, func(t *testing.T, env *ocitest.Env) {
		clock := &testClock{}
		opts := ocitest.Options{ChunkSize: uploadChunk, Clock: clock.Now}
		replicas := []*ocitest.Replica{env.Replica(t, opts), env.Replica(t, opts)}
		c := replicas[0].Client
		content := noise(5*uploadChunk/2, 1)
		var group sync.WaitGroup
		for i := range 16 {
			c := c.At(replicas[i%2])
			location := c.Start(uploadRepo)
			group.Go(func() {
				body := content
				if i%4 < 2 {
					location, body = send(c, http.MethodPatch, location, content).Header.Get("Location"), nil
				}
				if a := send(c, http.MethodPut, withDigest(location, content), body); a.Status != http.StatusCreated {
					t.Errorf("client %d: status %d: %s", i, a.Status, a.Body)
				}
			})
		}
		group.Wait()
		wantBlob(t, c, content)
		if n := rows(t, env, `SELECT count(*) FROM blobs`); n != 1 {
			t.Errorf("%d blobs", n)
		}
		if n := rows(t, env, `SELECT count(*) FROM chunks`); n != 3 {
			t.Errorf("%d chunks have a row, want 3", n)
		}
		wantObjects(t, env, replicas[0], clock, 3)
		wantBlob(t, c, content)
	})
}
