package e2e

import (
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	specs "github.com/opencontainers/image-spec/specs-go/v1"
)

// document is any manifest: of an image, an artifact or an index.
type document struct {
	MediaType string             `json:"mediaType"`
	Config    *specs.Descriptor  `json:"config"`
	Layers    []specs.Descriptor `json:"layers"`
	Manifests []specs.Descriptor `json:"manifests"`
}

// readBack pulls a manifest and everything below it, holds every digest and size against the content, and gives the
// sizes by digest.
func (w wire) readBack(repo, reference string) map[string]int64 {
	w.t.Helper()
	found := map[string]int64{}
	w.readManifest(repo, reference, found)
	return found
}

func (w wire) readManifest(repo, reference string, found map[string]int64) {
	w.t.Helper()
	a := w.want(http.StatusOK, http.MethodGet, "/v2/"+repo+"/manifests/"+reference, nil)
	d := digest.FromBytes(a.body)
	if got := a.header.Get("Docker-Content-Digest"); got != d.String() {
		w.t.Errorf("%s: Docker-Content-Digest is %q, the content has %s", reference, got, d)
	}
	if named, err := digest.Parse(reference); err == nil && named != d {
		w.t.Errorf("the content of %s has the digest %s", named, d)
	}
	found[d.String()] = int64(len(a.body))
	var m document
	must(w.t, json.Unmarshal(a.body, &m))
	if got := a.header.Get("Content-Type"); m.MediaType != "" && got != m.MediaType {
		w.t.Errorf("%s: the Content-Type is %q, the manifest says %q", reference, got, m.MediaType)
	}
	for _, child := range m.Manifests {
		w.readManifest(repo, child.Digest.String(), found)
	}
	if m.Config != nil {
		m.Layers = append(m.Layers, *m.Config)
	}
	for _, blob := range m.Layers {
		if len(blob.URLs) == 0 {
			found[blob.Digest.String()] = w.readBlob(repo, blob)
		}
	}
}

// readBlob pulls a blob, holds it against its descriptor and gives its size.
func (w wire) readBlob(repo string, blob specs.Descriptor) int64 {
	w.t.Helper()
	path := "/v2/" + repo + "/blobs/" + blob.Digest.String()
	head := w.want(http.StatusOK, http.MethodHead, path, nil)
	if got := head.header.Get("Content-Length"); got != strconv.FormatInt(blob.Size, 10) {
		w.t.Errorf("%s: HEAD says %s bytes, the manifest %d", blob.Digest, got, blob.Size)
	}
	a := w.want(http.StatusOK, http.MethodGet, path, nil)
	if got := blob.Digest.Algorithm().FromBytes(a.body); got != blob.Digest {
		w.t.Errorf("the content of %s has the digest %s", blob.Digest, got)
	}
	return int64(len(a.body))
}

// same compares what was pulled with what was pushed, digest by digest.
func same(t testing.TB, want, got map[string]int64) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("digests and sizes: -pushed +pulled\n%s", diff)
	}
}

// tags lists a repository's tags.
func (w wire) tags(repo string) []string {
	w.t.Helper()
	var list struct {
		Tags []string `json:"tags"`
	}
	a := w.want(http.StatusOK, http.MethodGet, "/v2/"+repo+"/tags/list", nil)
	must(w.t, json.Unmarshal(a.body, &list))
	return list.Tags
}

// wantTags fails the test unless a repository has these tags, in this order.
func (w wire) wantTags(repo string, tags ...string) {
	w.t.Helper()
	if got := w.tags(repo); !slices.Equal(got, tags) {
		w.t.Errorf("%s has the tags %q, want %q", repo, got, tags)
	}
}

// referrers gives the descriptors that refer to a digest.
func (w wire) referrers(repo, subject, filter string) []specs.Descriptor {
	w.t.Helper()
	path := "/v2/" + repo + "/referrers/" + subject
	if filter != "" {
		path += "?artifactType=" + filter
	}
	var index specs.Index
	must(w.t, json.Unmarshal(w.want(http.StatusOK, http.MethodGet, path, nil).body, &index))
	return index.Manifests
}

// wantReferrers fails the test unless exactly these digests refer to a subject.
func (w wire) wantReferrers(repo, subject, filter string, digests ...string) {
	w.t.Helper()
	var got []string
	for _, descriptor := range w.referrers(repo, subject, filter) {
		got = append(got, descriptor.Digest.String())
	}
	slices.Sort(got)
	slices.Sort(digests)
	if !slices.Equal(got, digests) {
		w.t.Errorf("%q refer to %s, want %q", got, subject, digests)
	}
}
