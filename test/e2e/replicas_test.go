package e2e

import (
	"bytes"
	"fmt"
	"net/http"
	"path/filepath"
	"sync"
	"testing"

	"github.com/opencontainers/go-digest"
	specs "github.com/opencontainers/image-spec/specs-go/v1"
)

// replica speaks to one replica alone.
func (r *registry) replica(t *testing.T, i int) wire {
	t.Helper()
	return wireTo(t, r.replicas[i]).basic(adminToken)
}

// TestThreat24PulledAtOnceElsewhere pushes on one replica and pulls on the other one the moment it is acknowledged, in both
// directions at the same time.
func TestThreat24PulledAtOnceElsewhere(t *testing.T) {
	t.Parallel()
	r := start(t, servers(t), 2)
	var wg sync.WaitGroup
	for worker := range 4 {
		push, pull := r.replica(t, worker%2), r.replica(t, 1-worker%2)
		wg.Go(func() {
			for i := range 12 {
				repo := fmt.Sprintf("at-once/of-%d", worker)
				blob := content(1000 + i)
				d := digest.FromBytes(blob)
				begun, err := push.try(http.MethodPost, "/v2/"+repo+"/blobs/uploads/", nil)
				expect(t, http.StatusAccepted, begun, err)
				a, err := push.try(http.MethodPut, query(begun.location(), "digest", d.String()), blob)
				expect(t, http.StatusCreated, a, err)
				a, err = pull.try(http.MethodHead, "/v2/"+repo+"/blobs/"+d.String(), nil)
				expect(t, http.StatusOK, a, err)
				manifest := encode(t, artifactOf(specs.Descriptor{MediaType: "application/vnd.example", Digest: d, Size: int64(len(blob))}))
				a, err = pull.try(http.MethodPut, "/v2/"+repo+"/manifests/latest", manifest, "Content-Type", specs.MediaTypeImageManifest)
				expect(t, http.StatusCreated, a, err)
				a, err = push.try(http.MethodGet, "/v2/"+repo+"/manifests/latest", nil)
				expect(t, http.StatusOK, a, err)
				if !bytes.Equal(a.body, manifest) {
					t.Errorf("the tag moved on one replica, the other one answers with what was there before")
				}
				a, err = push.try(http.MethodGet, "/v2/"+repo+"/blobs/"+d.String(), nil)
				expect(t, http.StatusOK, a, err)
			}
		})
	}
	wg.Wait()
}

// artifactOf is an artifact with one blob, which is its config too.
func artifactOf(blob specs.Descriptor) specs.Manifest {
	m := specs.Manifest{MediaType: specs.MediaTypeImageManifest, ArtifactType: "application/vnd.example", Config: blob, Layers: []specs.Descriptor{blob}}
	m.SchemaVersion = 2
	return m
}

// expect is for goroutines: it does not end the test.
func expect(t *testing.T, status int, a answer, err error) {
	t.Helper()
	if err != nil || a.status != status {
		t.Errorf("answered %d, want %d: %v %s", a.status, status, err, a.body)
	}
}

// TestReplicasBehindAProxy lets clients push and pull while each of their requests goes to another replica.
func TestReplicasBehindAProxy(t *testing.T) {
	t.Parallel()
	b := servers(t)
	r := start(t, b, 2)
	layout := newLayout(t, newIndex(t, b.sizes()...))
	regctl := r.regctl(t, adminToken) // in chunks
	regctl.run("image", "copy", "ocidir://"+layout+":latest", r.host+"/spread/regctl:one")
	same(t, blobsOf(t, layout), r.admin(t).readBack("spread/regctl", "one"))
	r.crane(t, adminToken).run("copy", r.host+"/spread/regctl:one", r.host+"/spread/crane:one")
	same(t, blobsOf(t, layout), r.admin(t).readBack("spread/crane", "one"))
	pulled := filepath.Join(t.TempDir(), "pulled")
	regctl.run("image", "copy", r.host+"/spread/crane:one", "ocidir://"+pulled+":latest")
	same(t, blobsOf(t, layout), blobsOf(t, pulled))
	nobody := newLayout(t, newImage(t, "amd64", nil, b.sizes()...))
	r.crane(t, "").run("push", nobody, r.host+"/spread-of-nobody/app:one")
	same(t, blobsOf(t, nobody), r.admin(t).readBack("spread-of-nobody/app", "one"))
}

// TestThreat24SessionsGoOnElsewhere goes on with a session on the other replica, request by request.
func TestThreat24SessionsGoOnElsewhere(t *testing.T) {
	t.Parallel()
	b := servers(t)
	r := start(t, b, 2)
	one, two := r.replica(t, 0), r.replica(t, 1)
	for name, ranged := range map[string]bool{"with Content-Range": true, "without": false} {
		blob := content(3*b.chunk + 12)
		d := digest.FromBytes(blob)
		location, sent := one.begin("sessions/app"), 0
		for i, part := range []int{b.chunk / 2, 2 * b.chunk, 1, b.chunk / 3} {
			w := []wire{two, one}[i%2]
			var headers []string
			if ranged {
				headers = []string{"Content-Range", fmt.Sprintf("%d-%d", sent, sent+part-1)}
			}
			location = w.want(http.StatusAccepted, http.MethodPatch, location, blob[sent:sent+part], headers...).location()
			sent += part
			status := []wire{one, two}[i%2].want(http.StatusNoContent, http.MethodGet, location, nil)
			if got, want := status.header.Get("Range"), fmt.Sprintf("0-%d", sent-1); got != want {
				t.Errorf("%s: after %d bytes the other replica says %q, want %q", name, sent, got, want)
			}
		}
		two.want(http.StatusCreated, http.MethodPut, query(location, "digest", d.String()), blob[sent:])
		one.want(http.StatusCreated, http.MethodPut, query(location, "digest", d.String()), nil) // again
		one.readBlob("sessions/app", specs.Descriptor{Digest: d, Size: int64(len(blob))})
	}
}

// TestReplicasTakeOverBrokenPuts breaks a layer's PUT off on one replica and sends it to the other one.
func TestReplicasTakeOverBrokenPuts(t *testing.T) {
	t.Parallel()
	b := servers(t)
	r := start(t, b, 2)
	for _, status := range []int{0, http.StatusServiceUnavailable} {
		blob := content(2*b.chunk + 100)
		r.proxy.fail(
			fault{method: http.MethodPut, after: int64(b.chunk + 5), status: status},
			fault{method: http.MethodPut, after: 5, status: status},
		)
		containerdPush(r.admin(t), "taken-over/app", blob, int64(len(blob)))
		if r.proxy.left() != 0 {
			t.Errorf("%d faults never happened", r.proxy.left())
		}
		r.admin(t).readBlob("taken-over/app", specs.Descriptor{Digest: digest.FromBytes(blob), Size: int64(len(blob))})
	}
}

// TestReplicasMoveTags moves one tag from both replicas at once while it is read.
func TestReplicasMoveTags(t *testing.T) {
	t.Parallel()
	r := start(t, servers(t), 2)
	const repo, images, moves = "moved/app", 8, 15
	manifests, known := make([][]byte, images), map[string]bool{}
	for i := range manifests {
		blob := r.replica(t, i%2).describe(repo, "application/vnd.example", content(100+i))
		manifests[i] = encode(t, artifactOf(blob))
		known[string(manifests[i])] = true
	}
	path := "/v2/" + repo + "/manifests/latest"
	r.replica(t, 0).pushManifest(repo, "latest", specs.MediaTypeImageManifest, manifests[0])
	var movers, readers sync.WaitGroup
	stop := make(chan struct{})
	for i := range 2 {
		w := r.replica(t, i)
		readers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				a, err := w.try(http.MethodGet, path, nil)
				expect(t, http.StatusOK, a, err)
				if !known[string(a.body)] || a.header.Get("Docker-Content-Digest") != digest.FromBytes(a.body).String() {
					t.Errorf("a torn answer: %v %s", a.header, a.body)
				}
			}
		})
	}
	for i := range images {
		w := r.replica(t, i%2)
		movers.Go(func() {
			for range moves {
				a, err := w.send(http.MethodPut, path, bytes.NewReader(manifests[i]), int64(len(manifests[i])), "Content-Type", specs.MediaTypeImageManifest)
				expect(t, http.StatusCreated, a, err)
			}
		})
	}
	movers.Wait()
	close(stop)
	readers.Wait()
	first, second := r.replica(t, 0).want(http.StatusOK, http.MethodGet, path, nil), r.replica(t, 1).want(http.StatusOK, http.MethodGet, path, nil)
	if !bytes.Equal(first.body, second.body) {
		t.Errorf("the replicas differ: %s and %s", first.body, second.body)
	}
	for i := range 20 { // one after the other, the last one wins
		r.replica(t, i%2).pushManifest(repo, "latest", specs.MediaTypeImageManifest, manifests[i%images])
		if a := r.replica(t, 1-i%2).want(http.StatusOK, http.MethodGet, path, nil); !bytes.Equal(a.body, manifests[i%images]) {
			t.Errorf("after move %d the other replica answers %s", i, a.body)
		}
	}
}
