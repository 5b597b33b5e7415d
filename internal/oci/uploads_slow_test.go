package oci_test

import (
	"net/http"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/berthregistry/berth/internal/database/dbtest"
	"github.com/berthregistry/berth/internal/oci/ocitest"
	"github.com/berthregistry/berth/internal/testenv"
)

// fewConnections is Servers with four connections to the database.
func fewConnections(tb testing.TB) *ocitest.Env {
	tb.Helper()
	env := ocitest.Servers(tb)
	env.DB = dbtest.Open(tb, withConnections(tb, testenv.Postgres(tb), "4"))
	return env
}

// TestThreat16UploadSlowClients has many bodies stall in the middle: they hold nothing that a fast client needs.
func TestThreat16UploadSlowClients(t *testing.T) {
	test := func(t *testing.T, env *ocitest.Env) {
		c := env.Replica(t, ocitest.Options{ChunkSize: uploadChunk}).Client
		content := noise(11*uploadChunk/2, 1)
		var slow []*flow
		var locations []string
		for range 64 {
			location := c.Start(uploadRepo)
			f := startFlow(t, c, http.MethodPatch, location, len(content))
			f.feed(content[:hangFed])
			slow, locations = append(slow, f), append(locations, location)
		}
		eventually(t, "all of them are in the middle", func() bool {
			return rows(t, env, `SELECT count(*) FROM upload_sessions WHERE committed_offset = $1`, int64(hangKept)) == 64
		})
		fast := noise(3*uploadChunk, 2)
		d := c.Push(uploadRepo, fast)
		wantBlob(t, c, fast)
		if d != digest.FromBytes(fast) {
			t.Errorf("digest %s", d)
		}
		for _, f := range slow {
			if !f.waiting() {
				t.Fatal("a slow client was answered")
			}
		}
		for i, f := range slow {
			f.feed(content[hangFed:])
			f.end()
			wantStatus(t, f.answer(), http.StatusAccepted)
			wantCommitted(t, c, locations[i], len(content))
		}
	}
	t.Run("sqlite+folder", func(t *testing.T) { withoutLeaks(t, ocitest.Embedded, test) })
	t.Run("four connections", func(t *testing.T) { withoutLeaks(t, fewConnections, test) })
}

// TestUploadDrain has a replica go down under a body: what it received is kept, and the upload goes on elsewhere.
func TestUploadDrain(t *testing.T) {
	eachUploads(t, func(t *testing.T, env *ocitest.Env) {
		clock := &testClock{}
		store, wrap := newTricky()
		r := env.Replica(t, ocitest.Options{ChunkSize: uploadChunk, Clock: clock.Now, Store: wrap})
		c := r.Client
		other := c.At(env.Replica(t, ocitest.Options{ChunkSize: uploadChunk, Clock: clock.Now}))
		content := noise(11*uploadChunk/2, 1)
		ranged, plain, waits := c.Start(uploadRepo), c.Start(uploadRepo), c.Start(uploadRepo)
		inPatch := startFlow(t, c, http.MethodPatch, ranged, len(content), "Content-Range", span(0, len(content)))
		inPut := startFlow(t, c, http.MethodPut, withDigest(plain, content), -1)
		before := startFlow(t, c, http.MethodPut, withDigest(waits, content), -1)
		inPatch.feed(content[:hangFed])
		inPut.feed(content[:hangFed])
		// Four chunks of each are written, of which three are committed.
		eventually(t, "all bytes are received", func() bool { return store.bytesWritten() >= 2*4*uploadChunk })
		eventually(t, "chunks are committed", func() bool {
			return rows(t, env, `SELECT count(*) FROM upload_sessions WHERE committed_offset = $1`, int64(hangKept)) == 2
		})
		r.Uploads.Drain()
		r.Uploads.Drain()
		wantUnavailable(t, inPatch.answer())
		wantUnavailable(t, inPut.answer())
		wantUnavailable(t, before.answer())
		if n := rows(t, env, `SELECT count(*) FROM upload_sessions WHERE lease_until > 0`); n != 0 {
			t.Errorf("%d leases are kept", n)
		}

		wantUnavailable(t, c.Do(http.MethodPatch, waits, []byte("x")))
		wantUnavailable(t, put(c, waits, content, content))
		wantUnavailable(t, c.Do(http.MethodDelete, waits, nil))
		post := "/v2/" + uploadRepo + "/blobs/uploads/?digest=" + digest.FromBytes(content).String()
		wantUnavailable(t, c.Do(http.MethodPost, post, content))

		for _, location := range []string{ranged, plain} {
			kept := int(rows(t, env, `SELECT committed_offset FROM upload_sessions WHERE id = $1`, sessionID(t, location)))
			if kept <= hangKept {
				t.Errorf("%d bytes are kept, which were committed before", kept)
			}
			location = wantCommitted(t, other, location, kept)
			a := put(other, location, content, content[kept:], "Content-Range", span(kept, len(content)-kept))
			wantStatus(t, a, http.StatusCreated)
		}
		wantBlob(t, other, content)
		wantStatus(t, put(other, waits, content, content), http.StatusCreated)
	})
}

// TestUploadDrainEndsWaiting answers a request that waits for another replica's writer when its own replica goes down.
func TestUploadDrainEndsWaiting(t *testing.T) {
	eachUploads(t, func(t *testing.T, env *ocitest.Env) {
		p := newPair(t, env)
		second := env.Replica(t, ocitest.Options{ChunkSize: uploadChunk})
		content := noise(11*uploadChunk/2, 1)
		first := p.hang(content)
		execute(t, env, `UPDATE upload_sessions SET lease_until = lease_until + 3600000000`)
		wantCommitted(t, p.c.At(second), p.start, hangKept)
		trips := env.DB.Trips()
		f := startFlow(t, p.c.At(second), http.MethodPut, withDigest(p.start, content), 0)
		eventually(t, "the second request looks at the session again", func() bool { return env.DB.Trips() >= trips+2 })
		second.Uploads.Drain()
		wantUnavailable(t, f.answer())
		first.feed(content[hangFed:])
		first.end()
		wantStatus(t, first.answer(), http.StatusAccepted)
		wantStatus(t, put(p.c, p.start, content, nil), http.StatusCreated)
		p.wantOnly(content)
	})
}
