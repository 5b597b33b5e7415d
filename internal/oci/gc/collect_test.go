package gc_test

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/berthregistry/berth/internal/oci/ocitest"
)

// TestWhatNobodyNeedsGoes takes an image through all of its stages: pushed, deleted, purged, removed from storage.
func TestWhatNobodyNeedsGoes(t *testing.T) {
	each(t, ocitest.Options{Batch: 2}, func(t *testing.T, w *world) {
		kept, gone, alone := noise(3*chunkSize, 1), noise(2*chunkSize+1, 2), noise(chunkSize, 3)
		w.Image("demo/app", "kept", kept)
		_, d := w.Image("demo/app", "gone", gone, kept)
		w.Push("demo/app", alone)

		w.clock.advance(25 * time.Hour)
		if f := w.collect(); f.Links != 1 || f.Blobs != 1 || f.BlobBytes != chunkSize || f.RemovedObjects != 3 { // of the second push of what was there
			t.Errorf("a day after the pushes: %+v", f)
		}
		w.consistent()
		w.Want(http.StatusAccepted, http.MethodDelete, "/v2/demo/app/manifests/"+d.String(), nil)
		w.clock.advance(6 * 24 * time.Hour)
		if f := w.collect(); f.Manifests != 0 || f.Links != 0 || f.Blobs != 0 || f.RemovedObjects != 1 || f.RemovedBytes != chunkSize {
			t.Errorf("while it can be brought back: %+v", f)
		}
		w.clock.advance(25 * time.Hour)
		f := w.collect()
		if f.Manifests != 1 || f.Tags != 1 || f.Links != 2 || f.Blobs != 2 {
			t.Errorf("after its time in the trash: %+v", f)
		}
		w.consistent()
		w.clock.advance(2 * time.Hour)
		if f := w.collect(); f.RemovedObjects != 4 {
			t.Errorf("after the sweep delay: %+v", f)
		}
		w.consistent()
		w.bareStore()
		if !w.has("demo/app", kept) || w.has("demo/app", gone) || w.has("demo/app", alone) {
			t.Error("the wrong content is gone")
		}
	})
}

// TestSharedBlobsStay collects the link of one project and not the blob, which another one has.
func TestSharedBlobsStay(t *testing.T) {
	each(t, ocitest.Options{}, func(t *testing.T, w *world) {
		shared := noise(chunkSize, 1)
		w.Push("one/app", shared)
		w.Image("two/app", "v1", shared)
		w.clock.advance(25 * time.Hour)
		if f := w.collect(); f.Links != 1 || f.Blobs != 0 {
			t.Errorf("%+v", f)
		}
		if w.has("one/app", shared) || !w.has("two/app", shared) {
			t.Error("the wrong link is gone")
		}
		w.consistent()
	})
}

// TestUntaggedManifestsStay: runners pin digests.
func TestUntaggedManifestsStay(t *testing.T) {
	each(t, ocitest.Options{}, func(t *testing.T, w *world) {
		layer := noise(chunkSize, 1)
		_, d := w.Image("demo/app", "v1", layer)
		w.Image("demo/app", "v1", noise(chunkSize, 2)) // the tag moves away
		w.Want(http.StatusAccepted, http.MethodDelete, "/v2/demo/app/manifests/v1", nil)
		w.clock.advance(60 * 24 * time.Hour)
		w.collect()
		w.Want(http.StatusOK, http.MethodGet, "/v2/demo/app/manifests/"+d.String(), nil)
		if !w.has("demo/app", layer) {
			t.Error("the layer of an untagged manifest is gone")
		}
	})
}

// TestDeletedBlobsComeBackUntilTheirPurge by pushing them again, with their bytes.
func TestDeletedBlobsComeBackUntilTheirPurge(t *testing.T) {
	each(t, ocitest.Options{}, func(t *testing.T, w *world) {
		blob := noise(chunkSize, 1)
		d := w.Push("demo/app", blob)
		w.Want(http.StatusAccepted, http.MethodDelete, "/v2/demo/app/blobs/"+d.String(), nil)
		w.clock.advance(6 * 24 * time.Hour)
		if f := w.collect(); f.Links != 0 {
			t.Errorf("in the trash: %+v", f)
		}
		if again := w.collect(); again.Links != 0 || w.count(`SELECT count(*) FROM repository_blobs WHERE held`) != 0 {
			t.Errorf("looked at twice: %+v", again)
		}
		w.clock.advance(2 * 24 * time.Hour)
		if f := w.collect(); f.Links != 1 || f.Blobs != 1 {
			t.Errorf("past the trash: %+v", f)
		}
		w.Push("demo/app", blob)
		if !w.has("demo/app", blob) {
			t.Error("a blob that was pushed again is not there")
		}
		w.consistent()
	})
}

// TestRepushRevivesUntilThePurge: whoever is first wins, the push or the purge.
func TestRepushRevivesUntilThePurge(t *testing.T) {
	each(t, ocitest.Options{}, func(t *testing.T, w *world) {
		layer := noise(chunkSize, 1)
		body, d := w.Image("demo/app", "v1", layer)
		path := "/v2/demo/app/manifests/" + d.String()
		w.Want(http.StatusAccepted, http.MethodDelete, path, nil)
		w.clock.advance(8 * 24 * time.Hour) // past its time, and not purged yet
		w.PutManifest("demo/app", "v2", manifestType, body)
		if f := w.collect(); f.Manifests != 0 || f.Links != 0 || f.Tags != 1 {
			t.Errorf("after the push: %+v", f)
		}
		w.Want(http.StatusOK, http.MethodGet, path, nil)
		w.Want(http.StatusAccepted, http.MethodDelete, path, nil)
		w.clock.advance(8 * 24 * time.Hour)
		w.collect()
		w.Want(http.StatusBadRequest, http.MethodPut, "/v2/demo/app/manifests/v3", body, "Content-Type", manifestType)
		w.Image("demo/app", "v1", layer)
		w.Want(http.StatusOK, http.MethodGet, path, nil)
		w.consistent()
	})
}

// TestThreat19JustPushed keeps what a push has just stored, also what it found stored already.
func TestThreat19JustPushed(t *testing.T) {
	each(t, ocitest.Options{}, func(t *testing.T, w *world) {
		blob := noise(chunkSize, 1)
		w.Push("demo/app", blob)
		w.clock.advance(23 * time.Hour)
		w.collect()
		w.Push("demo/app", blob) // a link that would end within the hour
		for range 3 {
			w.clock.advance(5 * time.Hour)
			w.collect()
		}
		if !w.has("demo/app", blob) {
			t.Error("a blob that was pushed 15 hours ago is gone")
		}
	})
}

// TestThreat19JustSeenByHead keeps for 12 hours what a pusher was told is there, and what it has mounted.
func TestThreat19JustSeenByHead(t *testing.T) {
	each(t, ocitest.Options{}, func(t *testing.T, w *world) {
		blob := noise(chunkSize, 1)
		d := w.Push("demo/app", blob)
		for i, age := range []time.Duration{11 * time.Hour, 12*time.Hour + time.Minute, 23*time.Hour + 59*time.Minute} {
			w.exec(`UPDATE repository_blobs SET keep_until = ?`, w.clock.Now().Add(24*time.Hour).UnixMicro())
			w.clock.advance(age)
			w.Want(http.StatusOK, http.MethodHead, "/v2/demo/app/blobs/"+d.String(), nil)
			repo := fmt.Sprintf("demo/other%d", i)
			w.Want(http.StatusCreated, http.MethodPost, "/v2/"+repo+"/blobs/uploads/?from=demo/app&mount="+d.String(), nil)
			w.clock.advance(12*time.Hour - time.Minute)
			w.collect()
			if !w.has("demo/app", blob) || !w.has(repo, blob) {
				t.Errorf("a HEAD or a mount at the age of %s was no promise", age)
			}
		}
		w.clock.advance(48 * time.Hour)
		w.collect()
		w.Want(http.StatusNotFound, http.MethodHead, "/v2/demo/app/blobs/"+d.String(), nil)
		w.consistent()
	})
}

// TestThreat19ChildrenOfATaggedIndex keeps the images of an index, which have no tags, with their layers.
func TestThreat19ChildrenOfATaggedIndex(t *testing.T) {
	each(t, ocitest.Options{}, func(t *testing.T, w *world) {
		layers := [][]byte{noise(chunkSize, 1), noise(chunkSize, 2)}
		var children []digest.Digest
		items := ""
		for i, layer := range layers {
			body, d := w.Image("demo/app", fmt.Sprintf("arch%d", i), layer)
			w.Want(http.StatusAccepted, http.MethodDelete, fmt.Sprintf("/v2/demo/app/manifests/arch%d", i), nil)
			children = append(children, d)
			items += fmt.Sprintf(`,{"mediaType":%q,"digest":%q,"size":%d}`, manifestType, d, len(body))
		}
		index := fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":%q,"manifests":[%s]}`, indexType, items[1:])
		w.PutManifest("demo/app", "v1", indexType, index)
		w.clock.advance(30 * 24 * time.Hour)
		w.collect()
		w.Want(http.StatusOK, http.MethodGet, "/v2/demo/app/manifests/v1", nil)
		for i, d := range children {
			w.Want(http.StatusOK, http.MethodGet, "/v2/demo/app/manifests/"+d.String(), nil)
			if !w.has("demo/app", layers[i]) {
				t.Errorf("the layer of child %d is gone", i)
			}
		}
	})
}

// TestThreat19ContentBehindAnAlias keeps an image while any tag names it, whichever of them goes.
func TestThreat19ContentBehindAnAlias(t *testing.T) {
	each(t, ocitest.Options{}, func(t *testing.T, w *world) {
		layer := noise(chunkSize, 1)
		body, _ := w.Image("demo/app", "v1", layer)
		w.PutManifest("demo/app", "latest", manifestType, body)
		w.Want(http.StatusAccepted, http.MethodDelete, "/v2/demo/app/manifests/v1", nil)
		w.clock.advance(30 * 24 * time.Hour)
		if f := w.collect(); f.Tags != 1 || f.Manifests != 0 {
			t.Errorf("%+v", f)
		}
		w.Want(http.StatusOK, http.MethodGet, "/v2/demo/app/manifests/latest", nil)
		if !w.has("demo/app", layer) {
			t.Error("the layer behind the other tag is gone")
		}
		w.consistent()
	})
}
