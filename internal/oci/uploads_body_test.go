package oci_test

import (
	"net/http"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/berthregistry/berth/internal/database"
	"github.com/berthregistry/berth/internal/oci/ocitest"
)

// TestUploadBodyWithoutContentRange begins where its Location says: at the end, where the last body began, or at the
// start; nowhere else.
func TestUploadBodyWithoutContentRange(t *testing.T) {
	eachUploads(t, func(t *testing.T, env *ocitest.Env) {
		c := env.Replica(t, ocitest.Options{}).Client
		start := c.Start(uploadRepo)
		at3 := patch(c, start, []byte("one"))
		at6 := patch(c, at3, []byte("two"))
		at9 := patch(c, at6, []byte("six"))

		a := c.Do(http.MethodPatch, at3, []byte("???")) // neither end nor base
		wantStatus(t, a, http.StatusRequestedRangeNotSatisfiable)
		wantRange(t, a, 9)
		wantCommitted(t, c, at9, 9)

		at10 := patch(c, at6, []byte("four")) // the base
		wantCommitted(t, c, at9, 10)
		for range 2 {
			at10 = patch(c, at6, []byte("five")) // again, for the base stays
		}
		wantCommitted(t, c, at10, 10)
		at5 := patch(c, start, []byte("again")) // the start
		wantCommitted(t, c, start, 5)
		wantStatus(t, c.Do(http.MethodPatch, at6, []byte("x")), http.StatusRequestedRangeNotSatisfiable)

		content := []byte("again and on")
		wantStatus(t, put(c, at5, content, content[5:]), http.StatusCreated)
		wantBlob(t, c, content)
		if n := rows(t, env, `SELECT count(*) FROM chunks`); n != 2 {
			t.Errorf("%d chunks have a row, want 2", n)
		}
	})
}

// TestThreat21ReorderedPatches: a body with a Content-Range begins at the committed offset, whatever the Location says.
// One that comes again, overlaps or leaves a gap is refused.
func TestThreat21ReorderedPatches(t *testing.T) {
	eachUploads(t, func(t *testing.T, env *ocitest.Env) {
		c := env.Replica(t, ocitest.Options{}).Client
		start := c.Start(uploadRepo)
		content := noise(300, 1)
		patch(c, start, content[:100], "Content-Range", span(0, 100))
		for _, wrong := range []int{0, 99, 101, 200} {
			for _, method := range []string{http.MethodPatch, http.MethodPut} {
				a := c.Do(method, ocitest.Query(start, "digest", digest.FromBytes(content).String()), content[:50],
					"Content-Range", span(wrong, 50))
				wantStatus(t, a, http.StatusRequestedRangeNotSatisfiable)
				wantRange(t, a, 100)
				wantCommitted(t, c, a.Header.Get("Location"), 100)
			}
		}
		for _, form := range []string{"100-199", "bytes 100-199/*", "bytes 100-199/300", "bytes=100-199"} {
			start = c.Start(uploadRepo)
			patch(c, start, content[:100])
			patch(c, start, content[100:200], "Content-Range", form)
			wantStatus(t, put(c, start, content, content[200:], "Content-Range", span(200, 100)), http.StatusCreated)
		}
		wantBlob(t, c, content)
	})
}

// TestUploadContentRangeSyntax answers what is no range like one that does not fit, without harm to the session, and
// before a byte is read.
func TestUploadContentRangeSyntax(t *testing.T) {
	eachUploads(t, func(t *testing.T, env *ocitest.Env) {
		c := env.Replica(t, ocitest.Options{}).Client
		content := noise(10, 1)
		location := patch(c, c.Start(uploadRepo), content)
		commits := env.DB.Commits()
		for _, garbage := range []string{"bytes=500-0", "500-0", "garbage", "-", "10-", "-5", "10-19,20-29", "bytes */10",
			"+10-19", "10-99999999999999999999", "bytes 10-19/5", "chunks=10-19"} {
			for _, method := range []string{http.MethodPatch, http.MethodPut} {
				f := startFlow(t, c, method, withDigest(location, content), 10,
					"Content-Range", garbage, "Expect", "100-continue")
				a := f.answer() // though the body has not come
				wantStatus(t, a, http.StatusRequestedRangeNotSatisfiable)
				wantRange(t, a, 10)
				f.stop()
			}
		}
		if env.DB.Dialect() == database.Postgres && env.DB.Commits() != commits {
			t.Error("a refusal was written down")
		}
		if n := rows(t, env, `SELECT count(*) FROM upload_sessions WHERE committed_offset = 10 AND fence = 1`); n != 1 {
			t.Error("the session has changed")
		}
		wantStatus(t, put(c, location, content, nil), http.StatusCreated)
	})
}

// TestUploadEmptyPatch answers 202 and changes nothing.
func TestUploadEmptyPatch(t *testing.T) {
	eachUploads(t, func(t *testing.T, env *ocitest.Env) {
		c := env.Replica(t, ocitest.Options{}).Client
		start := c.Start(uploadRepo)
		for range 2 {
			a := c.Want(http.StatusAccepted, http.MethodPatch, start, nil)
			wantRange(t, a, 0)
			a = doChunked(t, c, http.MethodPatch, a.Header.Get("Location"), nil)
			wantStatus(t, a, http.StatusAccepted)
			wantRange(t, a, 0)
		}
		content := []byte("content")
		location := patch(c, start, content)
		for _, location := range []string{location, start} {
			wantRange(t, c.Want(http.StatusAccepted, http.MethodPatch, location, nil), len(content))
		}
		wantStatus(t, put(c, start, content, nil), http.StatusCreated)
		wantBlob(t, c, content)
	})
}

// TestUploadEmptyPut names what is committed, from every Location of the session, however its emptiness is said.
func TestUploadEmptyPut(t *testing.T) {
	eachUploads(t, func(t *testing.T, env *ocitest.Env) {
		c := env.Replica(t, ocitest.Options{}).Client
		for name, send := range map[string]func(location string, content []byte) ocitest.Answer{
			"no body": func(location string, content []byte) ocitest.Answer { return put(c, location, content, nil) },
			"Content-Length 0": func(location string, content []byte) ocitest.Answer {
				return put(c, location, content, nil, "Content-Length", "0")
			},
			"chunked": func(location string, content []byte) ocitest.Answer {
				return doChunked(t, c, http.MethodPut,
					withDigest(location, content), nil)
			},
		} {
			for i := range 3 {
				content := append([]byte(name), byte('0'+i), 'x', 'y')
				start := c.Start(uploadRepo)
				middle := patch(c, start, content[:len(content)-1])
				last := patch(c, middle, content[len(content)-1:])
				wantStatus(t, send([]string{start, middle, last}[i], content), http.StatusCreated)
				wantBlob(t, c, content)
			}
			wantStatus(t, send(c.Start(uploadRepo), nil), http.StatusCreated)
			wantBlob(t, c, nil)
		}
	})
}

// TestUploadPutWithBody takes the last part, of known or unknown length, with the digest.
func TestUploadPutWithBody(t *testing.T) {
	eachUploads(t, func(t *testing.T, env *ocitest.Env) {
		c := env.Replica(t, ocitest.Options{ChunkSize: uploadChunk}).Client
		for i, split := range []int{0, 1, uploadChunk, uploadChunk + 1, 3 * uploadChunk} {
			content := noise(3*uploadChunk+1, uint64(i))
			location := c.Start(uploadRepo)
			if split > 0 {
				location = patch(c, location, content[:split])
			}
			var a ocitest.Answer
			if i%2 == 0 {
				a = put(c, location, content, content[split:])
			} else {
				a = doChunked(t, c, http.MethodPut,
					withDigest(location, content), content[split:])
			}
			wantStatus(t, a, http.StatusCreated)
			wantBlob(t, c, content)
		}
	})
}
