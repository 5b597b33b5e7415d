package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	specs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/berthregistry/berth/internal/config"
	"github.com/berthregistry/berth/internal/testenv"
	"github.com/berthregistry/berth/test/crash/faults"
)

// outageTimeout is what the servers of these tests give their database and their storage for an answer.
const outageTimeout = 2 * time.Second

// fragile is a registry whose database and storage can fail.
type fragile struct {
	*registry
	t        *testing.T
	chunk    int
	postgres *faults.Postgres
	s3       *faults.S3
}

// startFragile runs it until the test ends. It gives its database and its storage so long for an answer.
func startFragile(t *testing.T, b backends, timeout time.Duration) *fragile {
	t.Helper()
	f := &fragile{t: t, chunk: b.chunk}
	traps := &faults.Traps{}
	database, err := url.Parse(b.database)
	must(t, err)
	f.postgres, err = faults.NewPostgres(database.Host, 0, traps)
	must(t, err)
	t.Cleanup(f.postgres.Close)
	database.Host = f.postgres.Address()
	_, endpoint, _ := strings.Cut(b.storage, "endpoint=http://")
	target, _, _ := strings.Cut(endpoint, "&")
	f.s3, err = faults.NewS3(target, 0, traps)
	must(t, err)
	t.Cleanup(f.s3.Close)
	cfg := b.settings()
	cfg.Database.URL = config.SecretURL(database.String())
	cfg.Storage.URL = config.SecretURL(strings.Replace(b.storage, target, f.s3.Address(), 1))
	cfg.Database.Timeout, cfg.Storage.Timeout, cfg.Storage.Attempts = timeout, timeout, 1
	at := run(t, cfg)
	f.registry = &registry{host: strings.TrimPrefix(at, "http://"), replicas: []string{at}}
	return f
}

// outage is something that fails for a while.
type outage struct {
	database   bool // else the storage
	begin, end func(f *fragile)
}

// always is more requests than any test sends.
const always = 1 << 30

// TestThreat20StorageHangs has fifteen times as many requests wait for storage, both ways, as there are connections to the
// database: nobody is kept from what needs no storage.
func TestThreat20StorageHangs(t *testing.T) {
	t.Parallel()
	const waiting = 15 // of each kind; no more than 16 objects are sent at once
	b := servers(t)
	separator := "?"
	if strings.Contains(b.database, "?") {
		separator = "&"
	}
	b.database += separator + "pool_max_conns=2"
	f := startFragile(t, b, patience)
	w := f.admin(t)
	w.pushImage("hangs/app", "one", content(f.chunk/2))
	blob := "/v2/hangs/app/blobs/" + w.layerOf("hangs/app", "one")
	f.s3.Hang(true)
	var wg sync.WaitGroup
	for range waiting {
		wg.Go(func() {
			a, err := w.try(http.MethodGet, blob, nil)
			expect(t, http.StatusOK, a, err)
		})
		wg.Go(func() {
			pushed := content(1000)
			a, err := w.try(http.MethodPost, "/v2/hangs/app/blobs/uploads/?digest="+digest.FromBytes(pushed).String(), pushed)
			expect(t, http.StatusCreated, a, err)
		})
	}
	await(t, "the requests wait for storage", func() bool { return f.s3.Waiting() >= 2*waiting })
	for range 5 {
		w.want(http.StatusOK, http.MethodGet, "/v2/hangs/app/manifests/one", nil)
		w.want(http.StatusOK, http.MethodHead, blob, nil)
		w.wantTags("hangs/app", "one")
		w.begin("hangs/app")
	}
	if n := f.s3.Waiting(); n < 2*waiting {
		t.Errorf("only %d requests still wait for storage", n)
	}
	f.s3.Heal()
	wg.Wait()
}

// layerOf is the digest of an image's first layer.
func (w wire) layerOf(repo, tag string) string {
	w.t.Helper()
	var m document
	must(w.t, json.Unmarshal(w.want(http.StatusOK, http.MethodGet, "/v2/"+repo+"/manifests/"+tag, nil).body, &m))
	return m.Layers[0].Digest.String()
}

// await waits until something is so.
func await(t testing.TB, what string, so func() bool) {
	t.Helper()
	late := time.NewTimer(patience)
	defer late.Stop()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !so() {
		select {
		case <-tick.C:
		case <-late.C:
			t.Fatalf("not within %s: %s", patience, what)
		}
	}
}

// TestThreat23Outages lets the storage fail in each way, and the database, while clients push and pull: what they see is
// 503 with Retry-After, and whoever tries again, or goes on with their session, finishes afterwards.
func TestThreat23Outages(t *testing.T) {
	t.Parallel()
	for name, o := range map[string]outage{
		"storage answers 503": {
			begin: func(f *fragile) { f.s3.SlowDown(always) }, end: func(f *fragile) { f.s3.Heal() },
		},
		"storage hangs": {
			begin: func(f *fragile) { f.s3.Hang(true) }, end: func(f *fragile) { f.s3.Heal() },
		},
		"storage cuts connections": {
			begin: func(f *fragile) { f.s3.Refuse(true) }, end: func(f *fragile) { f.s3.Heal() },
		},
		"the database hangs": {
			database: true, begin: func(f *fragile) { f.postgres.Hang(true) }, end: func(f *fragile) { f.postgres.Heal() },
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			startFragile(t, servers(t), outageTimeout).suffer(o)
		})
	}
	t.Run("the database is restarted", func(t *testing.T) {
		t.Parallel()
		server := testenv.PostgresServer(t)
		b := backends{database: server.URL(t), storage: testenv.S3(t), chunk: 5 << 20}
		startFragile(t, b, outageTimeout).suffer(outage{
			database: true, begin: func(f *fragile) { server.Stop(f.t) }, end: func(f *fragile) { server.Start(f.t) },
		})
	})
}

// suffer has an outage in the middle of pushes and pulls.
func (f *fragile) suffer(o outage) {
	f.t.Helper()
	w, crane, skopeo := f.admin(f.t), f.crane(f.t, adminToken), f.skopeo(f.t, adminToken)
	before, pushed := newLayout(f.t, newImage(f.t, "amd64", nil, 1000, f.chunk/2)), newLayout(f.t, newImage(f.t, "amd64", nil, 1000, f.chunk/2))
	crane.run("push", before, f.host+"/outage/before:one")
	session := f.beginSession(w)
	readyBefore := w.want(http.StatusOK, http.MethodGet, "/readyz", nil)

	o.begin(f)
	var clients sync.WaitGroup
	pulled := f.t.TempDir()
	for _, command := range []struct {
		program
		args []string
	}{
		{crane, []string{"push", pushed, f.host + "/outage/crane:one"}},
		{skopeo, []string{"copy", "--preserve-digests", "--dest-tls-verify=false", "oci:" + pushed + ":latest", "docker://" + f.host + "/outage/skopeo:one"}},
		{crane, []string{"pull", "--format=oci", f.host + "/outage/before:one", filepath.Join(pulled, "crane")}},
		{skopeo, []string{"copy", "--preserve-digests", "--src-tls-verify=false", "docker://" + f.host + "/outage/before:one", "oci:" + filepath.Join(pulled, "skopeo") + ":latest"}},
	} {
		clients.Go(func() { command.untilDone(command.args...) })
	}
	f.during(w, o, before, session)
	o.end(f)

	awaitReady(w, readyBefore.body)
	session.resume(w)
	clients.Wait()
	for _, repo := range []string{"outage/crane", "outage/skopeo"} {
		same(f.t, blobsOf(f.t, pushed), w.readBack(repo, "one"))
	}
	same(f.t, blobsOf(f.t, before), w.readBack("outage/before", "one"))
	for _, client := range []string{"crane", "skopeo"} {
		same(f.t, blobsOf(f.t, before), blobsOf(f.t, filepath.Join(pulled, client)))
	}
}

// during sends each kind of request in the middle of the outage.
func (f *fragile) during(w wire, o outage, layout string, session *session) {
	f.t.Helper()
	var largest string
	sizes := blobsOf(f.t, layout)
	for d, size := range sizes {
		if size > sizes[largest] {
			largest = d
		}
	}
	blob, manifest := "/v2/outage/before/blobs/"+largest, "/v2/outage/before/manifests/one"
	w.wantUnavailable(http.MethodPatch, session.location, session.blob[session.acked:], "Content-Range", session.rest())
	if o.database {
		for _, path := range []string{manifest, blob, session.location, "/v2/outage/before/tags/list"} {
			w.wantUnavailable(http.MethodGet, path, nil)
		}
		w.wantUnavailable(http.MethodPut, "/v2/outage/before/manifests/two", encode(f.t, artifactOf(specs.Descriptor{
			MediaType: "application/vnd.example", Digest: digest.Digest(largest), Size: sizes[largest],
		})), "Content-Type", specs.MediaTypeImageManifest)
	} else {
		w.wantUnavailable(http.MethodGet, blob, nil)
		w.want(http.StatusOK, http.MethodGet, manifest, nil)
		w.want(http.StatusOK, http.MethodHead, blob, nil)
		w.want(http.StatusNoContent, http.MethodGet, session.location, nil)
	}
	w.want(http.StatusOK, http.MethodGet, "/healthz", nil)
	await(f.t, "/readyz says so", func() bool { // what it says may be a second old
		a, err := w.try(http.MethodGet, "/readyz", nil)
		return err == nil && a.status == http.StatusServiceUnavailable
	})
}

// wantUnavailable sends a request that must be answered as the outage asks for.
func (w wire) wantUnavailable(method, path string, body []byte, headers ...string) {
	w.t.Helper()
	a, err := w.try(method, path, body, headers...)
	expectUnavailable(w.t, a, err)
}

func expectUnavailable(t testing.TB, a answer, err error) {
	t.Helper()
	if err != nil || a.status != http.StatusServiceUnavailable || a.header.Get("Retry-After") == "" {
		t.Errorf("answered %d with Retry-After %q, want 503: %v %s", a.status, a.header.Get("Retry-After"), err, a.body)
	}
}

// awaitReady waits until the server says that it is ready again.
func awaitReady(w wire, as []byte) {
	w.t.Helper()
	await(w.t, "the server is ready again", func() bool {
		w.want(http.StatusOK, http.MethodGet, "/healthz", nil)
		a, err := w.try(http.MethodGet, "/readyz", nil)
		return err == nil && a.status == http.StatusOK && bytes.Equal(a.body, as)
	})
}

// untilDone runs a client as a pipeline does that repeats a step which failed. What it complains of is that the
// registry is unavailable, and nothing else.
func (p program) untilDone(args ...string) {
	late := time.NewTimer(patience)
	defer late.Stop()
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for runs := 1; ; runs++ {
		out, complaints, err := p.try(nil, args...)
		if err == nil {
			p.t.Logf("%s %s: done at run %d", filepath.Base(p.path), args[0], runs)
			return
		}
		for _, wrong := range []string{"unauthorized", "denied", "not found", "unknown", "internal server error"} {
			if strings.Contains(strings.ToLower(complaints), wrong) {
				p.t.Errorf("%s %s: %q in %s", filepath.Base(p.path), args[0], wrong, complaints)
				return
			}
		}
		select {
		case <-tick.C:
		case <-late.C:
			p.t.Errorf("%s %s: %v\n%s%s", filepath.Base(p.path), strings.Join(args, " "), err, out, complaints)
			return
		}
	}
}

// session is an upload by a client that goes on where it was.
type session struct {
	blob     []byte
	acked    int
	location string
}

const sessionRepo = "outage/session"

func (f *fragile) beginSession(w wire) *session {
	f.t.Helper()
	s := &session{blob: content(f.chunk), acked: f.chunk / 3} // the rest is read before storage is asked
	s.location = w.want(http.StatusAccepted, http.MethodPatch, w.begin(sessionRepo), s.blob[:s.acked]).location()
	return s
}

// rest is the Content-Range of what was not acknowledged.
func (s *session) rest() string { return fmt.Sprintf("%d-%d", s.acked, len(s.blob)-1) }

// resume asks how far the session has come, and finishes it.
func (s *session) resume(w wire) {
	w.t.Helper()
	status := w.want(http.StatusNoContent, http.MethodGet, s.location, nil)
	kept := committed(w.t, status)
	if kept < s.acked || kept > len(s.blob) {
		w.t.Fatalf("the session holds %d bytes, %d of %d were acknowledged", kept, s.acked, len(s.blob))
	}
	d := digest.FromBytes(s.blob)
	a := w.want(http.StatusCreated, http.MethodPut, query(status.location(), "digest", d.String()), s.blob[kept:])
	w.want(http.StatusOK, http.MethodHead, a.location(), nil)
	w.readBlob(sessionRepo, specs.Descriptor{Digest: d, Size: int64(len(s.blob))})
}

// TestThreat23CutBodies has storage cut every body in its middle: a client gets all of the blob, put together from what
// came, as long as anything comes.
func TestThreat23CutBodies(t *testing.T) {
	t.Parallel()
	f := startFragile(t, servers(t), outageTimeout)
	w, crane := f.admin(t), f.crane(t, adminToken)
	pushed := newLayout(t, newImage(t, "amd64", nil, 10, f.chunk+f.chunk/3))
	crane.run("push", pushed, f.host+"/cut/app:one")
	f.s3.Halve(always)
	pulled := filepath.Join(t.TempDir(), "pulled")
	crane.run("pull", "--format=oci", f.host+"/cut/app:one", pulled)
	same(t, blobsOf(t, pushed), blobsOf(t, pulled))
	same(t, blobsOf(t, pushed), w.readBack("cut/app", "one"))
	if n := f.s3.Counts().Halved; n < 4 {
		t.Errorf("%d bodies were cut", n)
	}
}
