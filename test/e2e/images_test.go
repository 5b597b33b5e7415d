package e2e

import (
	"crypto/rand"
	"os"
	"path/filepath"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/opencontainers/go-digest"
)

// content draws random bytes.
func content(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails, by its documentation
	return b
}

// sizes are those of the layers of a test's image: none, few and many bytes, and more than a chunk.
func (b backends) sizes() []int { return []int{0, 1, 70_000, b.chunk + b.chunk/3} }

// newImage makes an image with random layers of some sizes, on top of a shared one where there is one.
func newImage(t testing.TB, architecture string, shared []byte, sizes ...int) v1.Image {
	t.Helper()
	image := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	config, err := image.ConfigFile()
	must(t, err)
	config = config.DeepCopy()
	config.OS, config.Architecture = "linux", architecture
	image, err = mutate.ConfigFile(image, config)
	must(t, err)
	var layers []v1.Layer
	if shared != nil {
		layers = append(layers, static.NewLayer(shared, types.OCILayer))
	}
	for _, size := range sizes {
		layers = append(layers, static.NewLayer(content(size), types.OCILayer))
	}
	image, err = mutate.AppendLayers(image, layers...)
	must(t, err)
	return image
}

// newIndex makes an image of two architectures that share a layer.
func newIndex(t testing.TB, sizes ...int) v1.ImageIndex {
	t.Helper()
	shared := content(50_000)
	index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for _, architecture := range []string{"amd64", "arm64"} {
		index = mutate.AppendManifests(index, mutate.IndexAddendum{
			Add:        newImage(t, architecture, shared, sizes...),
			Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: architecture}},
		})
	}
	return index
}

// plain is an index whose descriptors have no artifactType. Old versions of skopeo drop what they do not know, and then
// cannot keep digests.
type plain struct {
	anyIndex
	raw []byte
}

type anyIndex = v1.ImageIndex // embedded under its own name, it would hide its method ImageIndex

func newPlain(t testing.TB, index v1.ImageIndex) plain {
	t.Helper()
	manifest, err := index.IndexManifest()
	must(t, err)
	manifest = manifest.DeepCopy()
	for i := range manifest.Manifests {
		manifest.Manifests[i].ArtifactType = ""
	}
	return plain{anyIndex: index, raw: encode(t, manifest)}
}

// RawManifest implements v1.ImageIndex.
func (u plain) RawManifest() ([]byte, error) { return u.raw, nil }

// Digest implements v1.ImageIndex.
func (u plain) Digest() (v1.Hash, error) { return v1.NewHash(digest.FromBytes(u.raw).String()) }

// Size implements v1.ImageIndex.
func (u plain) Size() (int64, error) { return int64(len(u.raw)), nil }

// newLayout writes an image or an index to a new OCI layout, under the name "latest".
func newLayout(t testing.TB, image mutate.Appendable) string {
	t.Helper()
	dir := t.TempDir()
	at, err := layout.Write(dir, empty.Index)
	must(t, err)
	name := layout.WithAnnotations(map[string]string{"org.opencontainers.image.ref.name": "latest"})
	switch image := image.(type) {
	case v1.ImageIndex:
		must(t, at.AppendIndex(image, name))
	case v1.Image:
		must(t, at.AppendImage(image, name))
	default:
		t.Fatalf("%T is no image", image)
	}
	return dir
}

// digestOf is the digest of an image's or an index's manifest.
func digestOf(t testing.TB, image interface{ Digest() (v1.Hash, error) }) string {
	t.Helper()
	d, err := image.Digest()
	must(t, err)
	return d.String()
}

// blobsOf gives the size of every blob of an OCI layout by its digest, which its content must have.
func blobsOf(t testing.TB, dir string) map[string]int64 {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "blobs", "sha256", "*"))
	must(t, err)
	blobs := map[string]int64{}
	for _, file := range files {
		blob, err := os.ReadFile(file)
		must(t, err)
		d := digest.FromBytes(blob)
		if filepath.Base(file) != d.Encoded() {
			t.Errorf("the content of %s has the digest %s", file, d)
		}
		blobs[d.String()] = int64(len(blob))
	}
	return blobs
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
