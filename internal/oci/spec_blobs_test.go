package oci_test

import (
	"bytes"
	"net/http"
	"strconv"
	"testing"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/berthregistry/berth/internal/oci/ocitest"
)

// smallChunk makes blobs of some hundred kilobytes many chunks.
const smallChunk = 64 << 10

// TestSpecEnd2 is the section "Pulling blobs" and that of checking whether a blob exists, for blobs of no chunk, of
// one, and of many.
func TestSpecEnd2(t *testing.T) {
	ocitest.Each(t, func(t *testing.T, env *ocitest.Env) {
		c := env.Replica(t, ocitest.Options{ChunkSize: smallChunk}).Client
		for name, size := range map[string]int{
			"empty": 0, "one byte": 1, "one chunk": smallChunk, "a chunk and a byte": smallChunk + 1, "many chunks": 9*smallChunk + 12345,
		} {
			content := pattern(size, 7)
			d := c.Push("demo/app", content)
			got := c.Want(http.StatusOK, http.MethodGet, blobURL("demo/app", d), nil)
			if !bytes.Equal(got.Body, content) {
				t.Errorf("%s: %d bytes came back as %d others", name, size, len(got.Body))
			}
			head := c.Want(http.StatusOK, http.MethodHead, blobURL("demo/app", d), nil)
			for _, a := range []ocitest.Answer{got, head} {
				headers(t, a, "Content-Length", strconv.Itoa(size), "Docker-Content-Digest", d.String(), "Accept-Ranges", "bytes",
					"Content-Type", "application/octet-stream", "Etag", `"`+d.String()+`"`, "X-Content-Type-Options", "nosniff")
			}
		}
		chunks := count(t, env, `SELECT count(*) FROM chunks c JOIN blobs b ON b.id = c.owner_id WHERE b.size > ?`, 9*smallChunk)
		if chunks < 5 {
			t.Errorf("the large blob has %d chunks", chunks)
		}
	})
}

// TestSpecEnd2Failures: a blob is unknown wherever the repository does not show it.
func TestSpecEnd2Failures(t *testing.T) {
	ocitest.Each(t, func(t *testing.T, env *ocitest.Env) {
		c := env.Replica(t, ocitest.Options{}).Client
		d := c.Push("demo/app", []byte("here"))
		sha512 := digest.SHA512.FromString("here").String()
		for path, want := range map[string]struct {
			status int
			code   string
		}{
			blobURL("demo/app", digest.FromString("absent")): {http.StatusNotFound, "BLOB_UNKNOWN"},
			blobURL("demo/other", d):                         {http.StatusNotFound, "BLOB_UNKNOWN"},
			blobURL("demo", d):                               {http.StatusNotFound, "BLOB_UNKNOWN"},
			"/v2/demo/app/blobs/" + sha512:                   {http.StatusNotFound, "BLOB_UNKNOWN"},
			"/v2/demo/app/blobs/sha256:0":                    {http.StatusBadRequest, "DIGEST_INVALID"},
			"/v2/demo/app/blobs/latest":                      {http.StatusBadRequest, "DIGEST_INVALID"},
			"/v2/demo/App/blobs/" + d.String():               {http.StatusBadRequest, "NAME_INVALID"},
		} {
			for _, method := range []string{http.MethodGet, http.MethodDelete} {
				refused(t, c.Do(method, path, nil), want.status, want.code)
			}
		}
		refused(t, c.Do(http.MethodGet, blobURL("nothing/app", d), nil), http.StatusNotFound, "NAME_UNKNOWN")
		refused(t, c.Do(http.MethodDelete, blobURL("nothing/app", d), nil), http.StatusNotFound, "NAME_UNKNOWN")
	})
}

// TestSpecEnd2SHA512: a blob is found under the digest that it was pushed with.
func TestSpecEnd2SHA512(t *testing.T) {
	ocitest.Each(t, func(t *testing.T, env *ocitest.Env) {
		c := env.Replica(t, ocitest.Options{}).Client
		content := pattern(100_000, 3)
		d := digest.SHA512.FromBytes(content)
		a := c.Want(http.StatusCreated, http.MethodPost, "/v2/demo/app/blobs/uploads/?digest="+d.String(), content)
		headers(t, a, "Location", blobURL("demo/app", d), "Docker-Content-Digest", d.String())
		got := c.Want(http.StatusOK, http.MethodGet, a.Header.Get("Location"), nil)
		if !bytes.Equal(got.Body, content) || got.Header.Get("Docker-Content-Digest") != d.String() {
			t.Errorf("%d bytes, %v", len(got.Body), got.Header)
		}
		refused(t, c.Do(http.MethodGet, blobURL("demo/app", digest.FromBytes(content)), nil), http.StatusNotFound, "BLOB_UNKNOWN")
	})
}

// TestSpecEnd10 is the section "Deleting Blobs": gone at once on every replica, and back after another push.
func TestSpecEnd10(t *testing.T) {
	ocitest.Each(t, func(t *testing.T, env *ocitest.Env) {
		c := env.Replica(t, ocitest.Options{}).Client
		other := c.At(env.Replica(t, ocitest.Options{}))
		content := []byte("to be deleted")
		d := c.Push("demo/app", content)
		c.Push("demo/second", content)
		path := blobURL("demo/app", d)
		for range 2 {
			for _, reader := range []*ocitest.Client{c, other} {
				reader.Want(http.StatusOK, http.MethodGet, path, nil)
			}
			headers(t, c.Want(http.StatusAccepted, http.MethodDelete, path, nil), "Content-Length", "0")
			for _, reader := range []*ocitest.Client{other, c} {
				reader.Want(http.StatusNotFound, http.MethodHead, path, nil)
				refused(t, reader.Do(http.MethodGet, path, nil), http.StatusNotFound, "BLOB_UNKNOWN")
				refused(t, reader.Do(http.MethodDelete, path, nil), http.StatusNotFound, "BLOB_UNKNOWN")
				reader.Want(http.StatusOK, http.MethodHead, blobURL("demo/second", d), nil)
			}
			if got := c.Push("demo/app", content); got != d {
				t.Fatal(got)
			}
		}
		c.Want(http.StatusAccepted, http.MethodDelete, path, nil)
		mount := c.Do(http.MethodPost, "/v2/demo/app/blobs/uploads/?mount="+d.String()+"&from=demo/second", nil)
		if mount.Status != http.StatusCreated || other.Do(http.MethodHead, path, nil).Status != http.StatusOK {
			t.Errorf("a mount of what was deleted: %d %s", mount.Status, mount.Body)
		}
	})
}

// TestSpecEnd10InUse: what a live manifest of the repository needs cannot be deleted, and can afterwards.
func TestSpecEnd10InUse(t *testing.T) {
	ocitest.Each(t, func(t *testing.T, env *ocitest.Env) {
		c := env.Replica(t, ocitest.Options{}).Client
		config, layer, empty := []byte(`{"in":"use"}`), []byte("a layer"), []byte{}
		for _, blob := range [][]byte{config, layer, empty} {
			c.Push("demo/app", blob)
			c.Push("demo/elsewhere", blob)
		}
		first := image(config, layer, empty)
		second := first.with("annotations", map[string]string{"number": "two"})
		one := c.PutManifest("demo/app", "v1", v1.MediaTypeImageManifest, first.bytes(t))
		two := c.PutManifest("demo/app", "v1", v1.MediaTypeImageManifest, second.bytes(t))
		for i, step := range []string{"two manifests", "one", "none"} {
			for _, blob := range [][]byte{config, layer, empty} {
				path := blobURL("demo/app", digest.FromBytes(blob))
				a := c.Do(http.MethodDelete, path, nil)
				if i == 2 {
					if a.Status != http.StatusAccepted || c.Do(http.MethodHead, path, nil).Status != http.StatusNotFound {
						t.Errorf("%s: %d %s", step, a.Status, a.Body)
					}
					continue
				}
				refused(t, a, http.StatusMethodNotAllowed, "UNSUPPORTED")
				headers(t, a, "Allow", "GET, HEAD")
				c.Want(http.StatusOK, http.MethodGet, path, nil)
			}
			if i < 2 {
				c.Want(http.StatusAccepted, http.MethodDelete, manifestURL("demo/app", []digest.Digest{one, two}[i].String()), nil)
			}
		}
		c.Want(http.StatusAccepted, http.MethodDelete, blobURL("demo/elsewhere", digest.FromBytes(layer)), nil)
		refused(t, c.Do(http.MethodPut, manifestURL("demo/app", "v1"), first.bytes(t), "Content-Type", v1.MediaTypeImageManifest),
			http.StatusBadRequest, "MANIFEST_BLOB_UNKNOWN")
	})
}
