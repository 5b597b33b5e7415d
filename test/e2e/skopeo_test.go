package e2e

import (
	"encoding/json"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

func (r *registry) skopeo(t *testing.T, token string) program {
	t.Helper()
	return r.program(t, "skopeo", token, "--insecure-policy")
}

// copy copies between anything and the registry.
func (p program) copy(from, to string, flags ...string) {
	p.t.Helper()
	p.run(append([]string{"copy", "--src-tls-verify=false", "--dest-tls-verify=false", from, to}, flags...)...)
}

func TestSkopeo(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, b backends) {
		r := start(t, b, 1)
		skopeo, admin := r.skopeo(t, adminToken), r.admin(t)
		image := newImage(t, "amd64", nil, b.sizes()...)
		pushed := newLayout(t, image)
		want := digestOf(t, image)

		skopeo.copy("oci:"+pushed+":latest", "docker://"+r.host+"/skopeo/app:one", "--preserve-digests")
		blobs := admin.readBack("skopeo/app", "one")
		if _, ok := blobs[want]; !ok {
			t.Errorf("the digest of the manifest was not kept: %v", blobs)
		}
		skopeo.copy("docker://"+r.host+"/skopeo/app:one", "docker://"+r.host+"/skopeo/deep/er/app:two", "--preserve-digests")
		same(t, blobs, admin.readBack("skopeo/deep/er/app", "two"))

		pulled := filepath.Join(t.TempDir(), "pulled")
		skopeo.copy("docker://"+r.host+"/skopeo/deep/er/app@"+want, "oci:"+pulled+":latest", "--preserve-digests")
		same(t, blobsOf(t, pushed), blobsOf(t, pulled))

		var inspected struct {
			Digest   string
			RepoTags []string
			Layers   []string
		}
		must(t, json.Unmarshal([]byte(skopeo.run("inspect", "--tls-verify=false", "docker://"+r.host+"/skopeo/app:one")), &inspected))
		if inspected.Digest != want || !slices.Equal(inspected.RepoTags, []string{"one"}) || len(inspected.Layers) != len(b.sizes()) {
			t.Errorf("skopeo inspect: %+v", inspected)
		}
		skopeo.copy("docker://"+r.host+"/skopeo/app:one", "docker://"+r.host+"/skopeo/app:another")
		wantSkopeoTags(t, skopeo, r.host+"/skopeo/app", "another", "one")

		skopeo.run("delete", "--tls-verify=false", "docker://"+r.host+"/skopeo/app:one")
		skopeo.refused("manifest unknown", "inspect", "--tls-verify=false", "docker://"+r.host+"/skopeo/app:one")
		wantSkopeoTags(t, skopeo, r.host+"/skopeo/app") // it deletes the manifest, and both tags with it
		same(t, blobs, admin.readBack("skopeo/deep/er/app", want))
	})
}

func wantSkopeoTags(t *testing.T, skopeo program, repo string, tags ...string) {
	t.Helper()
	var listed struct{ Tags []string }
	must(t, json.Unmarshal([]byte(skopeo.run("list-tags", "--tls-verify=false", "docker://"+repo)), &listed))
	if diff := cmp.Diff(append([]string{}, tags...), append([]string{}, listed.Tags...)); diff != "" {
		t.Errorf("skopeo list-tags: -want +got\n%s", diff)
	}
}

func TestSkopeoCopiesAllArchitectures(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, b backends) {
		r := start(t, b, 1)
		skopeo := r.skopeo(t, adminToken)
		index := newPlain(t, newIndex(t, b.sizes()...))
		pushed := newLayout(t, index)

		skopeo.copy("oci:"+pushed+":latest", "docker://"+r.host+"/skopeo/many:latest", "--all", "--preserve-digests")
		same(t, blobsOf(t, pushed), r.admin(t).readBack("skopeo/many", digestOf(t, index)))
		skopeo.copy("docker://"+r.host+"/skopeo/many:latest", "docker://"+r.host+"/other/many:latest", "--all", "--preserve-digests")
		pulled := filepath.Join(t.TempDir(), "pulled")
		skopeo.copy("docker://"+r.host+"/other/many:latest", "oci:"+pulled+":latest", "--all", "--preserve-digests")
		same(t, blobsOf(t, pushed), blobsOf(t, pulled))

		one := filepath.Join(t.TempDir(), "one")
		skopeo.run("--override-arch=arm64", "copy", "--src-tls-verify=false", "docker://"+r.host+"/other/many:latest", "oci:"+one+":latest")
		if blobs := blobsOf(t, one); len(blobs) >= len(blobsOf(t, pulled)) {
			t.Errorf("one architecture has %d blobs, both together no more", len(blobs))
		}
	})
}

// TestSkopeoCompresses pushes what `docker save` writes, whose layers skopeo compresses while it sends them: it knows
// neither their digests nor their sizes beforehand.
func TestSkopeoCompresses(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, b backends) {
		r := start(t, b, 1)
		image, err := random.Image(int64(b.chunk+b.chunk/2), 2)
		must(t, err)
		archive := filepath.Join(t.TempDir(), "image.tar")
		must(t, tarball.WriteToFile(archive, name.MustParseReference("app:latest"), image))
		config, err := image.ConfigName()
		must(t, err)

		for who, skopeo := range map[string]program{"admin": r.skopeo(t, adminToken), "nobody": r.skopeo(t, "")} {
			repo := "saved-by-" + who + "/app"
			skopeo.copy("docker-archive:"+archive, "docker://"+r.host+"/"+repo+":latest")
			blobs := r.admin(t).readBack(repo, "latest")
			if _, ok := blobs[config.String()]; !ok || len(blobs) != 4 {
				t.Errorf("%s: got %v, want the config %s, two layers and a manifest", who, blobs, config)
			}
		}
		pulled := filepath.Join(t.TempDir(), "pulled")
		r.skopeo(t, adminToken).copy("docker://"+r.host+"/saved-by-nobody/app:latest", "dir:"+pulled)
		files, err := filepath.Glob(filepath.Join(pulled, "*"))
		must(t, err)
		if len(files) != 5 { // and the version of the format
			t.Errorf("pulled %v", files)
		}
		r.skopeo(t, "").refused("the token does not allow this", "copy", "--src-tls-verify=false", "docker://"+r.host+"/saved-by-nobody/app:latest", "dir:"+t.TempDir())
	})
}
