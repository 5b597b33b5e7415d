package e2e

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/opencontainers/go-digest"
	specs "github.com/opencontainers/image-spec/specs-go/v1"
)

const (
	killRounds   = 20
	killPushers  = 4
	killSeed     = 20240229
	killMost     = 400 // events of a round at most, before the kill
	killRepo     = "killed/app"
	partsOfChunk = 32 // reads of a body per chunk, each an event
)

// testKilled kills the program at random points of several pushes, again and again. What it acknowledged must be there
// after the restart, and what it was in the middle of must go on from where it says.
func testKilled(t *testing.T, program string, b backends) {
	random := rand.New(rand.NewPCG(killSeed, uint64(b.chunk)))
	var all, late []*push
	c := startChild(t, program, b)
	for range killRounds {
		pushes := killedRound(c, b, random)
		c = startChild(t, program, b)
		for _, p := range pushes {
			if p.leased && p.interrupted {
				late = append(late, p) // its session is taken until its lease runs out
				continue
			}
			p.check(c.wire)
			p.resume(c.wire)
		}
		all = append(all, pushes...)
	}
	var wg sync.WaitGroup
	for _, p := range late { // all together, so that they wait together
		wg.Go(func() { p.resume(c.wire) })
	}
	wg.Wait()
	interrupted, resumed := 0, 0
	for _, p := range all {
		p.check(c.wire)
		if p.interrupted {
			interrupted++
		}
		if p.resumed {
			resumed++
		}
	}
	t.Logf("%d of %d pushes were interrupted; %d of them went on from a committed offset", interrupted, len(all), resumed)
	if interrupted < killRounds || resumed == 0 || interrupted == len(all) {
		t.Error("the kills did not meet pushes in every state")
	}
}

// killedRound pushes until a random event, at which it kills the program.
func killedRound(c *child, b backends, random *rand.Rand) []*push {
	var events atomic.Int64
	last := 1 + random.Int64N(killMost)
	event := func() {
		if events.Add(1) == last {
			c.Kill()
		}
	}
	var mu sync.Mutex
	var pushes []*push
	var wg sync.WaitGroup
	for range killPushers {
		seed := random.Uint64()
		wg.Go(func() {
			random := rand.New(rand.NewPCG(killSeed, seed))
			for alive := true; alive; {
				p := newPush(c.t, b, random, event)
				mu.Lock()
				pushes = append(pushes, p)
				mu.Unlock()
				alive = p.run(c.wire)
			}
		})
	}
	wg.Wait()
	<-c.Ended()
	return pushes
}

// push is the upload of one blob and of a manifest with it, and what is known of it.
type push struct {
	blob     []byte
	digest   digest.Digest
	manifest []byte
	style    int
	chunk    int
	event    func()

	location     string // of the last answer; "" before the first one
	sent         int    // acknowledged bytes, by chunks
	named        bool   // the closing PUT was sent
	leased       bool   // a body of several chunks was sent
	stored       bool   // the blob was acknowledged
	acknowledged bool   // the manifest was
	interrupted  bool
	resumed      bool // the session held a part of the blob
}

const (
	styleChunks = iota // PATCH, PATCH, ..., PUT: half of all
	styleStream        // POST, PATCH with everything, PUT
	stylePut           // POST, PUT with everything
	stylePost          // POST with everything
	styles
)

func newPush(t testing.TB, b backends, random *rand.Rand, event func()) *push {
	size := 2 + random.IntN(b.chunk/8)
	if random.IntN(3) > 0 {
		size = 2 + random.IntN(5*b.chunk/2)
	}
	p := &push{blob: make([]byte, size), style: max(0, random.IntN(styles+3)-3), chunk: b.chunk, event: event}
	for i := 0; i+8 <= size; i += 8 {
		value := random.Uint64()
		for j := range 8 {
			p.blob[i+j] = byte(value >> (8 * j))
		}
	}
	p.digest = digest.FromBytes(p.blob)
	m := artifactOf(specs.Descriptor{MediaType: "application/vnd.example", Digest: p.digest, Size: int64(size)})
	p.manifest = encode(t, m)
	return p
}

// run pushes until the program is gone, and says whether it is still there.
func (p *push) run(w wire) (alive bool) {
	defer func() { p.interrupted = !p.acknowledged }()
	if !p.upload(w) {
		return false
	}
	p.stored = true
	a, ok := p.do(w, http.MethodPut, "/v2/"+killRepo+"/manifests/"+p.tag(), p.manifest, "Content-Type", specs.MediaTypeImageManifest)
	p.acknowledged = ok && a.status == http.StatusCreated
	return p.acknowledged
}

func (p *push) tag() string { return "t" + p.digest.Encoded()[:20] }

func (p *push) upload(w wire) bool {
	start := "/v2/" + killRepo + "/blobs/uploads/"
	if p.style == stylePost {
		a, ok := p.do(w, http.MethodPost, start+"?digest="+p.digest.String(), p.blob)
		return ok && a.status == http.StatusCreated
	}
	a, ok := p.do(w, http.MethodPost, start, nil)
	if !ok || a.status != http.StatusAccepted {
		return false
	}
	p.location = a.location()
	rest := p.blob
	for p.style != stylePut && len(rest) > 0 {
		part := rest
		if p.style == styleChunks {
			part = rest[:min(len(rest), p.chunk/4)]
		}
		p.leased = len(part) > p.chunk
		a, ok := p.do(w, http.MethodPatch, p.location, part)
		if !ok || a.status != http.StatusAccepted {
			return false
		}
		p.location, rest = a.location(), rest[len(part):]
		p.sent += len(part)
	}
	p.named, p.leased = true, len(rest) > p.chunk
	a, ok = p.do(w, http.MethodPut, query(p.location, "digest", p.digest.String()), rest)
	return ok && a.status == http.StatusCreated
}

// do sends a request, each part of whose body is an event, as is its answer.
func (p *push) do(w wire, method, path string, body []byte, headers ...string) (answer, bool) {
	a, err := w.send(method, path, &counted{bytes.NewReader(body), p.chunk / partsOfChunk, p.event}, int64(len(body)), headers...)
	if err != nil {
		return a, false
	}
	p.event()
	if a.status >= 300 {
		w.t.Errorf("%s: %d %s", method, a.status, a.body)
	}
	return a, true
}

// counted is a body that is read in small parts.
type counted struct {
	io.Reader
	most  int
	event func()
}

// Read implements io.Reader.
func (c *counted) Read(b []byte) (int, error) {
	c.event()
	return c.Reader.Read(b[:min(len(b), c.most)])
}

// check reads back what was acknowledged.
func (p *push) check(w wire) {
	w.t.Helper()
	if p.stored {
		w.readBlob(killRepo, specs.Descriptor{Digest: p.digest, Size: int64(len(p.blob))})
	}
	if p.acknowledged {
		for _, reference := range []string{p.tag(), digest.FromBytes(p.manifest).String()} {
			a := w.want(http.StatusOK, http.MethodGet, "/v2/"+killRepo+"/manifests/"+reference, nil)
			if !bytes.Equal(a.body, p.manifest) {
				w.t.Errorf("the manifest %s came back as %s", reference, a.body)
			}
		}
	}
}

// resume finishes what was interrupted. It may run in any goroutine.
func (p *push) resume(w wire) {
	if !p.interrupted {
		return
	}
	if !p.stored && !p.finish(w) {
		return
	}
	p.stored = true
	a, err := w.try(http.MethodPut, "/v2/"+killRepo+"/manifests/"+p.tag(), p.manifest, "Content-Type", specs.MediaTypeImageManifest)
	p.acknowledged = err == nil && a.status == http.StatusCreated
	if !p.acknowledged {
		w.t.Errorf("PUT of the manifest after a restart: %d %v %s", a.status, err, a.body)
	}
}

func (p *push) finish(w wire) bool {
	rest, location := p.blob, p.location
	switch {
	case location == "":
		begun, err := w.try(http.MethodPost, "/v2/"+killRepo+"/blobs/uploads/", nil)
		if err != nil || begun.status != http.StatusAccepted {
			w.t.Errorf("POST after a restart: %d %v %s", begun.status, err, begun.body)
			return false
		}
		location = begun.location()
	case p.named:
		rest = p.blob[p.sent:] // the same request again
	default:
		status, err := w.try(http.MethodGet, location, nil)
		if err != nil || status.status != http.StatusNoContent {
			w.t.Errorf("GET of a session after a restart: %d %v %s", status.status, err, status.body)
			return false
		}
		kept := committed(w.t, status)
		if kept < p.sent || kept > len(p.blob) {
			w.t.Errorf("the session holds %d bytes, %d of %d were acknowledged", kept, p.sent, len(p.blob))
			return false
		}
		p.resumed = kept > 0
		rest, location = p.blob[kept:], status.location()
		if len(rest) > 0 {
			patched, err := w.try(http.MethodPatch, location, rest, "Content-Range", fmt.Sprintf("%d-%d", kept, len(p.blob)-1))
			if err != nil || patched.status != http.StatusAccepted {
				w.t.Errorf("PATCH after a restart: %d %v %s", patched.status, err, patched.body)
				return false
			}
			rest, location = nil, patched.location()
		}
	}
	a, err := w.try(http.MethodPut, query(location, "digest", p.digest.String()), rest)
	if err != nil || a.status != http.StatusCreated {
		w.t.Errorf("PUT after a restart (style %d, %d bytes of %d): %d %v %s", p.style, len(rest), len(p.blob), a.status, err, a.body)
		return false
	}
	return true
}
