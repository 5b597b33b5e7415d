package oci_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/berthregistry/berth/internal/oci/ocitest"
)

const uploadsOfDemo = "/v2/demo/app/blobs/uploads/"

// holds is what all projects hold, with what uploads under way hold.
func holds(t *testing.T, env *ocitest.Env) int64 {
	t.Helper()
	return rows(t, env, `SELECT (SELECT coalesce(sum(bytes), 0) FROM usage_totals) + (SELECT coalesce(sum(bytes), 0) FROM usage_deltas)
		+ (SELECT coalesce(sum(committed_offset), 0) FROM upload_sessions WHERE status = 'open')`)
}

// wantFull checks that an answer says what is used and allowed.
func wantFull(t *testing.T, a ocitest.Answer, numbers ...int) {
	t.Helper()
	wantCode(t, a, http.StatusForbidden, "DENIED")
	for _, n := range numbers {
		if !strings.Contains(string(a.Body), fmt.Sprintf("%d", n)) {
			t.Errorf("the answer does not say %d: %s", n, a.Body)
		}
	}
}

// TestProjectQuota refuses what does not fit: by its announced length before a byte is read, else with its bytes given
// back and the session ended.
func TestProjectQuota(t *testing.T) {
	ocitest.Each(t, func(t *testing.T, env *ocitest.Env) {
		store, wrap := newTricky()
		clock := &testClock{}
		c := env.Replica(t, ocitest.Options{ProjectQuota: 10_000, ChunkSize: 2000, Store: wrap, Clock: clock.Now}).Client
		first := noise(6000, 1)
		c.Push("demo/app", first)

		clock.Advance(3 * time.Second) // what lets an upload begin may be two seconds old
		store.reset(nil)
		d := digest.FromBytes(noise(4001, 2)).String()
		location := c.Start("demo/app")
		for _, request := range [][2]string{
			{http.MethodPatch, location},
			{http.MethodPut, ocitest.Query(location, "digest", d)},
			{http.MethodPost, uploadsOfDemo + "?digest=" + d},
		} {
			f := startFlow(t, c, request[0], request[1], 4001, "Expect", "100-continue")
			wantFull(t, f.answer(), 6000, 10_000)
			f.stop()
		}
		if n := store.count(stepCreate); n != 0 {
			t.Errorf("%d objects were begun", n)
		}

		location = patch(c, c.Start("demo/app"), noise(1000, 3))
		wantFull(t, doChunked(t, c, http.MethodPatch, location, noise(5000, 4)), 6000, 10_000)
		wantCode(t, c.Do(http.MethodGet, location, nil), http.StatusNotFound, "BLOB_UPLOAD_UNKNOWN")
		if n := holds(t, env); n != 6000 {
			t.Errorf("the project holds %d bytes", n)
		}

		c.Want(http.StatusCreated, http.MethodPost, "/v2/demo/other/blobs/uploads/?mount="+digest.FromBytes(first).String(), nil) // counts once
		c.Push("demo/app", noise(4000, 5))
		if n := holds(t, env); n != 10_000 {
			t.Errorf("the project holds %d bytes", n)
		}
		clock.Advance(3 * time.Second)
		wantFull(t, c.Do(http.MethodPost, uploadsOfDemo, nil), 10_000)
		index := []byte(`{"schemaVersion":2,"mediaType":"` + v1.MediaTypeImageIndex + `","manifests":[]}`)
		wantFull(t, c.Do(http.MethodPut, manifestURL("demo/app", "v1"), index, "Content-Type", v1.MediaTypeImageIndex), 10_000)

		c.Want(http.StatusAccepted, http.MethodDelete, "/v2/demo/app/blobs/"+digest.FromBytes(noise(4000, 5)).String(), nil)
		c.PutManifest("demo/app", "v1", v1.MediaTypeImageIndex, index) // deleting makes room at once
		rest := noise(4000-len(index), 6)
		c.Push("demo/app", rest)
		c.PutManifest("demo/app", "v2", v1.MediaTypeImageIndex, index) // another tag of a full project takes no room

		c.Push("elsewhere/app", noise(5000, 7))
		mount := uploadsOfDemo + "?from=elsewhere/app&mount=" + digest.FromBytes(noise(5000, 7)).String()
		wantFull(t, c.Do(http.MethodPost, mount, nil), 10_000)
		mount = "/v2/demo/third/blobs/uploads/?mount=" + digest.FromBytes(rest).String()
		c.Want(http.StatusCreated, http.MethodPost, mount, nil) // what the project has takes no room
	})
}

// TestOwnQuota is about projects with a quota of their own, unclaimed ones, and accounts.
func TestOwnQuota(t *testing.T) {
	ocitest.Each(t, func(t *testing.T, env *ocitest.Env) {
		r := env.Replica(t, ocitest.Options{ProjectQuota: 1000, UnclaimedQuota: 500, AccountQuota: 3000})
		c := r.Client
		c.Push("demo", noise(900, 1))
		execute(t, env, `UPDATE projects SET quota_bytes = 2000`)
		for _, p := range []string{"demo", "other", "third"} {
			project, err := r.Projects.Resolve(t.Context(), p)
			if err == nil {
				r.Projects.Forget(project.ID)
			}
		}
		c.Push("demo", noise(1000, 2))
		c.Push("other", noise(900, 3))
		post := func(c *ocitest.Client, project string, content []byte) ocitest.Answer {
			return c.Do(http.MethodPost, "/v2/"+project+"/blobs/uploads/?digest="+digest.FromBytes(content).String(), content)
		}
		a := post(c, "third", noise(300, 4))
		wantFull(t, a, 2800, 3000)
		if !strings.Contains(string(a.Body), "account") {
			t.Errorf("%s", a.Body)
		}
		wantFull(t, post(c, "other", noise(101, 5)), 900, 1000)
		nobody := c.Nobody()
		anonymous := nobody.Bearer(nobody.Token("repository:open/app:push,pull"))
		wantFull(t, post(anonymous, "open/app", noise(501, 6)), 0, 500)
		wantStatus(t, post(anonymous, "open/app", noise(500, 7)), http.StatusCreated)
	})
}

// TestThreat18ThousandUploads: a thousand uploads into one project at once all get an answer, and exceed its quota by at most a
// chunk each. None that fits is refused.
func TestThreat18ThousandUploads(t *testing.T) {
	ocitest.Each(t, func(t *testing.T, env *ocitest.Env) {
		const uploads, size, allowed = 1000, 100, 50_000
		c := env.Replica(t, ocitest.Options{ProjectQuota: allowed}).Client
		c.Push("demo/app", noise(size, 0))
		var created, refused, other atomic.Int64
		var wg sync.WaitGroup
		for i := range uploads {
			wg.Go(func() {
				switch status := quotaPush(t, c, noise(size, uint64(i+1))); status {
				case http.StatusCreated:
					created.Add(1)
				case http.StatusForbidden:
					refused.Add(1)
				default:
					other.Add(1)
					t.Errorf("upload %d: status %d", i, status)
				}
			})
		}
		wg.Wait()
		held := holds(t, env)
		t.Logf("%d created, %d refused, %d bytes held", created.Load(), refused.Load(), held)
		if held != size*(created.Load()+1) || held > allowed+size*uploads || held < size || refused.Load() == 0 {
			t.Errorf("%d bytes are held, %d allowed; %d created, %d refused", held, allowed, created.Load(), refused.Load())
		}
	})
}

// quotaPush is POST, PATCH, PUT, and the status that ended it.
func quotaPush(t *testing.T, c *ocitest.Client, content []byte) int {
	a, err := c.Send(c.Request(t.Context(), http.MethodPost, uploadsOfDemo, http.NoBody))
	if err != nil {
		t.Error(err)
		return 0
	}
	for _, step := range []struct {
		method string
		body   []byte
		want   int
	}{{http.MethodPatch, content, http.StatusAccepted}, {http.MethodPut, nil, http.StatusCreated}} {
		location := a.Header.Get("Location")
		if a.Status != http.StatusAccepted {
			return a.Status
		}
		if step.method == http.MethodPut {
			location = ocitest.Query(location, "digest", digest.FromBytes(content).String())
		}
		if a, err = c.Send(c.Request(t.Context(), step.method, location, strings.NewReader(string(step.body)))); err != nil {
			t.Error(err)
			return 0
		}
	}
	return a.Status
}
