package oci_test

import (
	"bytes"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/berthregistry/berth/internal/oci/ocitest"
)

// mount asks for a mount into a repository.
func mount(c *ocitest.Client, repo string, d digest.Digest, from string) ocitest.Answer {
	query := url.Values{"mount": {d.String()}}
	if from != "" {
		query.Set("from", from)
	}
	return c.Do(http.MethodPost, "/v2/"+repo+"/blobs/uploads/?"+query.Encode(), nil)
}

// session checks that an answer opens an upload session, and returns its Location.
func session(t testing.TB, a ocitest.Answer, repo string) string {
	t.Helper()
	location := a.Header.Get("Location")
	if a.Status != http.StatusAccepted || !strings.HasPrefix(location, "/v2/"+repo+"/blobs/uploads/") || len(a.Body) != 0 {
		t.Fatalf("%d %s, Location %q", a.Status, a.Body, location)
	}
	return location
}

// TestSpecEnd11 is the section "Mounting a blob from another repository".
func TestSpecEnd11(t *testing.T) {
	ocitest.Each(t, func(t *testing.T, env *ocitest.Env) {
		c := env.Replica(t, ocitest.Options{ChunkSize: smallChunk}).Client
		for name, content := range map[string][]byte{"empty": {}, "small": []byte("small"), "many-chunks": pattern(3*smallChunk, 2)} {
			d := c.Push("source/app", content)
			for _, to := range []string{"target/" + name, "source/other/" + name, "source/app"} {
				a := mount(c, to, d, "source/app")
				if a.Status != http.StatusCreated || len(a.Body) != 0 {
					t.Fatalf("%s to %s: %d %s", name, to, a.Status, a.Body)
				}
				headers(t, a, "Location", "/v2/"+to+"/blobs/"+d.String(), "Docker-Content-Digest", d.String(), "Content-Length", "0")
				got := c.Want(http.StatusOK, http.MethodGet, a.Header.Get("Location"), nil)
				if !bytes.Equal(got.Body, content) {
					t.Errorf("%s: %d bytes came back", name, len(got.Body))
				}
			}
			if a := mount(c, "source/third", d, ""); a.Status != http.StatusCreated || a.Header.Get("Location") != blobURL("source/third", d) {
				t.Errorf("without from, in the same project: %d %v", a.Status, a.Header)
			}
		}
		sha512 := digest.SHA512.FromString("long")
		c.Want(http.StatusCreated, http.MethodPost, "/v2/source/app/blobs/uploads/?digest="+sha512.String(), []byte("long"))
		if a := mount(c, "target/app", sha512, "source/app"); a.Status != http.StatusCreated {
			t.Errorf("sha512: %d %s", a.Status, a.Body)
		}
	})
}

// TestSpecEnd11NotMounted: what cannot be mounted is answered with a session that takes the upload.
func TestSpecEnd11NotMounted(t *testing.T) {
	ocitest.Each(t, func(t *testing.T, env *ocitest.Env) {
		c := env.Replica(t, ocitest.Options{}).Client
		content := []byte("not to be mounted")
		d := c.Push("source/app", content)
		hidden := c.Push("source/gone", []byte("hidden"))
		c.Want(http.StatusAccepted, http.MethodDelete, blobURL("source/gone", hidden), nil)
		for name, a := range map[string]ocitest.Answer{
			"absent digest":           mount(c, "target/app", digest.FromString("absent"), "source/app"),
			"deleted at the source":   mount(c, "target/app", hidden, "source/gone"),
			"another repository":      mount(c, "target/app", d, "source/other"),
			"absent project":          mount(c, "target/app", d, "nothing/app"),
			"a name that cannot be":   mount(c, "target/app", d, "Source/../app"),
			"beyond the same project": mount(c, "target/app", d, ""),
			"from what is no project": mount(c, "target/app", d, someSession+"/app"),
			"deleted everywhere":      mount(c, "source/app", hidden, ""),
		} {
			repo := "target/app"
			if name == "deleted everywhere" {
				repo = "source/app"
			}
			location := session(t, a, repo)
			c.Want(http.StatusNoContent, http.MethodDelete, location, nil)
			refused(t, c.Do(http.MethodGet, blobURL("target/app", d), nil), http.StatusNotFound, "BLOB_UNKNOWN")
		}
		location := session(t, mount(c, "target/app", d, "source/other"), "target/app")
		a := c.Want(http.StatusCreated, http.MethodPut, ocitest.Query(location, "digest", d.String()), content)
		headers(t, a, "Location", blobURL("target/app", d))
		c.Want(http.StatusOK, http.MethodGet, blobURL("target/app", d), nil)
		refused(t, c.Do(http.MethodPost, "/v2/target/app/blobs/uploads/?mount=sha256:bad&from=source/app", nil),
			http.StatusBadRequest, "DIGEST_INVALID")
	})
}

// TestSpecEnd11Challenge: the first answer names both repositories, so that one token does.
func TestSpecEnd11Challenge(t *testing.T) {
	ocitest.Each(t, func(t *testing.T, env *ocitest.Env) {
		c := env.Replica(t, ocitest.Options{}).Client
		d := c.Push("source/app", []byte("both"))
		a := mount(c.Nobody(), "target/app", d, "source/app")
		refused(t, a, http.StatusUnauthorized, "UNAUTHORIZED")
		const scope = `scope="repository:target/app:pull,push repository:source/app:pull"`
		if challenge := a.Header.Get("WWW-Authenticate"); !strings.Contains(challenge, scope) {
			t.Errorf("challenge %s", challenge)
		}
		narrow := c.Bearer(c.Token("repository:target/app:pull,push"))
		a = mount(narrow, "target/app", d, "source/app")
		refused(t, a, http.StatusUnauthorized, "UNAUTHORIZED")
		if challenge := a.Header.Get("WWW-Authenticate"); !strings.Contains(challenge, scope) || !strings.Contains(challenge, "insufficient_scope") {
			t.Errorf("challenge %s", challenge)
		}
		wide := c.Bearer(c.Token("repository:target/app:pull,push", "repository:source/app:pull"))
		if a := mount(wide, "target/app", d, "source/app"); a.Status != http.StatusCreated {
			t.Errorf("with both scopes: %d %s", a.Status, a.Body)
		}
	})
}
