package oci_test

import (
	"net/http"
	"testing"

	"github.com/berthregistry/berth/internal/oci/ocitest"
)

// TestOnlyAGetIsAPull holds what counts as a pull: a manifest that was sent, or that the client still had.
func TestOnlyAGetIsAPull(t *testing.T) {
	ocitest.Each(t, func(t *testing.T, env *ocitest.Env) {
		r := env.Replica(t, ocitest.Options{})
		_, d := pushed(t, r.Client, "demo/app", "v1", "image")
		pulls := func() int {
			if err := r.Handler.Content.FlushPulls(t.Context()); err != nil {
				t.Fatal(err)
			}
			return count(t, env, `SELECT count(*) FROM manifests m JOIN repositories r ON r.id = m.repository_id
				WHERE m.last_pulled_at > 0 AND r.last_pulled_at = m.last_pulled_at`)
		}
		r.Client.Want(http.StatusOK, http.MethodHead, manifestURL("demo/app", "v1"), nil)
		r.Client.Want(http.StatusNotFound, http.MethodGet, manifestURL("demo/app", "v2"), nil)
		r.Client.Nobody().Want(http.StatusUnauthorized, http.MethodGet, manifestURL("demo/app", "v1"), nil)
		if n := pulls(); n != 0 {
			t.Errorf("%d manifests were pulled, before any was", n)
		}
		r.Client.Want(http.StatusNotModified, http.MethodGet, manifestURL("demo/app", "v1"), nil, "If-None-Match", d.String())
		if n := pulls(); n != 1 {
			t.Errorf("%d manifests were pulled, want 1", n)
		}
	})
}
