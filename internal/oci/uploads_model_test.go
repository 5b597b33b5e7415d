package oci_test

import (
	"bytes"
	"flag"
	"maps"
	"net/http"
	"slices"
	"testing"

	"github.com/opencontainers/go-digest"
	"pgregory.net/rapid"

	"github.com/berthregistry/berth/internal/oci/ocitest"
)

// modelChunk is the chunk size of the sequences.
const modelChunk = 1 << 10

// uploadModel is what a session should hold, next to the session itself.
type uploadModel struct {
	clients   []*ocitest.Client
	content   []byte         // what is committed
	base      int            // where the last body began
	locations map[int]string // the last Location of each offset
	seed      uint64
}

func (m *uploadModel) client(t *rapid.T) *ocitest.Client {
	return rapid.SampledFrom(m.clients).Draw(t, "replica")
}

func (m *uploadModel) body(t *rapid.T) []byte {
	m.seed++
	return noise(rapid.IntRange(1, 4*modelChunk).Draw(t, "size"), m.seed)
}

// begin is where a body sent to the Location of an offset begins.
func (m *uploadModel) begin(offset int) (start int, legal bool) {
	switch offset {
	case len(m.content), m.base, 0:
		return offset, true
	}
	return 0, false
}

// took notes that the session holds p from an offset on.
func (m *uploadModel) took(start int, p []byte) {
	m.content = append(bytes.Clone(m.content[:start]), p...)
	m.base = start
}

func (m *uploadModel) offset(t *rapid.T) int {
	offsets := slices.Sorted(maps.Keys(m.locations)) // a sequence must be the same each time
	return rapid.SampledFrom(offsets).Draw(t, "offset")
}

// check compares an answer with the model and keeps its Location.
func (m *uploadModel) check(t *rapid.T, a ocitest.Answer, status int) {
	if a.Status != status {
		t.Fatalf("status %d, want %d: %s", a.Status, status, a.Body)
	}
	if got, want := a.Header.Get("Range"), span(0, max(1, len(m.content))); got != want {
		t.Fatalf("Range %s, want %s", got, want)
	}
	m.locations[len(m.content)] = a.Header.Get("Location")
}

// appendRange sends a body with a Content-Range.
func (m *uploadModel) appendRange(t *rapid.T) {
	body, start := m.body(t), len(m.content)
	a := m.client(t).Do(http.MethodPatch, m.locations[m.offset(t)], body, "Content-Range", span(start, len(body)))
	m.took(start, body)
	m.check(t, a, http.StatusAccepted)
}

// misplaced sends a body with a Content-Range elsewhere.
func (m *uploadModel) misplaced(t *rapid.T) {
	start := rapid.IntRange(0, len(m.content)+modelChunk).Filter(func(n int) bool { return n != len(m.content) }).Draw(t, "start")
	body := m.body(t)
	a := m.client(t).Do(http.MethodPatch, m.locations[m.offset(t)], body, "Content-Range", span(start, len(body)))
	m.check(t, a, http.StatusRequestedRangeNotSatisfiable)
}

// appendPlain sends a body to any Location that was ever given out.
func (m *uploadModel) appendPlain(t *rapid.T) {
	offset, body := m.offset(t), m.body(t)
	a := m.client(t).Do(http.MethodPatch, m.locations[offset], body)
	start, legal := m.begin(offset)
	if !legal {
		m.check(t, a, http.StatusRequestedRangeNotSatisfiable)
		return
	}
	m.took(start, body)
	m.check(t, a, http.StatusAccepted)
}

// cut sends a part of a body to such a Location.
func (m *uploadModel) cut(t *rapid.T) {
	offset := m.offset(t)
	start, legal := m.begin(offset)
	if !legal {
		return
	}
	body := m.body(t)
	k := rapid.IntRange(0, len(body)-1).Draw(t, "cut")
	sendPart(t, m.client(t), http.MethodPatch, m.locations[offset], body, k)
	if kept := max(0, k-1) / modelChunk * modelChunk; kept > 0 { // else nothing happened, going back included
		m.took(start, body[:kept])
	}
	m.status(t)
}

func (m *uploadModel) status(t *rapid.T) {
	m.check(t, m.client(t).Do(http.MethodGet, m.locations[m.offset(t)], nil), http.StatusNoContent)
}

func (m *uploadModel) empty(t *rapid.T) {
	offset := m.offset(t)
	if _, legal := m.begin(offset); legal {
		m.check(t, m.client(t).Do(http.MethodPatch, m.locations[offset], nil), http.StatusAccepted)
	}
}

// finish names the content, with a last body or without, and reads it back from a replica.
func (m *uploadModel) finish(t *rapid.T) {
	var body []byte
	offset := m.offset(t)
	if start, legal := m.begin(offset); legal && rapid.Bool().Draw(t, "with body") {
		body = m.body(t)
		m.took(start, body)
	}
	d := digest.FromBytes(m.content).String()
	for range 2 {
		a := m.client(t).Do(http.MethodPut, ocitest.Query(m.locations[offset], "digest", d), body)
		if a.Status != http.StatusCreated {
			t.Fatalf("status %d: %s", a.Status, a.Body)
		}
	}
	if got := m.client(t).Do(http.MethodGet, "/v2/"+uploadRepo+"/blobs/"+d, nil); !bytes.Equal(got.Body, m.content) {
		t.Fatalf("%d bytes came back as %d: status %d", len(m.content), len(got.Body), got.Status)
	}
}

// TestUploadSequences compares any sequence of requests, cuts and changes of the replica with a model.
func TestUploadSequences(t *testing.T) {
	checks := flag.Lookup("rapid.checks")
	if checks.Value.String() == checks.DefValue {
		if err := flag.Set("rapid.checks", "20"); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = flag.Set("rapid.checks", checks.DefValue) })
	}
	eachUploads(t, func(t *testing.T, env *ocitest.Env) {
		opts := ocitest.Options{ChunkSize: modelChunk}
		c := env.Replica(t, opts).Client
		clients := []*ocitest.Client{c, c.At(env.Replica(t, opts))}
		rapid.Check(t, func(t *rapid.T) {
			m := &uploadModel{clients: clients, locations: map[int]string{0: c.Start(uploadRepo)}}
			steps := []func(*rapid.T){m.appendRange, m.misplaced, m.appendPlain, m.appendPlain, m.cut, m.status, m.empty}
			for range rapid.IntRange(0, 12).Draw(t, "steps") {
				steps[rapid.IntRange(0, len(steps)-1).Draw(t, "step")](t)
			}
			m.finish(t)
		})
	})
}
