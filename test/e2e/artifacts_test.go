package e2e

import (
	"bytes"
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	specs "github.com/opencontainers/image-spec/specs-go/v1"
)

// TestArtifacts pushes what is no image, by the media types that the tools for it use.
func TestArtifacts(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, b backends) {
		r := start(t, b, 1)
		w, repo := r.admin(t), "artifacts/all"
		part := func(mediaType string, size int) specs.Descriptor { return w.describe(repo, mediaType, content(size)) }
		empty := w.describe(repo, specs.MediaTypeEmptyJSON, []byte("{}"))
		artifacts := map[string]specs.Manifest{
			"helm": {
				Config: w.describe(repo, "application/vnd.cncf.helm.config.v1+json", []byte(`{"name":"chart","version":"1.2.3"}`)),
				Layers: []specs.Descriptor{
					part("application/vnd.cncf.helm.chart.content.v1.tar+gzip", 5000),
					part("application/vnd.cncf.helm.chart.provenance.v1.prov", 900),
				},
				Annotations: map[string]string{"org.opencontainers.image.version": "1.2.3", "org.opencontainers.image.title": "chart"},
			},
			"wasm": {
				Config: w.describe(repo, "application/vnd.wasm.config.v0+json", []byte(`{"architecture":"wasm","os":"wasip2"}`)),
				Layers: []specs.Descriptor{part("application/wasm", b.chunk+17)},
			},
			"sbom":     {ArtifactType: "application/vnd.cyclonedx+json", Config: empty, Layers: []specs.Descriptor{part("application/vnd.cyclonedx+json", 800)}},
			"nothing":  {ArtifactType: "application/vnd.example.flag", Config: empty, Layers: []specs.Descriptor{empty}},
			"unlisted": {ArtifactType: "application/vnd.example.flag", Config: empty},
			"1.2.3_build.5": { // how Helm writes the version 1.2.3+build.5
				Config: w.describe(repo, "application/vnd.cncf.helm.config.v1+json", []byte(`{"version":"1.2.3+build.5"}`)),
				Layers: []specs.Descriptor{part("application/vnd.cncf.helm.chart.content.v1.tar+gzip", 1)},
			},
		}
		for tag, m := range artifacts {
			w.pushArtifact(repo, tag, m)
			got := w.want(http.StatusOK, http.MethodGet, "/v2/"+repo+"/manifests/"+tag, nil)
			if !bytes.Equal(got.body, encodeImage(t, withLayers(m))) {
				t.Errorf("%s: pulled %s", tag, got.body)
			}
			distinct := map[digest.Digest]bool{m.Config.Digest: true}
			for _, layer := range m.Layers {
				distinct[layer.Digest] = true
			}
			if blobs := w.readBack(repo, tag); len(blobs) != len(distinct)+1 {
				t.Errorf("%s: pulled %v", tag, blobs)
			}
		}
		w.wantTags(repo, slices.Sorted(maps.Keys(artifacts))...)
	})
}

// withLayers is the manifest with a list of layers, be it empty.
func withLayers(m specs.Manifest) specs.Manifest {
	if m.Layers == nil {
		m.Layers = []specs.Descriptor{}
	}
	return m
}

// TestSignatures signs an image in both ways of cosign, its tags and its referrers, and attaches bills of materials.
func TestSignatures(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, b backends) {
		r := start(t, b, 1)
		w, repo := r.admin(t), "signed/app"
		image := w.pushImage(repo, "one", content(3000))
		subject := image.Digest.String()

		tag := strings.Replace(subject, ":", "-", 1)
		payload := w.describe(repo, "application/vnd.dev.cosign.simplesigning.v1+json", []byte(`{"critical":{}}`))
		payload.Annotations = map[string]string{"dev.cosignproject.cosign/signature": "MEUCIQ=="}
		config := w.describe(repo, specs.MediaTypeImageConfig, []byte(`{"architecture":"","os":""}`))
		for _, suffix := range []string{".sig", ".att", ".sbom"} {
			w.want(http.StatusNotFound, http.MethodGet, "/v2/"+repo+"/manifests/"+tag+suffix, nil)
			w.pushArtifact(repo, tag+suffix, specs.Manifest{Config: config, Layers: []specs.Descriptor{payload}})
			w.readBack(repo, tag+suffix)
		}
		w.wantTags(repo, "one", tag+".att", tag+".sbom", tag+".sig")
		w.wantReferrers(repo, subject, "")

		empty := w.describe(repo, specs.MediaTypeEmptyJSON, []byte("{}"))
		signature, a := w.pushArtifact(repo, "", specs.Manifest{
			ArtifactType: "application/vnd.dev.sigstore.bundle.v0.3+json", Config: empty, Subject: &image,
			Layers:      []specs.Descriptor{w.describe(repo, "application/vnd.dev.sigstore.bundle.v0.3+json", content(2000))},
			Annotations: map[string]string{"dev.sigstore.bundle.content": "dsse-envelope"},
		})
		if a.header.Get("OCI-Subject") != subject {
			t.Errorf("OCI-Subject is %q, want %s", a.header.Get("OCI-Subject"), subject)
		}
		// cosign 2 has no artifactType: that of the config counts.
		byConfig, _ := w.pushArtifact(repo, "", specs.Manifest{
			Config: w.describe(repo, "application/vnd.dev.cosign.artifact.sig.v1+json", []byte(`{"by":"config"}`)), Subject: &image,
			Layers: []specs.Descriptor{payload},
		})
		bill, _ := w.pushArtifact(repo, "", specs.Manifest{
			ArtifactType: "application/spdx+json", Config: empty, Subject: &image,
			Layers: []specs.Descriptor{w.describe(repo, "application/spdx+json", content(700))},
		})
		nested, _ := w.pushArtifact(repo, "", specs.Manifest{
			ArtifactType: "application/vnd.example.signature", Config: empty, Subject: &bill, Layers: []specs.Descriptor{empty},
		})
		all := []string{signature.Digest.String(), byConfig.Digest.String(), bill.Digest.String()}
		w.wantReferrers(repo, subject, "", all...)
		w.wantReferrers(repo, subject, "application/spdx%2Bjson", bill.Digest.String())
		w.wantReferrers(repo, subject, "application/vnd.dev.cosign.artifact.sig.v1%2Bjson", byConfig.Digest.String())
		w.wantReferrers(repo, bill.Digest.String(), "", nested.Digest.String())
		for _, d := range w.referrers(repo, subject, "application/vnd.dev.sigstore.bundle.v0.3%2Bjson") {
			if d.Digest != signature.Digest || d.Size != signature.Size || d.Annotations["dev.sigstore.bundle.content"] != "dsse-envelope" {
				t.Errorf("the descriptor of the signature is %+v, want %+v", d, signature)
			}
		}

		w.want(http.StatusAccepted, http.MethodDelete, "/v2/"+repo+"/manifests/"+bill.Digest.String(), nil)
		w.wantReferrers(repo, subject, "", signature.Digest.String(), byConfig.Digest.String())
	})
}

// TestSignaturesBeforeImages pushes what refers to an image before the image, as copying tools may.
func TestSignaturesBeforeImages(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, b backends) {
		r := start(t, b, 1)
		source, w := r.admin(t), r.nobody(t)
		image := source.pushImage("early-source/app", "one", content(10))
		w = w.bearer(w.token("repository:early/app:pull,push")) // of nobody
		empty := w.describe("early/app", specs.MediaTypeEmptyJSON, []byte("{}"))
		signature, a := w.pushArtifact("early/app", "", specs.Manifest{
			ArtifactType: "application/vnd.example.signature", Config: empty, Subject: &image, Layers: []specs.Descriptor{empty},
		})
		if a.header.Get("OCI-Subject") != image.Digest.String() {
			t.Errorf("OCI-Subject is %q", a.header.Get("OCI-Subject"))
		}
		var raw json.RawMessage = source.want(http.StatusOK, http.MethodGet, "/v2/early-source/app/manifests/one", nil).body
		var m specs.Manifest
		must(t, json.Unmarshal(raw, &m))
		for _, blob := range append(m.Layers, m.Config) {
			w.pushBlob("early/app", source.want(http.StatusOK, http.MethodGet, "/v2/early-source/app/blobs/"+blob.Digest.String(), nil).body)
		}
		w.pushManifest("early/app", "one", m.MediaType, raw)
		source.wantReferrers("early/app", image.Digest.String(), "", signature.Digest.String())
	})
}
