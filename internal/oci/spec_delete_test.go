package oci_test

import (
	"net/http"
	"slices"
	"testing"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/berthregistry/berth/internal/oci/ocitest"
)

// TestSpecEnd9Tag is the section "Deleting tags": the tag goes, the manifest and its other tags stay.
func TestSpecEnd9Tag(t *testing.T) {
	ocitest.Each(t, func(t *testing.T, env *ocitest.Env) {
		c := env.Replica(t, ocitest.Options{}).Client
		other := c.At(env.Replica(t, ocitest.Options{}))
		body, d := pushed(t, c, "demo/app", "v1", "tags")
		c.PutManifest("demo/app", "v2", v1.MediaTypeImageManifest, body)
		for range 2 {
			other.Want(http.StatusOK, http.MethodGet, manifestURL("demo/app", "v1"), nil)
			headers(t, c.Want(http.StatusAccepted, http.MethodDelete, manifestURL("demo/app", "v1"), nil), "Content-Length", "0")
			for _, reader := range []*ocitest.Client{other, c} {
				refused(t, reader.Do(http.MethodGet, manifestURL("demo/app", "v1"), nil), http.StatusNotFound, "MANIFEST_UNKNOWN")
				refused(t, reader.Do(http.MethodDelete, manifestURL("demo/app", "v1"), nil), http.StatusNotFound, "MANIFEST_UNKNOWN")
				reader.Want(http.StatusOK, http.MethodGet, manifestURL("demo/app", "v2"), nil)
				reader.Want(http.StatusOK, http.MethodGet, manifestURL("demo/app", d.String()), nil)
				if got := tagList(t, reader.Do(http.MethodGet, "/v2/demo/app/tags/list", nil)); !slices.Equal(got, []string{"v2"}) {
					t.Errorf("tags %s", got)
				}
			}
			c.PutManifest("demo/app", "v1", v1.MediaTypeImageManifest, body)
		}
		if n := count(t, env, `SELECT count(*) FROM tag_history WHERE tag = 'v1'`); n != 5 {
			t.Errorf("%d entries of history, want pushed and deleted twice, and pushed", n)
		}
	})
}

// TestSpecEnd9Manifest is the section "Deleting Manifests": all its tags and its entry among the referrers go at once,
// what refers to it stays, and a new push brings back the manifest without its tags.
func TestSpecEnd9Manifest(t *testing.T) {
	ocitest.Each(t, func(t *testing.T, env *ocitest.Env) {
		c := env.Replica(t, ocitest.Options{}).Client
		other := c.At(env.Replica(t, ocitest.Options{}))
		_, subject := pushed(t, c, "demo/app", "subject", "subject")
		config := []byte(`{"name":"subject"}`)
		body := image(config).with("subject", v1.Descriptor{MediaType: v1.MediaTypeImageManifest, Digest: subject, Size: 1}).bytes(t)
		d := c.PutManifest("demo/app", "v1", v1.MediaTypeImageManifest, body)
		c.PutManifest("demo/app", "v2", v1.MediaTypeImageManifest, body)
		for range 2 {
			if got := referrers(t, other.Do(http.MethodGet, "/v2/demo/app/referrers/"+subject.String(), nil)); len(got) != 1 || got[0].Digest != d {
				t.Errorf("referrers before: %v", got)
			}
			headers(t, c.Want(http.StatusAccepted, http.MethodDelete, manifestURL("demo/app", d.String()), nil), "Content-Length", "0")
			for _, reader := range []*ocitest.Client{other, c} {
				for _, reference := range []string{"v1", "v2", d.String()} {
					refused(t, reader.Do(http.MethodGet, manifestURL("demo/app", reference), nil), http.StatusNotFound, "MANIFEST_UNKNOWN")
					reader.Want(http.StatusNotFound, http.MethodHead, manifestURL("demo/app", reference), nil)
					refused(t, reader.Do(http.MethodDelete, manifestURL("demo/app", reference), nil), http.StatusNotFound, "MANIFEST_UNKNOWN")
				}
				if got := referrers(t, reader.Do(http.MethodGet, "/v2/demo/app/referrers/"+subject.String(), nil)); len(got) != 0 {
					t.Errorf("referrers: %v", got)
				}
				if got := tagList(t, reader.Do(http.MethodGet, "/v2/demo/app/tags/list", nil)); !slices.Equal(got, []string{"subject"}) {
					t.Errorf("tags %s", got)
				}
			}
			c.PutManifest("demo/app", d.String(), v1.MediaTypeImageManifest, body)
			c.Want(http.StatusOK, http.MethodGet, manifestURL("demo/app", d.String()), nil)
			refused(t, c.Do(http.MethodGet, manifestURL("demo/app", "v1"), nil), http.StatusNotFound, "MANIFEST_UNKNOWN")
		}
		c.Want(http.StatusAccepted, http.MethodDelete, manifestURL("demo/app", subject.String()), nil)
		if got := referrers(t, c.Do(http.MethodGet, "/v2/demo/app/referrers/"+subject.String(), nil)); len(got) != 1 {
			t.Errorf("referrers of a subject that was deleted: %v", got)
		}
	})
}

// TestSpecEnd9Large: a large manifest is not read from a cache once it is deleted.
func TestSpecEnd9Large(t *testing.T) {
	ocitest.Each(t, func(t *testing.T, env *ocitest.Env) {
		c := env.Replica(t, ocitest.Options{}).Client
		other := c.At(env.Replica(t, ocitest.Options{}))
		body := index(v1.MediaTypeImageIndex).with("annotations", map[string]string{"large": string(make([]byte, 100_000))}).bytes(t)
		d := c.PutManifest("demo/app", "v1", v1.MediaTypeImageIndex, body)
		for _, reader := range []*ocitest.Client{c, other, c, other} {
			reader.Want(http.StatusOK, http.MethodGet, manifestURL("demo/app", d.String()), nil)
		}
		c.Want(http.StatusAccepted, http.MethodDelete, manifestURL("demo/app", d.String()), nil)
		for _, reader := range []*ocitest.Client{other, c} {
			for _, reference := range []string{"v1", d.String()} {
				refused(t, reader.Do(http.MethodGet, manifestURL("demo/app", reference), nil), http.StatusNotFound, "MANIFEST_UNKNOWN")
			}
		}
	})
}

// TestSpecEnd9Repositories: a repository that does not exist is 404, for every reference.
func TestSpecEnd9Repositories(t *testing.T) {
	ocitest.Each(t, func(t *testing.T, env *ocitest.Env) {
		c := env.Replica(t, ocitest.Options{}).Client
		_, d := pushed(t, c, "demo/app", "v1", "here")
		for _, reference := range []string{"v1", d.String()} {
			refused(t, c.Do(http.MethodDelete, manifestURL("demo/other", reference), nil), http.StatusNotFound, "MANIFEST_UNKNOWN")
			refused(t, c.Do(http.MethodDelete, manifestURL("nothing/app", reference), nil), http.StatusNotFound, "NAME_UNKNOWN")
		}
		c.Want(http.StatusOK, http.MethodGet, manifestURL("demo/app", "v1"), nil)
	})
}

// TestSpecPushToADeletedRepository: what a push was told is stored can be pulled; what was deleted does not come with it.
func TestSpecPushToADeletedRepository(t *testing.T) {
	ocitest.Each(t, func(t *testing.T, env *ocitest.Env) {
		c := env.Replica(t, ocitest.Options{}).Client
		pushed(t, c, "demo/app", "old", "old")
		for _, table := range []string{"repositories", "manifests", "tags", "repository_blobs"} {
			change(t, env, `UPDATE `+table+` SET deleted_at = 1, purge_after = 2`)
		}
		refused(t, c.Do(http.MethodGet, "/v2/demo/app/tags/list", nil), http.StatusNotFound, "NAME_UNKNOWN")
		_, d := pushed(t, c, "demo/app", "new", "new")
		for _, reference := range []string{"new", d.String()} {
			c.Want(http.StatusOK, http.MethodGet, manifestURL("demo/app", reference), nil)
		}
		if got := tagList(t, c.Do(http.MethodGet, "/v2/demo/app/tags/list", nil)); !slices.Equal(got, []string{"new"}) {
			t.Errorf("tags %s", got)
		}
	})
}
