package gc_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
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

// TestThreeHoursOfCollection collects without end against pushes of the same few blobs while three hours, and the lives
// of links many times over, go by on the clock: no blob is unknown within 12 hours of a positive answer.
func TestThreeHoursOfCollection(t *testing.T) {
	each(t, ocitest.Options{}, func(t *testing.T, w *world) {
		blobs := [][]byte{noise(chunkSize, 1), noise(2*chunkSize, 2), noise(300, 3)}
		last := make([]time.Time, len(blobs))
		start := w.clock.Now()
		for round := 0; w.clock.Now().Sub(start) < 3*time.Hour; round++ {
			i := round % len(blobs)
			switch round / len(blobs) % 3 {
			case 0:
				w.Push("demo/app", blobs[i])
				last[i] = w.clock.Now()
			case 1: // as old as a link can be of which a HEAD still says yes
				w.exec(`UPDATE repository_blobs SET keep_until = ?`, w.clock.Now().Add(time.Minute).UnixMicro())
				if w.Do(http.MethodHead, "/v2/demo/app/blobs/"+digest.FromBytes(blobs[i]).String(), nil).Status == http.StatusOK {
					last[i] = w.clock.Now()
				}
				w.exec(`UPDATE repository_blobs SET keep_until = 0 WHERE keep_until < ?`, w.clock.Now().Add(time.Hour).UnixMicro())
				for j := range last {
					if j != i {
						last[j] = time.Time{} // their promise was taken away behind the server's back
					}
				}
			}
			w.collect()
			for i, at := range last {
				if !at.IsZero() && !w.has("demo/app", blobs[i]) {
					t.Fatalf("round %d: blob %d is unknown %s after a positive answer", round, i, w.clock.Now().Sub(at))
				}
			}
			w.clock.advance(3 * time.Minute)
		}
		w.consistent()
	})
}
