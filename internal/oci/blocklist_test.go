package oci_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/berthregistry/berth/internal/database"
	"github.com/berthregistry/berth/internal/oci/ocitest"
	"github.com/berthregistry/berth/internal/projects/takedown"
)

// unguarded lets everything through.
func unguarded(*database.Batch) {}

// TestBlockedContentIsHidden: everywhere, at once, on a replica that has just shown it, until it is unblocked.
func TestBlockedContentIsHidden(t *testing.T) {
	ocitest.Each(t, func(t *testing.T, env *ocitest.Env) {
		r := env.Replica(t, ocitest.Options{})
		c, store := r.Client, &takedown.List{DB: env.DB, Clock: time.Now}
		layer := []byte("a layer that must not be here")
		body, image := c.Image("demo/app", "v1", layer)
		d := digest.FromBytes(layer)
		signature := strings.Replace(string(body), `{`, `{"subject":{"mediaType":"`+v1.MediaTypeImageManifest+`","digest":"`+
			image.String()+`","size":1},`, 1)
		referrer := c.PutManifest("demo/app", digest.FromString(signature).String(), v1.MediaTypeImageManifest, []byte(signature))
		blob := "/v2/demo/app/blobs/" + d.String()
		reads := func(method, path string, want int) {
			t.Helper()
			c.Want(want, method, path, nil)
		}
		visible := func(status int) {
			t.Helper()
			reads(http.MethodHead, blob, status)
			reads(http.MethodGet, blob, status)
			for _, ref := range []string{"v1", image.String()} {
				reads(http.MethodHead, manifestURL("demo/app", ref), status)
				reads(http.MethodGet, manifestURL("demo/app", ref), status)
			}
			reads(http.MethodGet, manifestURL("demo/app", referrer.String()), status)
			tags := c.Want(http.StatusOK, http.MethodGet, "/v2/demo/app/tags/list", nil)
			referrers := c.Want(http.StatusOK, http.MethodGet, "/v2/demo/app/referrers/"+image.String(), nil)
			for _, listed := range []bool{strings.Contains(string(tags.Body), "v1"), strings.Contains(string(referrers.Body), referrer.String())} {
				if listed != (status == http.StatusOK) {
					t.Errorf("listed: %t\n%s\n%s", listed, tags.Body, referrers.Body)
				}
			}
		}
		visible(http.StatusOK)
		repeated := ocitest.Query(c.Start("demo/again"), "digest", d.String())
		c.Want(http.StatusCreated, http.MethodPut, repeated, layer)
		for _, blocked := range []digest.Digest{d, image, referrer} {
			if _, err := store.Block(t.Context(), unguarded, blocked.String(), "takedown", "user:1"); err != nil {
				t.Fatal(err)
			}
		}
		visible(http.StatusNotFound)

		c.Want(http.StatusAccepted, http.MethodPost, "/v2/demo/b/blobs/uploads/?mount="+d.String(), nil)
		c.Want(http.StatusAccepted, http.MethodPost, "/v2/demo/b/blobs/uploads/?from=demo/app&mount="+d.String(), nil)
		c.Want(http.StatusNotFound, http.MethodPut, repeated, layer)
		location := patch(c, c.Start("demo/b"), layer)
		wantCode(t, c.Do(http.MethodPut, ocitest.Query(location, "digest", d.String()), nil), http.StatusForbidden, "DENIED")
		wantCode(t, c.Do(http.MethodGet, location, nil), http.StatusNotFound, "BLOB_UPLOAD_UNKNOWN")
		wantCode(t, c.Do(http.MethodPost, "/v2/demo/b/blobs/uploads/?digest="+d.String(), layer), http.StatusForbidden, "DENIED")
		other2 := imageOf(t, layer, []byte("{}"))
		index := []byte(`{"schemaVersion":2,"mediaType":"` + v1.MediaTypeImageIndex + `","manifests":[{"mediaType":"` +
			v1.MediaTypeImageManifest + `","size":1,"digest":"` + image.String() + `"}]}`)
		for mediaType, content := range map[string][]byte{v1.MediaTypeImageManifest: other2, v1.MediaTypeImageIndex: index} {
			wantCode(t, c.Do(http.MethodPut, manifestURL("demo/app", "v2"), content, "Content-Type", mediaType), http.StatusForbidden, "DENIED")
		}
		wantCode(t, c.Do(http.MethodPut, manifestURL("demo/app", "v3"), body, "Content-Type", v1.MediaTypeImageManifest),
			http.StatusForbidden, "DENIED")

		list, err := store.Page(t.Context(), database.Page{Limit: 2})
		if err != nil || len(list) != 2 || list[0].Reason != "takedown" || list[0].CreatedBy != "user:1" {
			t.Errorf("%+v, %v", list, err)
		}
		for _, blocked := range []digest.Digest{d, image, referrer} {
			if err := store.Unblock(t.Context(), unguarded, blocked.String()); err != nil {
				t.Fatal(err)
			}
		}
		visible(http.StatusOK)
	})
}

// TestBlockedContentComesByNoOtherDigest: what is blocked by its sha256 digest is refused under its sha512 digest as well,
// however it is sent, and other content is not.
func TestBlockedContentComesByNoOtherDigest(t *testing.T) {
	ocitest.Each(t, func(t *testing.T, env *ocitest.Env) {
		r := env.Replica(t, ocitest.Options{ChunkSize: 1 << 10})
		c, store := r.Client, &takedown.List{DB: env.DB, Clock: time.Now}
		layer, other := noise(2500, 1), noise(2500, 2)
		config := []byte("{}")
		c.Push("demo/app", config)
		manifest := []byte(`{"schemaVersion":2,"mediaType":"` + v1.MediaTypeImageManifest + `","config":{"mediaType":"x/y","size":2,"digest":"` +
			digest.FromBytes(config).String() + `"},"layers":[]}`)
		push := func(content []byte) (answers []ocitest.Answer) {
			want := digest.SHA512.FromBytes(content).String()
			location := c.Want(http.StatusAccepted, http.MethodPost, "/v2/demo/app/blobs/uploads/?digest-algorithm=sha512", nil).Header.Get("Location")
			return []ocitest.Answer{
				c.Do(http.MethodPut, ocitest.Query(patch(c, c.Start("demo/app"), content), "digest", want), nil),
				c.Do(http.MethodPut, ocitest.Query(c.Start("demo/app"), "digest", want), content),
				c.Do(http.MethodPut, ocitest.Query(patch(c, location, content), "digest", want), nil),
				c.Do(http.MethodPost, "/v2/demo/app/blobs/uploads/?digest="+want, content),
			}
		}
		pushManifest := func() ocitest.Answer {
			return c.Do(http.MethodPut, manifestURL("demo/app", digest.SHA512.FromBytes(manifest).String()), manifest, "Content-Type", v1.MediaTypeImageManifest)
		}
		for _, blocked := range [][]byte{layer, manifest} {
			if _, err := store.Block(t.Context(), unguarded, digest.FromBytes(blocked).String(), "takedown", "user:1"); err != nil {
				t.Fatal(err)
			}
		}
		for _, refused := range append(push(layer), pushManifest()) {
			wantCode(t, refused, http.StatusForbidden, "DENIED")
		}
		c.Want(http.StatusNotFound, http.MethodHead, "/v2/demo/app/blobs/"+digest.SHA512.FromBytes(layer).String(), nil)
		for i, taken := range push(other) {
			if taken.Status != http.StatusCreated {
				t.Errorf("other content, way %d: %d %s", i, taken.Status, taken.Body)
			}
		}
		for _, blocked := range [][]byte{layer, manifest} {
			if err := store.Unblock(t.Context(), unguarded, digest.FromBytes(blocked).String()); err != nil {
				t.Fatal(err)
			}
		}
		for i, taken := range append(push(layer), pushManifest()) {
			if taken.Status != http.StatusCreated {
				t.Errorf("after it was unblocked, way %d: %d %s", i, taken.Status, taken.Body)
			}
		}
	})
}
