package gc_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/berthregistry/berth/internal/oci/gc"
	"github.com/berthregistry/berth/internal/oci/ocitest"
)

// TestPushersAgainstCollectors: eight push the same three blobs, of which all links have just ended, while two collect and
// remove objects at once. Each 201 can be read, and what is refused is refused with 503 and Retry-After.
func TestPushersAgainstCollectors(t *testing.T) {
	each(t, ocitest.Options{}, func(t *testing.T, w *world) {
		blobs := [][]byte{noise(chunkSize, 1), noise(3*chunkSize, 2), noise(10, 3)}
		collectors := []*gc.Collector{w.collector(func(cfg *gc.Config) { cfg.Batch = 2 }), w.collector(nil)}
		for _, content := range blobs {
			w.Push("demo/app0", content)
		}
		for round := range 12 {
			w.exec(`UPDATE repository_blobs SET keep_until = 0, held = false`)
			ctx, cancel := context.WithCancel(t.Context())
			var collecting, pushing sync.WaitGroup
			for _, c := range collectors {
				collecting.Go(func() {
					for ctx.Err() == nil {
						if _, err := c.Collect(context.WithoutCancel(ctx)); err != nil {
							t.Errorf("collect: %v", err)
							return
						}
					}
				})
			}
			for pusher := range 8 {
				pushing.Go(func() {
					repo := fmt.Sprintf("demo/app%d", (pusher+round)%3)
					for i := range blobs {
						w.pushAndRead(repo, blobs[(i+pusher)%len(blobs)])
					}
				})
			}
			pushing.Wait()
			cancel()
			collecting.Wait()
			w.consistent()
			if t.Failed() {
				t.Fatalf("in round %d", round)
			}
		}
		w.exec(`UPDATE repository_blobs SET keep_until = 0`)
		for range 2 {
			_, err := collectors[0].Collect(t.Context())
			w.must(err)
			w.clock.advance(2 * time.Hour) // the delay of what uploads released
		}
		if left := w.objects(); len(left) != 0 || w.count(`SELECT count(*) FROM blobs`) != 0 {
			t.Errorf("%d objects are left", len(left))
		}
		w.ledger()
	})
}

// pushAndRead pushes a blob until it is told 201, and reads it. It may be called from any goroutine.
func (w *world) pushAndRead(repo string, content []byte) {
	d := digest.FromBytes(content)
	for range 20 {
		a := w.send(http.MethodPost, "/v2/"+repo+"/blobs/uploads/", nil)
		if a.Status == http.StatusAccepted {
			a = w.send(http.MethodPut, ocitest.Query(a.Header.Get("Location"), "digest", d.String()), content)
		}
		switch {
		case a.Status == http.StatusCreated:
			read := w.send(http.MethodGet, "/v2/"+repo+"/blobs/"+d.String(), nil)
			if read.Status != http.StatusOK || !bytes.Equal(read.Body, content) {
				w.t.Errorf("%s: after a 201 the blob is answered with %d, %d bytes", repo, read.Status, len(read.Body))
			}
			return
		case a.Status != http.StatusServiceUnavailable || a.Header.Get("Retry-After") == "":
			w.t.Errorf("%s: a push is answered with %d: %s", repo, a.Status, a.Body)
			return
		}
	}
	w.t.Errorf("%s: twenty pushes were refused", repo)
}

func (w *world) send(method, path string, body []byte) ocitest.Answer {
	var reader io.Reader
	if body != nil {
		reader = bytes.NewReader(body)
	}
	a, err := w.Send(w.Request(w.t.Context(), method, path, reader))
	if err != nil {
		w.t.Errorf("%s %s: %v", method, path, err)
	}
	return a
}

// TestManifestsAgainstCollectors: manifests are pushed of blobs whose links have just ended. Each is stored with all of
// its blobs, or refused for want of them.
func TestManifestsAgainstCollectors(t *testing.T) {
	each(t, ocitest.Options{}, func(t *testing.T, w *world) {
		layer := noise(chunkSize, 1)
		body, d := w.Image("demo/app", "v1", layer)
		path := "/v2/demo/app/manifests/" + d.String()
		c := w.collector(nil)
		stored := 0
		for range 20 {
			w.Image("demo/app", "v1", layer)
			w.Want(http.StatusAccepted, http.MethodDelete, path, nil)
			w.exec(`UPDATE manifests SET purge_after = 0 WHERE deleted_at IS NOT NULL`)
			w.exec(`UPDATE tags SET purge_after = 0 WHERE deleted_at IS NOT NULL`)
			w.exec(`UPDATE repository_blobs SET keep_until = 0, held = false`)
			var both sync.WaitGroup
			both.Go(func() {
				if _, err := c.Collect(t.Context()); err != nil {
					t.Error(err)
				}
			})
			var a ocitest.Answer
			both.Go(func() {
				req := w.Request(t.Context(), http.MethodPut, "/v2/demo/app/manifests/v2", bytes.NewReader(body), "Content-Type", manifestType)
				a, _ = w.Send(req)
			})
			both.Wait()
			w.consistent()
			switch a.Status {
			case http.StatusCreated:
				stored++
				if !w.has("demo/app", layer) {
					t.Fatal("a manifest was stored without its blob")
				}
			case http.StatusBadRequest:
			default:
				t.Fatalf("a push answers %d: %s", a.Status, a.Body)
			}
		}
		t.Logf("%d of 20 were stored", stored)
	})
}
