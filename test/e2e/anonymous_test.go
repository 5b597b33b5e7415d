package e2e

import (
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/opencontainers/go-digest"
)

// TestPushWithoutAnAccount is what a pipeline without any credentials does first, and what happens to it then.
func TestPushWithoutAnAccount(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, b backends) {
		r := start(t, b, 1)
		crane, admin := r.crane(t, ""), r.admin(t)
		layout := newLayout(t, newImage(t, "amd64", nil, b.sizes()...))

		crane.run("push", layout, r.host+"/nobodys/app:one")
		crane.run("push", layout, r.host+"/nobodys/app:two") // everything is there already
		same(t, blobsOf(t, layout), admin.readBack("nobodys/app", "one"))
		same(t, blobsOf(t, layout), admin.readBack("nobodys/app", "two"))
		for _, args := range [][]string{
			{"pull", r.host + "/nobodys/app:one", t.TempDir() + "/pulled"}, {"manifest", r.host + "/nobodys/app:one"},
			{"ls", r.host + "/nobodys/app"}, {"delete", r.host + "/nobodys/app:one"}, {"catalog", r.host},
		} {
			crane.refused("unauthorized", args...)
		}
		crane.run("push", layout, r.host+"/nobodys:one") // the project's own repository
		same(t, blobsOf(t, layout), admin.readBack("nobodys", "one"))
	})
}

// TestParallelFirstLayers pushes the layers of a new project's first image as clients do: all at once.
func TestParallelFirstLayers(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, b backends) {
		const layers = 20
		r := start(t, b, 1)
		for repo, w := range map[string]wire{"first-of-nobody/app": r.nobody(t), "first-of-admin/app": r.admin(t)} {
			if repo == "first-of-nobody/app" {
				w = w.bearer(w.token("repository:" + repo + ":pull,push"))
			}
			var wg sync.WaitGroup
			blobs := make([][]byte, layers)
			for i := range blobs {
				blobs[i] = content(1000 + i)
				wg.Go(func() {
					d := digest.FromBytes(blobs[i]).String()
					begun, err := w.try(http.MethodPost, "/v2/"+repo+"/blobs/uploads/", nil)
					if err != nil || begun.status != http.StatusAccepted {
						t.Errorf("%s: POST %d: %v %s", repo, begun.status, err, begun.body)
						return
					}
					a, err := w.try(http.MethodPut, query(begun.location(), "digest", d), blobs[i])
					if err != nil || a.status != http.StatusCreated {
						t.Errorf("%s: PUT %d: %v %s", repo, a.status, err, a.body)
					}
				})
			}
			wg.Wait()
			for _, blob := range blobs {
				r.admin(t).want(http.StatusOK, http.MethodHead, "/v2/"+repo+"/blobs/"+digest.FromBytes(blob).String(), nil)
			}
		}
	})
}

// TestParallelFirstImages lets several clients push to one new project at the same time.
func TestParallelFirstImages(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, b backends) {
		r := start(t, b, 1)
		crane := r.crane(t, "")
		layouts := []string{newLayout(t, newImage(t, "amd64", nil, 100, 2000)), newLayout(t, newImage(t, "arm64", nil, 300, 4000))}
		var wg sync.WaitGroup
		for i, tag := range []string{"a", "b", "c", "d"} {
			wg.Go(func() {
				if out, complaints, err := crane.try(nil, "push", layouts[i%2], r.host+"/together/app:"+tag); err != nil {
					t.Errorf("push %s: %v\n%s%s", tag, err, out, complaints)
				}
			})
		}
		wg.Wait()
		admin := r.admin(t)
		admin.wantTags("together/app", strings.Split("abcd", "")...)
		for i, tag := range admin.tags("together/app") {
			same(t, blobsOf(t, layouts[i%2]), admin.readBack("together/app", tag))
		}
	})
}
