package oci_test

import (
	"bytes"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/berthregistry/berth/internal/oci/ocitest"
)

// TestSpecRedirect: where it is wanted and the store can, a GET of a blob in one object is sent to the store. All else is
// answered here: HEAD, blobs of several objects or none, and every store that has no URLs.
func TestSpecRedirect(t *testing.T) {
	ocitest.Each(t, func(t *testing.T, env *ocitest.Env) {
		c := env.Replica(t, ocitest.Options{ChunkSize: smallChunk, Redirect: true}).Client
		plain := c.At(env.Replica(t, ocitest.Options{ChunkSize: smallChunk}))
		for name, size := range map[string]int{"empty": 0, "one chunk": 1000, "many chunks": 3*smallChunk + 1} {
			content := pattern(size, 4)
			path := blobURL("demo/app", c.Push("demo/app", content))
			if head := c.Want(http.StatusOK, http.MethodHead, path, nil); head.Header.Get("Location") != "" {
				t.Errorf("%s: HEAD is redirected to %s", name, head.Header.Get("Location"))
			}
			if got := plain.Want(http.StatusOK, http.MethodGet, path, nil); !bytes.Equal(got.Body, content) {
				t.Errorf("%s, without redirects: %d bytes", name, len(got.Body))
			}
			a := c.Do(http.MethodGet, path, nil)
			if env.Name == "sqlite+folder" || size != 1000 {
				if a.Status != http.StatusOK || !bytes.Equal(a.Body, content) {
					t.Errorf("%s: %d with %d bytes", name, a.Status, len(a.Body))
				}
				continue
			}
			headers(t, a, "Docker-Content-Digest", digest.FromBytes(content).String(), "Content-Length", "0", "Cache-Control", "no-store")
			target := a.Header.Get("Location")
			if a.Status != http.StatusTemporaryRedirect || !strings.HasPrefix(target, "http") {
				t.Fatalf("%s: %d to %q", name, a.Status, target)
			}
			if status, got := fetch(t, target, ""); status != http.StatusOK || !bytes.Equal(got, content) {
				t.Errorf("%s: the store answered %d with %d bytes", name, status, len(got))
			}
			if status, got := fetch(t, target, "bytes=10-19"); status != http.StatusPartialContent || !bytes.Equal(got, content[10:20]) {
				t.Errorf("%s: the store answered a range %d with %d bytes", name, status, len(got))
			}
		}
		tag := `"` + digest.FromBytes(pattern(1000, 4)).String() + `"`
		for _, method := range []string{http.MethodGet, http.MethodHead} { // who has it already need not go anywhere
			have := c.Want(http.StatusNotModified, method, blobURL("demo/app", digest.FromBytes(pattern(1000, 4))), nil, "If-None-Match", tag)
			headers(t, have, "Location", "", "Etag", tag)
			c.Want(http.StatusPreconditionFailed, method, blobURL("demo/app", digest.FromBytes(pattern(1000, 4))), nil, "If-Match", `"other"`)
		}
		absent := blobURL("demo/app", digest.FromString("absent"))
		refused(t, c.Do(http.MethodGet, absent, nil), http.StatusNotFound, "BLOB_UNKNOWN")
		there := blobURL("demo/app", digest.FromBytes(pattern(1000, 4)))
		refused(t, c.Nobody().Do(http.MethodGet, there, nil), http.StatusUnauthorized, "UNAUTHORIZED")
		c.Want(http.StatusAccepted, http.MethodDelete, there, nil)
		refused(t, c.Do(http.MethodGet, there, nil), http.StatusNotFound, "BLOB_UNKNOWN")
	})
}

// fetch gets a URL of the store, as a client does that was sent there: without credentials.
func fetch(t testing.TB, target, asked string) (status int, body []byte) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, target, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	if asked != "" {
		req.Header.Set("Range", asked)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	if body, err = io.ReadAll(resp.Body); err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, body
}
