package e2e

import (
	"encoding/json"
	"net/http"
	"testing"

	"github.com/opencontainers/go-digest"
	specs "github.com/opencontainers/image-spec/specs-go/v1"
)

// begin opens an upload session and gives its Location.
func (w wire) begin(repo string) string {
	w.t.Helper()
	return w.want(http.StatusAccepted, http.MethodPost, "/v2/"+repo+"/blobs/uploads/", nil).location()
}

// pushBlob uploads a blob as containerd does: a session and one PUT with everything.
func (w wire) pushBlob(repo string, blob []byte) digest.Digest {
	w.t.Helper()
	d := digest.FromBytes(blob)
	w.want(http.StatusCreated, http.MethodPut, query(w.begin(repo), "digest", d.String()), blob)
	return d
}

// pushManifest pushes a manifest under a tag or a digest.
func (w wire) pushManifest(repo, reference, mediaType string, manifest []byte) answer {
	w.t.Helper()
	return w.want(http.StatusCreated, http.MethodPut, "/v2/"+repo+"/manifests/"+reference, manifest, "Content-Type", mediaType)
}

// describe pushes a blob and gives its descriptor.
func (w wire) describe(repo, mediaType string, blob []byte) specs.Descriptor {
	w.t.Helper()
	return specs.Descriptor{MediaType: mediaType, Digest: w.pushBlob(repo, blob), Size: int64(len(blob))}
}

// pushArtifact pushes a config and layers that were described, under a tag or, where that is empty, by digest.
func (w wire) pushArtifact(repo, tag string, m specs.Manifest) (specs.Descriptor, answer) {
	w.t.Helper()
	m.SchemaVersion, m.MediaType = 2, specs.MediaTypeImageManifest
	if m.Layers == nil {
		m.Layers = []specs.Descriptor{}
	}
	body := encode(w.t, m)
	d := digest.FromBytes(body)
	if tag == "" {
		tag = d.String()
	}
	a := w.pushManifest(repo, tag, m.MediaType, body)
	return specs.Descriptor{MediaType: m.MediaType, Digest: d, Size: int64(len(body)), ArtifactType: m.ArtifactType}, a
}

// pushImage pushes a small image and gives the descriptor of its manifest.
func (w wire) pushImage(repo, tag string, layers ...[]byte) specs.Descriptor {
	w.t.Helper()
	config := encode(w.t, map[string]any{"os": "linux", "architecture": "amd64", "author": tag, "rootfs": map[string]any{"type": "layers"}})
	m := specs.Manifest{Config: w.describe(repo, specs.MediaTypeImageConfig, config)}
	for _, layer := range layers {
		m.Layers = append(m.Layers, w.describe(repo, specs.MediaTypeImageLayer, layer))
	}
	d, _ := w.pushArtifact(repo, tag, m)
	return d
}

func encode(t testing.TB, value any) []byte {
	t.Helper()
	body, err := json.Marshal(value)
	must(t, err)
	return body
}
