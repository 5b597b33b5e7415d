package e2e

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	specs "github.com/opencontainers/image-spec/specs-go/v1"
)

func (r *registry) crane(t *testing.T, token string) program {
	t.Helper()
	return r.program(t, "crane", token)
}

func TestCrane(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, b backends) {
		r := start(t, b, 1)
		crane, admin := r.crane(t, adminToken), r.admin(t)
		image := newImage(t, "amd64", nil, b.sizes()...)
		layout, want := newLayout(t, image), digestOf(t, image)

		crane.run("push", layout, r.host+"/crane/app:one")
		same(t, blobsOf(t, layout), admin.readBack("crane/app", "one"))
		crane.run("copy", r.host+"/crane/app:one", r.host+"/crane-copy/app:two")
		same(t, blobsOf(t, layout), admin.readBack("crane-copy/app", "two"))
		if got := crane.run("digest", r.host+"/crane-copy/app:two"); got != want {
			t.Errorf("crane digest: %s, want %s", got, want)
		}
		var manifest specs.Manifest
		must(t, json.Unmarshal([]byte(crane.run("manifest", r.host+"/crane/app@"+want)), &manifest))
		if len(manifest.Layers) != len(b.sizes()) {
			t.Errorf("crane manifest: %d layers, want %d", len(manifest.Layers), len(b.sizes()))
		}
		pulled := filepath.Join(t.TempDir(), "pulled")
		crane.run("pull", "--format=oci", r.host+"/crane-copy/app:two", pulled)
		same(t, blobsOf(t, layout), blobsOf(t, pulled))

		crane.run("tag", r.host+"/crane/app:one", "three")
		wantLines(t, crane.run("ls", r.host+"/crane/app"), "one", "three")
		wantLines(t, crane.run("catalog", r.host), "crane/app", "crane-copy/app")

		crane.run("delete", r.host+"/crane/app:one")
		wantLines(t, crane.run("ls", r.host+"/crane/app"), "three")
		crane.run("delete", r.host+"/crane/app@"+want)
		crane.refused("MANIFEST_UNKNOWN", "manifest", r.host+"/crane/app:three")
		wantLines(t, crane.run("ls", r.host+"/crane/app"))
		same(t, blobsOf(t, layout), admin.readBack("crane-copy/app", want))
	})
}

func wantLines(t *testing.T, got string, lines ...string) {
	t.Helper()
	if diff := cmp.Diff(lines, strings.Fields(got), cmp.Transformer("nil", func(s []string) string { return strings.Join(s, " ") })); diff != "" {
		t.Errorf("lines: -want +got\n%s", diff)
	}
}

func TestCraneChangesImages(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, b backends) {
		r := start(t, b, 1)
		crane, admin := r.crane(t, adminToken), r.admin(t)
		base, err := random.Image(1000, 2)
		must(t, err)
		archive := filepath.Join(t.TempDir(), "base.tar")
		must(t, tarball.WriteToFile(archive, name.MustParseReference("base:latest"), base))
		crane.run("push", archive, r.host+"/changed/app:base")
		before := admin.readBack("changed/app", "base")

		crane.run("mutate", r.host+"/changed/app:base", "--label=who=tests", "--tag="+r.host+"/changed/app:labelled")
		if config := crane.run("config", r.host+"/changed/app:labelled"); !strings.Contains(config, `"who":"tests"`) {
			t.Errorf("crane mutate: the config is %s", config)
		}
		layer := filepath.Join(t.TempDir(), "layer.tar")
		write(t, layer, uncompressed(t, int64(b.chunk+1)))
		crane.run("append", "--base="+r.host+"/changed/app:base", "--new_layer="+layer, "--new_tag="+r.host+"/changed/app:appended")
		if after := admin.readBack("changed/app", "appended"); len(after) != len(before)+1 {
			t.Errorf("crane append: %v, want a layer more than %v", after, before)
		}
		wantLines(t, crane.run("ls", r.host+"/changed/app"), "appended", "base", "labelled")
		same(t, before, admin.readBack("changed/app", "base"))
	})
}

// uncompressed is a layer with one file.
func uncompressed(t *testing.T, size int64) []byte {
	t.Helper()
	image, err := random.Image(size, 1)
	must(t, err)
	layers, err := image.Layers()
	must(t, err)
	content, err := layers[0].Uncompressed()
	must(t, err)
	file := filepath.Join(t.TempDir(), "layer")
	out, err := os.Create(file)
	must(t, err)
	_, err = out.ReadFrom(content)
	must(t, err)
	must(t, out.Close())
	must(t, content.Close())
	body, err := os.ReadFile(file)
	must(t, err)
	return body
}

func TestCraneIndexes(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, b backends) {
		r := start(t, b, 1)
		crane, admin := r.crane(t, adminToken), r.admin(t)
		index := newIndex(t, b.sizes()...)
		layout := newLayout(t, index)
		crane.run("push", "--index", layout, r.host+"/index/app:many")
		many := admin.readBack("index/app", "many") // crane wraps the index of the layout around it
		for d, size := range blobsOf(t, layout) {
			if many[d] != size {
				t.Errorf("%s has %d bytes, want %d", d, many[d], size)
			}
		}
		crane.run("copy", r.host+"/index/app@"+digestOf(t, index), r.host+"/index/copy:many")
		same(t, blobsOf(t, layout), admin.readBack("index/copy", "many"))
		if platforms := crane.run("manifest", "--platform=linux/arm64", r.host+"/index/copy:many"); strings.Contains(platforms, `"manifests"`) {
			t.Errorf("crane manifest --platform gives an index: %s", platforms)
		}

		crane.run("index", "append", r.host+"/index/copy:many", "--manifest="+r.host+"/index/copy@"+firstChild(t, index), "--tag="+r.host+"/index/copy:more")
		var more specs.Index
		must(t, json.Unmarshal([]byte(crane.run("manifest", r.host+"/index/copy:more")), &more))
		if len(more.Manifests) != 3 {
			t.Errorf("crane index append: %d manifests, want 3", len(more.Manifests))
		}
		crane.run("index", "filter", r.host+"/index/copy:many", "--platform=linux/arm64", "--tag="+r.host+"/index/copy:fewer")
		if fewer := admin.readBack("index/copy", "fewer"); len(fewer) >= len(blobsOf(t, layout)) {
			t.Errorf("crane index filter: %v", fewer)
		}
	})
}

func firstChild(t *testing.T, index interface{ RawManifest() ([]byte, error) }) string {
	t.Helper()
	raw, err := index.RawManifest()
	must(t, err)
	var m specs.Index
	must(t, json.Unmarshal(raw, &m))
	return m.Manifests[0].Digest.String()
}
