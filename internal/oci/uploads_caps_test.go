package oci_test

import (
	"net/http"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/berthregistry/berth/internal/oci/ocitest"
)

// TestUploadMaxBlobSize refuses what is too large: by its announced length before a byte is read, else with nothing
// appended.
func TestUploadMaxBlobSize(t *testing.T) {
	eachUploads(t, func(t *testing.T, env *ocitest.Env) {
		clock := &testClock{}
		const limit = 5 * uploadChunk / 2
		store, wrap := newTricky()
		r := env.Replica(t, ocitest.Options{ChunkSize: uploadChunk, MaxBlobSize: limit, Clock: clock.Now, Store: wrap})
		c := r.Client
		content := noise(limit, 1)
		d := digest.FromBytes(content).String()
		location := patch(c, c.Start(uploadRepo), content[:10])
		store.reset(nil)
		const rest = limit - 10

		for _, method := range []string{http.MethodPatch, http.MethodPut} {
			for _, length := range []int{rest + 1, 1 << 40, 1<<63 - 1} {
				f := startFlow(t, c, method, ocitest.Query(location, "digest", d), length, "Expect", "100-continue")
				wantCode(t, f.answer(), http.StatusRequestEntityTooLarge, "SIZE_INVALID")
				f.stop()
			}
			f := startFlow(t, c, method, ocitest.Query(location, "digest", d), -1,
				"Expect", "100-continue", "Content-Range", span(10, rest+1))
			if method == http.MethodPatch { // a PUT looks whether there is a body
				wantCode(t, f.answer(), http.StatusRequestEntityTooLarge, "SIZE_INVALID")
			}
			f.stop()
		}
		post := "/v2/" + uploadRepo + "/blobs/uploads/?digest=" + d
		f := startFlow(t, c, http.MethodPost, post, limit+1, "Expect", "100-continue")
		wantCode(t, f.answer(), http.StatusRequestEntityTooLarge, "SIZE_INVALID")
		f.stop()
		if n := store.count(stepCreate); n != 0 {
			t.Errorf("%d objects were begun", n)
		}

		tooLong := append(noise(rest, 2), '!')
		for _, a := range []ocitest.Answer{
			doChunked(t, c, http.MethodPatch, location, tooLong),
			doChunked(t, c, http.MethodPut, ocitest.Query(location, "digest", d), tooLong),
			doChunked(t, c, http.MethodPost, post, append(tooLong, noise(10, 3)...)),
		} {
			wantCode(t, a, http.StatusRequestEntityTooLarge, "SIZE_INVALID")
		}
		wantCommitted(t, c, location, 10)
		if n := rows(t, env, `SELECT count(*) FROM chunks`); n != 1 {
			t.Errorf("%d chunks have a row, want that of before", n)
		}
		wantStatus(t, doChunked(t, c, http.MethodPut, ocitest.Query(location, "digest", d), content[10:]), http.StatusCreated)
		wantBlob(t, c, content)
		wantObjects(t, env, r, clock, 4)
	})
}

// TestUploadMaxChunks refuses the chunk after the last possible one, however the chunks came about.
func TestUploadMaxChunks(t *testing.T) {
	eachUploads(t, func(t *testing.T, env *ocitest.Env) {
		c := env.Replica(t, ocitest.Options{ChunkSize: uploadChunk}).Client
		content := noise(4*uploadChunk, 1)
		pretend := func(location string, chunks int) {
			execute(t, env, `UPDATE upload_sessions SET chunk_count = ? WHERE id = ?`, chunks, sessionID(t, location))
		}
		start := c.Start(uploadRepo)
		location := patch(c, start, content[:1])
		pretend(location, 9_998)
		f := startFlow(t, c, http.MethodPatch, location, 3*uploadChunk, "Expect", "100-continue")
		wantCode(t, f.answer(), http.StatusRequestEntityTooLarge, "SIZE_INVALID")
		f.stop()
		wantCode(t, doChunked(t, c, http.MethodPatch, location, content[:3*uploadChunk]),
			http.StatusRequestEntityTooLarge, "SIZE_INVALID")
		wantCommitted(t, c, location, 1)
		if n := rows(t, env, `SELECT chunk_count FROM upload_sessions`); n != 9_998 {
			t.Errorf("the session counts %d chunks after a refused body", n)
		}

		location = patch(c, location, content[1:uploadChunk+2]) // two chunks, the last that fit
		wantCode(t, c.Do(http.MethodPatch, location, []byte("x")), http.StatusRequestEntityTooLarge, "SIZE_INVALID")
		wantCode(t, doChunked(t, c, http.MethodPatch, location, []byte("x")), http.StatusRequestEntityTooLarge, "SIZE_INVALID")
		wantCode(t, put(c, location, content, content[uploadChunk+2:]), http.StatusRequestEntityTooLarge, "SIZE_INVALID")
		c.Want(http.StatusAccepted, http.MethodPatch, location, nil)
		wantCommitted(t, c, location, uploadChunk+2)
		wantStatus(t, put(c, location, content[:uploadChunk+2], nil), http.StatusCreated)
		wantBlob(t, c, content[:uploadChunk+2])

		start = c.Start(uploadRepo)
		patch(c, start, content[:1])
		pretend(start, 9_999)
		wantStatus(t, put(c, start, content, content), http.StatusCreated) // from the start again: four chunks
		wantBlob(t, c, content)
	})
}

// TestUploadRewindCountsChunks keeps the number of chunks right when a body is sent again.
func TestUploadRewindCountsChunks(t *testing.T) {
	eachUploads(t, func(t *testing.T, env *ocitest.Env) {
		c := env.Replica(t, ocitest.Options{ChunkSize: uploadChunk}).Client
		content := noise(4*uploadChunk, 1)
		wantChunks := func(want int64) {
			t.Helper()
			counted, stored := rows(t, env, `SELECT chunk_count FROM upload_sessions`), rows(t, env, `SELECT count(*) FROM chunks`)
			if counted != want || stored != want {
				t.Errorf("the session counts %d chunks and has %d, want %d", counted, stored, want)
			}
		}
		start := c.Start(uploadRepo)
		base := patch(c, patch(c, start, content[:10]), content[10:20])
		for _, size := range []int{3 * uploadChunk, 5, uploadChunk + 1} {
			patch(c, base, content[20:20+size])
			wantChunks(2 + int64(size+uploadChunk-1)/uploadChunk)
		}
		// A body that turns out wrong is taken out again, and what it had gone back over stays out.
		a := doChunked(t, c, http.MethodPatch, wantCommitted(t, c, base, uploadChunk+21), content[:3*uploadChunk],
			"Content-Range", span(uploadChunk+21, 3*uploadChunk-1))
		wantCode(t, a, http.StatusBadRequest, "SIZE_INVALID")
		wantChunks(4)
		patch(c, start, content[:uploadChunk+1])
		wantChunks(2)
		wantStatus(t, put(c, start, content[:uploadChunk+1], nil), http.StatusCreated)
		wantBlob(t, c, content[:uploadChunk+1])
	})
}

// TestUploadLengthMismatch appends nothing of a body that is not as long as announced, of several chunks either.
func TestUploadLengthMismatch(t *testing.T) {
	eachUploads(t, func(t *testing.T, env *ocitest.Env) {
		clock := &testClock{}
		r := env.Replica(t, ocitest.Options{ChunkSize: uploadChunk, Clock: clock.Now})
		c := r.Client
		content := noise(4*uploadChunk, 1)
		d := digest.FromBytes(content).String()
		location := patch(c, c.Start(uploadRepo), content[:10])
		for _, method := range []string{http.MethodPatch, http.MethodPut} {
			target := ocitest.Query(location, "digest", d)
			for _, size := range []int{100, 5 * uploadChunk / 2} {
				for _, stated := range []int{size - 1, size + 1, 1, 100 * uploadChunk} {
					body, header := content[10:10+size], span(10, stated)
					f := startFlow(t, c, method, target, size, "Content-Range", header, "Expect", "100-continue")
					wantCode(t, f.answer(), http.StatusBadRequest, "SIZE_INVALID")
					f.stop()
					a := doChunked(t, c, method, target, body, "Content-Range", header)
					wantCode(t, a, http.StatusBadRequest, "SIZE_INVALID")
					wantCommitted(t, c, location, 10)
				}
			}
			sendPart(t, c, method, target, content[10:110], 99, "Content-Range", span(10, 100))
			sendPart(t, c, method, target, content[10:110], 99)
			wantCommitted(t, c, location, 10)
		}
		if n := rows(t, env, `SELECT count(*) FROM chunks`); n != 1 {
			t.Errorf("%d chunks have a row, want that of before", n)
		}
		wantStatus(t, put(c, location, content, content[10:], "Content-Range", span(10, len(content)-10)), http.StatusCreated)
		wantBlob(t, c, content)
		wantObjects(t, env, r, clock, 5)
	})
}
