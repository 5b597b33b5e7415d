package oci_test

import (
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/berthregistry/berth/internal/limits"
	"github.com/berthregistry/berth/internal/oci/ocitest"
)

// TestThreat16AbandonedSessions: sessions that nobody goes on with cost no rows; with a first byte they are bounded, by
// whoever makes them, keep nobody else out, and go with their bytes.
func TestThreat16AbandonedSessions(t *testing.T) {
	ocitest.Each(t, func(t *testing.T, env *ocitest.Env) {
		clock := &testClock{}
		r := env.Replica(t, ocitest.Options{Clock: clock.Now, Counts: limits.Server{Uploads: 20}})
		c := r.Client
		c.Push("demo/app", noise(10, 1))
		var refused atomic.Int64
		simultaneously(1000, func(int) { c.Do(http.MethodPost, "/v2/demo/app/blobs/uploads/", nil) })
		if n := rows(t, env, `SELECT count(*) FROM upload_sessions WHERE status = 'open'`); n != 0 {
			t.Errorf("%d rows of sessions without a byte", n)
		}
		for i := range 30 {
			location := c.Start("demo/app")
			if a := doChunked(t, c, http.MethodPatch, location, noise(10, uint64(i))); a.Status == http.StatusForbidden {
				refused.Add(1)
			}
		}
		if n := rows(t, env, `SELECT count(*) FROM upload_sessions WHERE status = 'open'`); n != 20 || refused.Load() != 10 {
			t.Errorf("%d sessions are open, %d were refused", n, refused.Load())
		}
		other := anyone(r, "open/app")
		patch(other, other.Start("open/app"), noise(10, 2))
		clock.Advance(25 * time.Hour)
		if err := r.Uploads.Expire(t.Context()); err != nil {
			t.Fatal(err)
		}
		if n := rows(t, env, `SELECT count(*) FROM upload_sessions WHERE status = 'open'`); n != 0 {
			t.Errorf("%d sessions are open after their life", n)
		}
		patch(c, c.Start("demo/app"), noise(10, 3))
	})
}
