package e2e

import (
	"bytes"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	specs "github.com/opencontainers/image-spec/specs-go/v1"
)

const (
	dockerManifest     = "application/vnd.docker.distribution.manifest.v2+json"
	dockerManifestList = "application/vnd.docker.distribution.manifest.list.v2+json"
	dockerConfig       = "application/vnd.docker.container.image.v1+json"
	dockerLayer        = "application/vnd.docker.image.rootfs.diff.tar.gzip"
	dockerForeignLayer = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
)

// dockerLogin is what the Docker engine does before a push: it pings, follows the challenge and asks for a token.
func dockerLogin(w wire, token, repo string) wire {
	w.t.Helper()
	c := w.want(http.StatusUnauthorized, http.MethodGet, "/v2/", nil).challenge(w.t)
	if c["scope"] != "" {
		w.t.Errorf("the challenge of /v2/ names the scope %q", c["scope"])
	}
	parameters := url.Values{"service": {c["service"]}, "scope": {"repository:" + repo + ":pull,push"}}
	asking := w
	if token != "" {
		parameters.Set("account", "any")
		parameters.Set("client_id", "docker")
		parameters.Set("offline_token", "true")
		asking = w.basic(token)
	}
	return w.bearer(tokenOf(w.t, asking.want(http.StatusOK, http.MethodGet, c["realm"]+"?"+parameters.Encode(), nil)))
}

// dockerPush pushes a blob as the Docker engine does: the digest is known only when everything was sent, in one PATCH
// of unknown length.
func dockerPush(w wire, repo string, blob []byte) specs.Descriptor {
	w.t.Helper()
	d := digest.FromBytes(blob)
	w.want(http.StatusNotFound, http.MethodHead, "/v2/"+repo+"/blobs/"+d.String(), nil)
	begun := w.want(http.StatusAccepted, http.MethodPost, "/v2/"+repo+"/blobs/uploads/", nil)
	if begun.header.Get("Docker-Upload-Uuid") == "" || begun.header.Get("Range") == "" {
		w.t.Errorf("POST: %v", begun.header)
	}
	sent := w.wantUnsized(http.StatusAccepted, http.MethodPatch, begun.location(), blob)
	if want := "0-" + strconv.Itoa(max(0, len(blob)-1)); sent.header.Get("Range") != want {
		w.t.Errorf("PATCH of %d bytes: Range %q, want %q", len(blob), sent.header.Get("Range"), want)
	}
	w.want(http.StatusCreated, http.MethodPut, query(sent.location(), "digest", d.String()), nil)
	head := w.want(http.StatusOK, http.MethodHead, "/v2/"+repo+"/blobs/"+d.String(), nil)
	if head.header.Get("Content-Length") != strconv.Itoa(len(blob)) {
		w.t.Errorf("HEAD of %d bytes: %v", len(blob), head.header)
	}
	return specs.Descriptor{MediaType: dockerLayer, Digest: d, Size: int64(len(blob))}
}

// dockerImage pushes an image with the media types of Docker.
func dockerImage(w wire, repo, reference string, b backends) specs.Descriptor {
	w.t.Helper()
	config := dockerPush(w, repo, encode(w.t, map[string]any{"os": "linux", "id": content(8)}))
	config.MediaType = dockerConfig
	m := specs.Manifest{MediaType: dockerManifest, Config: config}
	m.SchemaVersion = 2
	for _, size := range b.sizes() {
		if size > 1 { // other images have the shorter ones too
			m.Layers = append(m.Layers, dockerPush(w, repo, content(size)))
		}
	}
	m.Layers = append(m.Layers, specs.Descriptor{
		MediaType: dockerForeignLayer, Digest: digest.FromBytes(content(10)), Size: 10, URLs: []string{"https://example.com/layer"},
	})
	body := encode(w.t, m)
	d := specs.Descriptor{MediaType: dockerManifest, Digest: digest.FromBytes(body), Size: int64(len(body))}
	if reference == "" {
		reference = d.Digest.String()
	}
	a := w.pushManifest(repo, reference, dockerManifest, body)
	if a.header.Get("Docker-Content-Digest") != d.Digest.String() {
		w.t.Errorf("manifest PUT: %v", a.header)
	}
	return d
}

func TestDocker(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, b backends) {
		r := start(t, b, 1)
		for who, token := range map[string]string{"docker-admin": adminToken, "docker-nobody": ""} {
			repo := who + "/app"
			w := dockerLogin(r.nobody(t), token, repo)
			dockerPush(w, repo, nil)
			dockerPush(w, repo, content(1))
			var list specs.Index
			list.SchemaVersion, list.MediaType = 2, dockerManifestList
			for _, architecture := range []string{"amd64", "arm64"} {
				d := dockerImage(w, repo, "", b)
				d.Platform = &specs.Platform{OS: "linux", Architecture: architecture}
				list.Manifests = append(list.Manifests, d)
			}
			w.pushManifest(repo, "many", dockerManifestList, encode(t, list))
			dockerImage(w, repo, "one", b)
			if blobs := r.admin(t).readBack(repo, "many"); len(blobs) != 1+2*(1+1+len(b.sizes())-2) {
				t.Errorf("pulled %v", blobs)
			}
			r.admin(t).wantTags(repo, "many", "one")
			dockerPull(r.admin(t), repo, "many")
		}
	})
}

// dockerPull is a pull that breaks off and goes on in the middle of a layer.
func dockerPull(w wire, repo, tag string) {
	w.t.Helper()
	head := w.want(http.StatusOK, http.MethodHead, "/v2/"+repo+"/manifests/"+tag, nil, "Accept", dockerManifestList, "Accept", dockerManifest)
	if head.header.Get("Content-Type") != dockerManifestList {
		w.t.Errorf("HEAD of %s: %v", tag, head.header)
	}
	for d, size := range w.readBack(repo, head.header.Get("Docker-Content-Digest")) {
		if size < 1000_000 {
			continue
		}
		at := size - 1000
		a := w.want(http.StatusPartialContent, http.MethodGet, "/v2/"+repo+"/blobs/"+d, nil, "Range", "bytes="+strconv.FormatInt(at, 10)+"-")
		whole := w.want(http.StatusOK, http.MethodGet, "/v2/"+repo+"/blobs/"+d, nil)
		if !bytes.Equal(a.body, whole.body[at:]) {
			w.t.Errorf("the rest of %s differs", d)
		}
	}
}

// TestDockerMounts mounts layers of another repository with one token for both, and hears what it lacks without it.
func TestDockerMounts(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, b backends) {
		r := start(t, b, 1)
		const from, to = "mount-from/app", "mount-to/app"
		blob := content(b.chunk + 3)
		d := r.admin(t).pushBlob(from, blob).String()
		path := "/v2/" + to + "/blobs/uploads/?" + url.Values{"mount": {d}, "from": {from}}.Encode()

		asked := r.nobody(t).want(http.StatusUnauthorized, http.MethodPost, path, nil).challenge(t)["scope"]
		for _, scope := range []string{"repository:" + to + ":pull,push", "repository:" + from + ":pull"} {
			if !strings.Contains(asked, scope) {
				t.Errorf("the challenge names %q, want %q in it", asked, scope)
			}
		}
		narrow := r.nobody(t).bearer(r.admin(t).token("repository:" + to + ":pull,push"))
		c := narrow.want(http.StatusUnauthorized, http.MethodPost, path, nil).challenge(t)
		if c["error"] != "insufficient_scope" || !strings.Contains(c["scope"], "repository:"+from+":pull") {
			t.Errorf("the challenge of a token without the source: %v", c)
		}
		both := r.nobody(t).bearer(r.admin(t).token("repository:"+to+":pull,push", "repository:"+from+":pull"))
		a := both.want(http.StatusCreated, http.MethodPost, path, nil)
		if a.location() != "/v2/"+to+"/blobs/"+d || a.header.Get("Docker-Content-Digest") != d {
			t.Errorf("the mount's answer: %v", a.header)
		}
		both.readBlob(to, specs.Descriptor{Digest: digest.Digest(d), Size: int64(len(blob))})

		// What cannot be mounted is an upload, which podman cancels and docker uses.
		missing := digest.FromBytes(content(10)).String()
		other := "/v2/" + to + "/blobs/uploads/?" + url.Values{"mount": {missing}, "from": {from}}.Encode()
		cancelled := both.want(http.StatusAccepted, http.MethodPost, other, nil).location()
		both.want(http.StatusNoContent, http.MethodDelete, cancelled, nil)
		both.want(http.StatusNotFound, http.MethodGet, cancelled, nil)
		used := both.want(http.StatusAccepted, http.MethodPost, other, nil).location()
		late := content(1234)
		both.want(http.StatusCreated, http.MethodPut, query(used, "digest", digest.FromBytes(late).String()), late)
	})
}

// TestDockerAbandonsUploads lets a push without an account end before its layers are complete, and sends them again.
func TestDockerAbandonsUploads(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, b backends) {
		r := startBehindProxy(t, b, 1)
		w := dockerLogin(r.nobody(t), "", "abandoned/app")
		blob := content(2*b.chunk + 9)
		r.proxy.fail(fault{method: http.MethodPatch, after: int64(b.chunk + 7)})
		begun := w.begin("abandoned/app")
		if a, err := w.send(http.MethodPatch, begun, struct{ io.Reader }{bytes.NewReader(blob)}, -1); err == nil {
			t.Errorf("a connection that was cut answered %d", a.status)
		}
		dockerPush(w, "abandoned/app", blob) // the engine begins again with a session of its own
		w.want(http.StatusNoContent, http.MethodDelete, begun, nil)
	})
}
