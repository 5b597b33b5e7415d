package oci_test

import (
	"net/http"
	"testing"

	"github.com/berthregistry/berth/internal/oci/ocitest"
)

// TestUploadCutAnywhere cuts a body after k bytes, goes on with it on another replica, and loses at most the chunk in
// flight.
func TestUploadCutAnywhere(t *testing.T) {
	eachUploads(t, func(t *testing.T, env *ocitest.Env) {
		opts := ocitest.Options{ChunkSize: uploadChunk}
		first, second := env.Replica(t, opts), env.Replica(t, opts)
		c, other := first.Client, first.Client.At(second)
		const size = 7 * uploadChunk / 2
		for i, k := range []int{
			0, 1, uploadChunk - 1, uploadChunk, uploadChunk + 1, 2*uploadChunk - 1, 2 * uploadChunk, 2*uploadChunk + 1,
			5 * uploadChunk / 2, 3 * uploadChunk, 3*uploadChunk + 1, size - 1,
		} {
			content := noise(size, uint64(i))
			committed := max(0, k-1) / uploadChunk * uploadChunk // a chunk closes when more follows
			location := c.Start(uploadRepo)
			if i%2 == 0 {
				sendPart(t, c, http.MethodPatch, location, content, k)
			} else {
				sendPart(t, c, http.MethodPatch, location, content, k, "Content-Range", span(0, size))
			}
			location = wantCommitted(t, other, location, committed)
			if n := rows(t, env, `SELECT count(*) FROM upload_sessions WHERE lease_until > 0`); n != 0 {
				t.Errorf("cut after %d bytes: the lease is kept", k)
			}
			location = patch(other, location, content[committed:], "Content-Range", span(committed, size-committed))
			wantStatus(t, put(c, location, content, nil), http.StatusCreated)
			wantBlob(t, other, content)
		}
	})
}

// TestUploadCutInPut cuts a PUT in the middle of its third chunk and sends the whole body again to the same URL, as
// containerd does, or only the rest.
func TestUploadCutInPut(t *testing.T) {
	eachUploads(t, func(t *testing.T, env *ocitest.Env) {
		clock := &testClock{}
		opts := ocitest.Options{ChunkSize: uploadChunk, Clock: clock.Now}
		first, second := env.Replica(t, opts), env.Replica(t, opts)
		c, other := first.Client, first.Client.At(second)
		for i, resend := range []func(location string, content []byte) ocitest.Answer{
			func(location string, content []byte) ocitest.Answer { return put(c, location, content, content) },
			func(location string, content []byte) ocitest.Answer { return put(other, location, content, content) },
			func(location string, content []byte) ocitest.Answer {
				return put(other, location, content, content[2*uploadChunk:],
					"Content-Range", span(2*uploadChunk, len(content)-2*uploadChunk))
			},
		} {
			content := noise(9*uploadChunk/2, uint64(i))
			location := c.Start(uploadRepo)
			for range 2 {
				sendPart(t, c, http.MethodPut, withDigest(location, content), content, 5*uploadChunk/2)
				wantCommitted(t, other, location, 2*uploadChunk)
			}
			wantStatus(t, resend(location, content), http.StatusCreated)
			wantBlob(t, c, content)
		}
		wantObjects(t, env, first, clock, 3*5)
	})
}

// TestUploadLostAnswer sends the whole body again because the 201 did not arrive.
func TestUploadLostAnswer(t *testing.T) {
	eachUploads(t, func(t *testing.T, env *ocitest.Env) {
		clock := &testClock{}
		opts := ocitest.Options{ChunkSize: uploadChunk, Clock: clock.Now}
		first, second := env.Replica(t, opts), env.Replica(t, opts)
		content := noise(5*uploadChunk/2, 1)
		for _, again := range []*ocitest.Replica{first, second} {
			location := first.Client.Start(uploadRepo)
			conn := sendHead(t, first.Client, http.MethodPut, withDigest(location, content), content, len(content))
			eventually(t, "the PUT succeeds", func() bool {
				return rows(t, env, `SELECT count(*) FROM upload_sessions WHERE id = $1 AND status = 'finished'`,
					sessionID(t, location)) == 1
			})
			_ = conn.Close()
			c := first.Client.At(again)
			wantStatus(t, put(c, location, content, content), http.StatusCreated)
			wantBlob(t, c, content)
		}
		wantObjects(t, env, first, clock, 3)
	})
}
