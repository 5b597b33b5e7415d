package oci_test

import (
	"net/http"
	"testing"

	"github.com/berthregistry/berth/internal/oci/ocitest"
)

// TestUploadAppendCost holds the fiftieth chunk to what the second one cost, and the closing PUT to what it costs for
// two chunks.
func TestUploadAppendCost(t *testing.T) {
	eachUploads(t, func(t *testing.T, env *ocitest.Env) {
		store, wrap := newTricky()
		c := env.Replica(t, ocitest.Options{Store: wrap}).Client
		type cost struct {
			trips, commits               int64
			creates, writes, syncs, open int
		}
		measure := func(f func()) cost {
			store.reset(nil)
			trips, commits := env.DB.Trips(), env.DB.Commits()
			f()
			return cost{
				env.DB.Trips() - trips, env.DB.Commits() - commits,
				store.count(stepCreate), store.count(stepWrite), store.count(stepCommit), store.count(stepOpen),
			}
		}
		content := noise(50*1000, 1)
		push := func(chunks int) (appends []cost, finish cost) {
			location := c.Start(uploadRepo)
			for i := range chunks {
				appends = append(appends, measure(func() {
					location = patch(c, location, content[i*1000:(i+1)*1000], "Content-Range", span(i*1000, 1000))
				}))
			}
			finish = measure(func() {
				wantStatus(t, put(c, location, content[:chunks*1000], nil), http.StatusCreated)
			})
			return appends, finish
		}
		push(3) // warms the replica
		_, short := push(2)
		appends, long := push(50)
		want := cost{trips: appends[1].trips, commits: appends[1].commits, creates: 1, writes: 1, syncs: 1}
		if appends[1] != want || appends[49] != want {
			t.Errorf("the second chunk cost %+v, the last %+v; want %+v", appends[1], appends[49], want)
		}
		if long != short || long.open != 0 {
			t.Errorf("finishing 2 chunks cost %+v, 50 chunks %+v", short, long)
		}
		t.Logf("a chunk costs %+v, finishing %+v", want, long)
	})
}
