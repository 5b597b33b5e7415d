package oci_test

import (
	"net/http"
	"testing"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// TestThreat10PlantedContentIsDiscarded: a claim can empty the project. What was pushed before is then gone for everybody
// through any verb, and the owner can push the same again. (Referrers of anything are an empty list.)
func TestThreat10PlantedContentIsDiscarded(t *testing.T) {
	eachTenants(t, func(t *testing.T, w *tenants) {
		pusher := w.anyone("found/app")
		planted, config := []byte("planted"), []byte("{}")
		d := pusher.Push("found/app", planted)
		pusher.Push("found/app", config)
		body := image(config, planted).bytes(t)
		m := pusher.PutManifest("found/app", "v1", v1.MediaTypeImageManifest, body)
		begun := pusher.Want(http.StatusAccepted, http.MethodPatch, pusher.Start("found/app"), []byte("content")).Header.Get("Location")
		w.claim("found", w.mia, true)

		refused(t, pusher.Do(http.MethodPatch, begun, []byte("more")), http.StatusUnauthorized, "UNAUTHORIZED")
		for _, a := range reads("found/app", "v1", m, d)[:11] {
			if got := a.by(w.mia.Client); got.Status != http.StatusNotFound {
				t.Errorf("%s: %d %s", a.name, got.Status, got.Body)
			}
		}
		if got := w.mia.Do(http.MethodPut, manifestURL("found/app", "v1"), body, "Content-Type", v1.MediaTypeImageManifest); got.Status != http.StatusNotFound &&
			got.Status != http.StatusBadRequest {
			t.Errorf("a manifest of planted blobs: %d %s", got.Status, got.Body)
		}
		if w.mia.Push("found/app", planted) != d {
			t.Error("another digest")
		}
		w.mia.Push("found/app", config)
		if w.mia.PutManifest("found/app", "v2", v1.MediaTypeImageManifest, body) != m {
			t.Error("another digest")
		}
		w.mia.Want(http.StatusOK, http.MethodGet, manifestURL("found/app", "v2"), nil)
		w.mia.Want(http.StatusOK, http.MethodGet, blobURL("found/app", d), nil)
		w.mia.Want(http.StatusNotFound, http.MethodGet, manifestURL("found/app", "v1"), nil)
	})
}
