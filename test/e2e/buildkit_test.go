package e2e

import (
	"bytes"
	"net/http"
	"net/url"
	"testing"

	"github.com/opencontainers/go-digest"
	specs "github.com/opencontainers/image-spec/specs-go/v1"
)

// TestBuildkit pushes what a build leaves: an image with its attestations in one index, the same layers as the cache of
// later builds, whose index lists blobs instead of manifests, and layers in newer forms of compression.
func TestBuildkit(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, b backends) {
		r := start(t, b, 1)
		const repo = "buildkit/app"
		w := r.nobody(t).bearer(r.admin(t).token("repository:" + repo + ":pull,push"))
		m := specs.Manifest{Config: w.describe(repo, specs.MediaTypeImageConfig, encode(t, map[string]any{"os": "linux", "architecture": "amd64"}))}
		m.Layers = []specs.Descriptor{
			w.describe(repo, specs.MediaTypeImageLayerZstd, content(b.chunk+1)),
			w.describe(repo, specs.MediaTypeImageLayerGzip, content(500)),
		}
		m.Layers[1].Annotations = map[string]string{"containerd.io/snapshot/stargz/toc.digest": digest.FromString("toc").String()}
		image, _ := w.pushArtifact(repo, "", m)
		image.Platform = &specs.Platform{OS: "linux", Architecture: "amd64"}

		statement := w.describe(repo, "application/vnd.in-toto+json", []byte(`{"_type":"https://in-toto.io/Statement/v0.1"}`))
		statement.Annotations = map[string]string{"in-toto.io/predicate-type": "https://slsa.dev/provenance/v0.2"}
		attestation, _ := w.pushArtifact(repo, "", specs.Manifest{
			Config: w.describe(repo, specs.MediaTypeImageConfig, []byte(`{"architecture":"unknown","os":"unknown"}`)),
			Layers: []specs.Descriptor{statement},
		})
		attestation.Platform = &specs.Platform{OS: "unknown", Architecture: "unknown"}
		attestation.Annotations = map[string]string{
			"vnd.docker.reference.type": "attestation-manifest", "vnd.docker.reference.digest": image.Digest.String(),
		}
		index := specs.Index{MediaType: specs.MediaTypeImageIndex, Manifests: []specs.Descriptor{image, attestation}}
		index.SchemaVersion = 2
		w.pushManifest(repo, "latest", index.MediaType, encode(t, index))
		if blobs := r.admin(t).readBack(repo, "latest"); len(blobs) != 8 {
			t.Errorf("pulled %v", blobs)
		}

		cache := specs.Manifest{
			Config: w.describe(repo, "application/vnd.buildkit.cacheconfig.v0", []byte(`{"layers":[],"records":[]}`)), Layers: m.Layers,
		}
		cached, _ := w.pushArtifact(repo, "cache", cache)
		older := specs.Index{MediaType: specs.MediaTypeImageIndex, Manifests: append([]specs.Descriptor{cache.Config}, m.Layers...)}
		older.SchemaVersion = 2
		body := encode(t, older)
		w.pushManifest(repo, "cache-index", older.MediaType, body)
		got := w.want(http.StatusOK, http.MethodGet, "/v2/"+repo+"/manifests/cache-index", nil)
		if !bytes.Equal(got.body, body) {
			t.Errorf("the index of a cache: %s, want %s", got.body, body)
		}
		for _, blob := range older.Manifests {
			r.admin(t).readBlob(repo, blob)
		}

		// The next build of another image mounts the layers of the cache.
		const next = "buildkit/next"
		both := r.nobody(t).bearer(r.admin(t).token("repository:"+next+":pull,push", "repository:"+repo+":pull"))
		for _, layer := range append(m.Layers, m.Config) {
			query := url.Values{"mount": {layer.Digest.String()}, "from": {repo}}
			both.want(http.StatusCreated, http.MethodPost, "/v2/"+next+"/blobs/uploads/?"+query.Encode(), nil)
		}
		both.pushManifest(next, "latest", m.MediaType, encodeImage(t, m))
		same(t, r.admin(t).readBack(repo, image.Digest.String()), r.admin(t).readBack(next, "latest"))
		r.admin(t).want(http.StatusOK, http.MethodGet, "/v2/"+repo+"/manifests/"+cached.Digest.String(), nil)
	})
}

// encodeImage encodes a manifest as pushArtifact does.
func encodeImage(t *testing.T, m specs.Manifest) []byte {
	t.Helper()
	m.SchemaVersion, m.MediaType = 2, specs.MediaTypeImageManifest
	return encode(t, m)
}
