package gc_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/berthregistry/berth/internal/oci/ocitest"
)

// model is what clients were told, and so may rely on.
type model struct {
	*world
	rand     *rand.Rand
	contents map[digest.Digest][]byte
	known    []digest.Digest
	promised map[[2]string]time.Time       // repository and digest, until when
	images   map[[2]string][]digest.Digest // live manifests with their blobs
	bodies   map[digest.Digest][]byte      // of all manifests that ever were
}

var modelRepos = []string{"one/a", "one/b", "two/a"}

// TestAnyOrderOfThings: pushes, mounts, HEADs, deletions, pushes of what was deleted, deletions of projects and collections
// in any order, with any time between them. Nothing goes within 12 hours of a positive answer; no live manifest lacks a
// blob; no row lacks its object; the ledger is right; and at the end nothing is left that nobody can reach.
func TestAnyOrderOfThings(t *testing.T) {
	seed := rand.Uint64()
	each(t, ocitest.Options{Batch: 3, ChunkSize: 1 << 10, CompactChunks: 1}, func(t *testing.T, w *world) {
		t.Logf("seed %d", seed)
		m := &model{
			world: w, rand: rand.New(rand.NewPCG(seed, 1)), contents: map[digest.Digest][]byte{},
			promised: map[[2]string]time.Time{}, images: map[[2]string][]digest.Digest{}, bodies: map[digest.Digest][]byte{},
		}
		for i := range 6 {
			content := noise(700*(i+1), byte(i))
			d := digest.FromBytes(content)
			m.contents[d], m.known = content, append(m.known, d)
		}
		steps := []func(){
			m.push, m.push, m.push, m.head, m.head, m.mount, m.image, m.image, m.again, m.deleteImage, m.deleteBlob,
			m.collection, m.collection, m.compaction, m.passTime, m.passTime, m.passTime, m.removeProject,
		}
		for range 160 {
			steps[m.rand.IntN(len(steps))]()
			if t.Failed() {
				return
			}
		}
		m.keepsItsWord()
		w.clock.advance(20 * 24 * time.Hour)
		m.collection()
		w.clock.advance(2 * time.Hour)
		m.collection()
		w.bareStore()
	})
}

func (m *model) repo() string          { return modelRepos[m.rand.IntN(len(modelRepos))] }
func (m *model) digest() digest.Digest { return m.known[m.rand.IntN(len(m.known))] }

func (m *model) promise(repo string, d digest.Digest) {
	m.promised[[2]string{repo, d.String()}] = m.clock.Now().Add(12*time.Hour - time.Minute)
}

func (m *model) push() {
	repo, d := m.repo(), m.digest()
	m.Push(repo, m.contents[d])
	m.promise(repo, d)
}

func (m *model) head() {
	repo, d := m.repo(), m.digest()
	if m.Do(http.MethodHead, "/v2/"+repo+"/blobs/"+d.String(), nil).Status == http.StatusOK {
		m.promise(repo, d)
	}
}

func (m *model) mount() {
	from, to, d := m.repo(), m.repo(), m.digest()
	if m.Do(http.MethodPost, "/v2/"+to+"/blobs/uploads/?from="+from+"&mount="+d.String(), nil).Status == http.StatusCreated {
		m.promise(to, d)
	}
}

// image pushes a manifest of what the repository was promised to have.
func (m *model) image() {
	repo := m.repo()
	var blobs []digest.Digest
	for _, d := range m.known {
		if m.clock.Now().Before(m.promised[[2]string{repo, d.String()}]) && m.rand.IntN(3) > 0 {
			blobs = append(blobs, d)
		}
	}
	if len(blobs) == 0 {
		return
	}
	type descriptor struct {
		MediaType string        `json:"mediaType"`
		Digest    digest.Digest `json:"digest"`
		Size      int           `json:"size"`
	}
	of := func(d digest.Digest) descriptor {
		return descriptor{"application/octet-stream", d, len(m.contents[d])}
	}
	layers := []descriptor{}
	for _, d := range blobs[1:] {
		layers = append(layers, of(d))
	}
	body, err := json.Marshal(map[string]any{
		"schemaVersion": 2, "mediaType": manifestType, "config": of(blobs[0]), "layers": layers,
	})
	m.must(err)
	d := m.PutManifest(repo, fmt.Sprintf("t%d", m.rand.IntN(3)), manifestType, body)
	m.images[[2]string{repo, d.String()}], m.bodies[d] = blobs, body
}

// again pushes an image that may have been deleted, or purged.
func (m *model) again() {
	bodies := m.sortedBodies()
	if len(bodies) == 0 {
		return
	}
	d, repo := bodies[m.rand.IntN(len(bodies))], m.repo()
	a := m.Do(http.MethodPut, "/v2/"+repo+"/manifests/again", m.bodies[d], "Content-Type", manifestType)
	switch a.Status {
	case http.StatusCreated:
		var body struct {
			Config struct{ Digest digest.Digest }
			Layers []struct{ Digest digest.Digest }
		}
		m.must(json.Unmarshal(m.bodies[d], &body))
		blobs := []digest.Digest{body.Config.Digest}
		for _, layer := range body.Layers {
			blobs = append(blobs, layer.Digest)
		}
		m.images[[2]string{repo, d.String()}] = blobs
	case http.StatusBadRequest: // it lacks blobs
	default:
		m.t.Errorf("a push of a known manifest answers %d: %s", a.Status, a.Body)
	}
}

func (m *model) sortedBodies() []digest.Digest {
	var all []digest.Digest
	for d := range m.bodies {
		all = append(all, d)
	}
	slices.Sort(all)
	m.rand.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	return all
}

func (m *model) deleteImage() {
	for _, d := range m.sortedBodies() {
		for _, repo := range modelRepos {
			if m.images[[2]string{repo, d.String()}] == nil {
				continue
			}
			m.Want(http.StatusAccepted, http.MethodDelete, "/v2/"+repo+"/manifests/"+d.String(), nil)
			delete(m.images, [2]string{repo, d.String()})
			return
		}
	}
}

func (m *model) deleteBlob() {
	repo, d := m.repo(), m.digest()
	if m.Do(http.MethodDelete, "/v2/"+repo+"/blobs/"+d.String(), nil).Status == http.StatusAccepted {
		delete(m.promised, [2]string{repo, d.String()})
	}
}

func (m *model) passTime() { m.clock.advance(time.Duration(m.rand.Int64N(int64(16 * time.Hour)))) }

func (m *model) compaction() {
	_, err := m.r.Collector.Compact(m.t.Context())
	m.must(err)
	m.keepsItsWord()
}

// removeProject deletes a project for good; the next push makes another one of that name.
func (m *model) removeProject() {
	if m.rand.IntN(3) > 0 {
		return
	}
	slug := m.repo()[:3]
	p, err := m.r.Projects.Get(m.t.Context(), slug)
	if err != nil {
		return // there is none
	}
	_, err = m.r.Projects.Delete(m.t.Context(), nil, p.ID, 0)
	m.must(err)
	for _, repo := range modelRepos {
		if repo[:3] != slug {
			continue
		}
		for key := range m.promised {
			if key[0] == repo {
				delete(m.promised, key)
			}
		}
		for key := range m.images {
			if key[0] == repo {
				delete(m.images, key)
			}
		}
	}
}

func (m *model) collection() {
	m.collect()
	m.keepsItsWord()
	m.consistent()
}

// keepsItsWord asks for everything that a client may rely on.
func (m *model) keepsItsWord() {
	m.t.Helper()
	for key, until := range m.promised {
		if m.clock.Now().Before(until) && !m.has(key[0], m.contents[digest.Digest(key[1])]) {
			m.t.Errorf("%s: %s is unknown %s before its promise ends", key[0], key[1], until.Sub(m.clock.Now()))
		}
	}
	for key, blobs := range m.images {
		m.Want(http.StatusOK, http.MethodGet, "/v2/"+key[0]+"/manifests/"+key[1], nil)
		for _, d := range blobs {
			if !m.has(key[0], m.contents[d]) {
				m.t.Errorf("%s: %s lacks its blob %s", key[0], key[1], d)
			}
		}
	}
}

// promises are until when a client may rely on the blobs of repositories.
type promises struct {
	mu    sync.Mutex
	until map[[2]string]time.Time
}

func (p *promises) give(repo string, d digest.Digest, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.until[[2]string{repo, d.String()}] = now.Add(12 * time.Hour)
}

// TestThreat19ThreeHoursOfCollection has as many collections as there are in three hours, a third of them beside pushers that
// ask for the same few blobs, mount them and push them: no blob is unknown within 12 hours of a positive answer. Between
// them the clock takes steps up to the life of a link, so that links end under the pushers all the time, and many just
// when a promise does.
func TestThreat19ThreeHoursOfCollection(t *testing.T) {
	const collections, pushers = 180, 3 // one a minute
	steps := []time.Duration{time.Minute, time.Hour, 6 * time.Hour, 12*time.Hour - time.Second, 12 * time.Hour, 24 * time.Hour}
	each(t, ocitest.Options{}, func(t *testing.T, w *world) {
		random := rand.New(rand.NewPCG(19, 3))
		blobs := [][]byte{noise(chunkSize, 1), noise(2*chunkSize, 2), noise(300, 3)}
		p := &promises{until: map[[2]string]time.Time{}}
		gone, kept := 0, 0
		for range collections / 3 {
			var busy sync.WaitGroup
			for i := range pushers {
				order := random.Perm(len(blobs))
				busy.Go(func() {
					for _, b := range order {
						w.rely(p, fmt.Sprintf("demo/app%d", i%2), fmt.Sprintf("demo/app%d", (i+1)%2), blobs[b])
					}
				})
			}
			w.collect()
			busy.Wait()
			w.clock.advance(steps[random.IntN(len(steps))])
			w.collect()
			w.collect() // also what the one before has only just queued
			for key, until := range p.until {
				content := blobs[slices.IndexFunc(blobs, func(b []byte) bool { return digest.FromBytes(b).String() == key[1] })]
				switch known := w.has(key[0], content); {
				case known:
					kept++
				case w.clock.Now().Before(until):
					t.Fatalf("%s: %s is unknown %s before its promise ends", key[0], key[1], until.Sub(w.clock.Now()))
				default:
					gone++
					delete(p.until, key)
				}
			}
		}
		w.consistent()
		if gone < collections/10 || kept < collections/10 {
			t.Errorf("%d blobs were found and %d had gone: too little to show anything", kept, gone)
		}
	})
}

// rely does what a pusher does with a blob: look whether it is there, mount it, or push it. It notes what is promised,
// from the time at which it began to ask. It may be called from any goroutine.
func (w *world) rely(p *promises, repo, other string, content []byte) {
	d, began := digest.FromBytes(content), w.clock.Now()
	a := w.send(http.MethodHead, "/v2/"+repo+"/blobs/"+d.String(), nil)
	if a.Status == http.StatusNotFound {
		a = w.send(http.MethodPost, "/v2/"+repo+"/blobs/uploads/?from="+other+"&mount="+d.String(), nil)
	}
	if a.Status == http.StatusAccepted {
		a = w.send(http.MethodPut, ocitest.Query(a.Header.Get("Location"), "digest", d.String()), content)
	}
	switch a.Status {
	case http.StatusOK, http.StatusCreated:
		p.give(repo, d, began)
	case http.StatusServiceUnavailable:
	default:
		w.t.Errorf("%s: answered %d: %s", repo, a.Status, a.Body)
	}
}
