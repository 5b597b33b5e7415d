package e2e

import (
	"encoding/json"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	specs "github.com/opencontainers/image-spec/specs-go/v1"
)

func (r *registry) regctl(t *testing.T, token string) program {
	t.Helper()
	return r.program(t, "regctl", token)
}

// TestRegctl pushes the layers of an image in chunks, with an artifact that refers to it and one under a tag that is
// derived from its digest, and copies all of them.
func TestRegctl(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, b backends) {
		r := start(t, b, 1)
		regctl, admin := r.regctl(t, adminToken), r.admin(t)
		index := newIndex(t, b.sizes()...)
		layout, subject := newLayout(t, index), digestOf(t, index)
		app, copied := r.host+"/regctl/app", r.host+"/regctl-copy/app"

		regctl.run("image", "copy", "ocidir://"+layout+":latest", app+":one")
		same(t, blobsOf(t, layout), admin.readBack("regctl/app", "one"))

		regctl.feed([]byte("bill of materials"), "artifact", "put", "--artifact-type=application/spdx+json", "--subject="+app+":one")
		regctl.feed([]byte("signature"), "artifact", "put", "--artifact-type=application/vnd.example.signature", "--subject="+app+":one")
		tagged := strings.Replace(subject, ":", "-", 1) + ".sig"
		regctl.feed([]byte("older signature"), "artifact", "put", app+":"+tagged)
		if len(admin.referrers("regctl/app", subject, "")) != 2 {
			t.Fatalf("referrers: %v", admin.referrers("regctl/app", subject, ""))
		}
		var listed specs.Index
		out := regctl.run("artifact", "list", app+":one", "--filter-artifact-type=application/spdx+json", "--format={{jsonPretty .}}")
		must(t, json.Unmarshal([]byte(out), &struct {
			Descriptors *[]specs.Descriptor `json:"descriptors"`
		}{&listed.Manifests}))
		if len(listed.Manifests) != 1 || listed.Manifests[0].ArtifactType != "application/spdx+json" {
			t.Errorf("regctl artifact list: %s", out)
		}

		regctl.run("image", "copy", "--referrers", "--digest-tags", app+":one", copied+":two")
		same(t, blobsOf(t, layout), admin.readBack("regctl-copy/app", "two"))
		var referrers []string
		for _, d := range admin.referrers("regctl/app", subject, "") {
			referrers = append(referrers, d.Digest.String())
			same(t, admin.readBack("regctl/app", d.Digest.String()), admin.readBack("regctl-copy/app", d.Digest.String()))
		}
		admin.wantReferrers("regctl-copy/app", subject, "", referrers...)
		wantLines(t, regctl.run("tag", "ls", copied), tagged, "two")

		pulled := filepath.Join(t.TempDir(), "pulled")
		regctl.run("image", "copy", copied+":two", "ocidir://"+pulled+":latest")
		same(t, blobsOf(t, layout), blobsOf(t, pulled))
		wantLines(t, regctl.run("repo", "ls", r.host), "regctl-copy/app", "regctl/app") // it sorts by itself

		regctl.run("tag", "rm", copied+":two")
		wantLines(t, regctl.run("tag", "ls", copied), tagged)
		same(t, blobsOf(t, layout), admin.readBack("regctl-copy/app", subject))
	})
}

func TestRegctlBlobsAndManifests(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, b backends) {
		r := start(t, b, 1)
		regctl, admin := r.regctl(t, adminToken), r.admin(t)
		repo := r.host + "/parts/app"
		m := specs.Manifest{Config: specs.DescriptorEmptyJSON, Layers: []specs.Descriptor{}, ArtifactType: "application/vnd.example"}
		regctl.feed([]byte("{}"), "blob", "put", repo)
		for _, size := range b.sizes() {
			blob := content(size)
			d := digest.FromBytes(blob).String()
			if got := regctl.feed(blob, "blob", "put", repo); got != d {
				t.Errorf("regctl blob put: %s, want %s", got, d)
			}
			if got, _, err := regctl.try(nil, "blob", "get", repo, d); err != nil || got != strings.TrimSpace(string(blob)) {
				t.Errorf("regctl blob get of %d bytes: %d bytes, %v", size, len(got), err)
			}
			if head := regctl.run("blob", "head", repo, d); !strings.Contains(head, "Content-Length") {
				t.Errorf("regctl blob head: %s", head)
			}
			m.Layers = append(m.Layers, specs.Descriptor{MediaType: "application/vnd.example.part", Digest: digest.Digest(d), Size: int64(size)})
		}
		m.SchemaVersion, m.MediaType = 2, specs.MediaTypeImageManifest
		manifest := encode(t, m)
		d := digest.FromBytes(manifest).String()
		regctl.feed(manifest, "manifest", "put", "--content-type="+m.MediaType, repo+":one")
		regctl.feed(manifest, "manifest", "put", "--content-type="+m.MediaType, repo+"@"+d)
		if head := regctl.run("manifest", "head", repo+":one"); head != d {
			t.Errorf("regctl manifest head: %s, want %s", head, d)
		}
		if got := regctl.run("manifest", "get", "--format=raw-body", repo+":one"); got != string(manifest) {
			t.Errorf("regctl manifest get: %s, want %s", got, manifest)
		}
		if blobs := admin.readBack("parts/app", "one"); len(blobs) != len(b.sizes())+2 {
			t.Errorf("pulled %v", blobs)
		}
		regctl.run("manifest", "delete", repo+"@"+d)
		regctl.refused("not found", "manifest", "head", repo+":one")
		wantLines(t, regctl.run("tag", "ls", repo))
		regctl.run("blob", "delete", repo, m.Layers[1].Digest.String())
		regctl.refused("not found", "blob", "head", repo, m.Layers[1].Digest.String())
	})
}

// TestRegctlGoesOnAfterFaults breaks chunks of a layer off, which regctl then goes on with where the registry says. The
// first chunk arrives: regctl takes the Range of an empty session, 0-0, for that of one byte.
func TestRegctlGoesOnAfterFaults(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, b backends) {
		r := startBehindProxy(t, b, 1)
		blob := content(3*b.chunk + 1000)
		r.proxy.fail(
			fault{method: http.MethodPatch, skip: 1, after: 100_000, status: http.StatusServiceUnavailable},
			fault{method: http.MethodPatch, after: 50_000},
		)
		got := r.regctl(t, adminToken).feed(blob, "blob", "put", r.host+"/faults/app")
		if d := digest.FromBytes(blob); got != d.String() || r.proxy.left() != 0 {
			t.Errorf("regctl blob put: %s, want %s; %d faults never happened", got, d, r.proxy.left())
		}
		r.admin(t).readBlob("faults/app", specs.Descriptor{Digest: digest.FromBytes(blob), Size: int64(len(blob))})
	})
}

// TestRegctlWithoutAnAccount is the push of a client that asks more than others do before it sends anything.
func TestRegctlWithoutAnAccount(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, b backends) {
		r := start(t, b, 1)
		layout := newLayout(t, newIndex(t, b.sizes()...))
		regctl := r.regctl(t, "")
		regctl.run("image", "copy", "ocidir://"+layout+":latest", r.host+"/nobodys-regctl/app:one")
		same(t, blobsOf(t, layout), r.admin(t).readBack("nobodys-regctl/app", "one"))
		regctl.refused("unauthorized", "image", "copy", r.host+"/nobodys-regctl/app:one", "ocidir://"+t.TempDir()+":latest")
	})
}

// readAll reads and closes.
func readAll(t testing.TB, r io.ReadCloser) []byte {
	t.Helper()
	body, err := io.ReadAll(r)
	must(t, err)
	must(t, r.Close())
	return body
}
