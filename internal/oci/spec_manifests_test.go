package oci_test

import (
	"bytes"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/berthregistry/berth/internal/oci/ocitest"
)

// TestSpecEnd7 is the section "Pushing Manifests" for each type, by tag and by digest of both algorithms, and with the
// section "Pulling manifests" its way back, byte for byte.
func TestSpecEnd7(t *testing.T) {
	config, layer := []byte(`{"os":"linux"}`), []byte("layer")
	docker := image(config, layer).with("mediaType", dockerManifest)
	tests := map[string]struct {
		contentType string
		body        document
	}{
		"image":                   {v1.MediaTypeImageManifest, image(config, layer)},
		"image with a parameter":  {v1.MediaTypeImageManifest + "; charset=UTF-8", image(config, layer)},
		"image in capitals":       {strings.ToUpper(v1.MediaTypeImageManifest) + " ;q=1", image(config)},
		"image without mediaType": {v1.MediaTypeImageManifest, image(config, layer).with("mediaType", nil)},
		"index":                   {v1.MediaTypeImageIndex, index(v1.MediaTypeImageIndex)},
		"index with a parameter":  {v1.MediaTypeImageIndex + ";a=b", index(v1.MediaTypeImageIndex)},
		"docker manifest":         {dockerManifest, docker},
		"docker list":             {dockerList, index(dockerList)},
	}
	ocitest.Each(t, func(t *testing.T, env *ocitest.Env) {
		c := env.Replica(t, ocitest.Options{}).Client
		c.Push("demo/app", config)
		c.Push("demo/app", layer)
		for name, tt := range tests {
			body := append([]byte(" \n\t"), append(tt.body.with("x.name", name).bytes(t), '\n', '\n')...)
			sha256, sha512 := digest.FromBytes(body), digest.SHA512.FromBytes(body)
			for reference, d := range map[string]digest.Digest{"v1": sha256, sha256.String(): sha256, sha512.String(): sha512} {
				a := c.Want(http.StatusCreated, http.MethodPut, manifestURL("demo/app", reference), body, "Content-Type", tt.contentType)
				headers(t, a, "Location", manifestURL("demo/app", d.String()), "Docker-Content-Digest", d.String(),
					"Content-Length", "0", "Oci-Subject", "", "Oci-Tag", "")
				for _, path := range []string{a.Header.Get("Location"), manifestURL("demo/app", reference)} {
					got := c.Want(http.StatusOK, http.MethodGet, path, nil)
					if !bytes.Equal(got.Body, body) {
						t.Errorf("%s by %s: came back as %q", name, reference, got.Body)
					}
					for _, a := range []ocitest.Answer{got, c.Want(http.StatusOK, http.MethodHead, path, nil)} {
						headers(t, a, "Content-Type", tt.contentType, "Docker-Content-Digest", d.String(),
							"Content-Length", strconv.Itoa(len(body)), "Etag", `"`+d.String()+`"`)
					}
				}
			}
		}
	})
}

// TestSpecEnd7Again: the same bytes can be pushed any number of times; the last Content-Type counts.
func TestSpecEnd7Again(t *testing.T) {
	ocitest.Each(t, func(t *testing.T, env *ocitest.Env) {
		c := env.Replica(t, ocitest.Options{}).Client
		body, d := pushed(t, c, "demo/app", "v1", "again")
		for _, contentType := range []string{v1.MediaTypeImageManifest + ";a=b", v1.MediaTypeImageManifest} {
			c.PutManifest("demo/app", "v2", contentType, body)
			for _, reference := range []string{"v1", "v2", d.String()} {
				headers(t, c.Want(http.StatusOK, http.MethodHead, manifestURL("demo/app", reference), nil), "Content-Type", contentType)
			}
		}
		if n := count(t, env, `SELECT count(*) FROM manifests`); n != 1 {
			t.Errorf("%d manifests", n)
		}
	})
}

// TestSpecEnd3Failures: what cannot be a reference is not found, as nothing was ever stored under it.
func TestSpecEnd3Failures(t *testing.T) {
	ocitest.Each(t, func(t *testing.T, env *ocitest.Env) {
		c := env.Replica(t, ocitest.Options{}).Client
		body, d := pushed(t, c, "demo/app", "v1", "failures")
		sha512 := digest.SHA512.FromBytes(body).String()
		for _, reference := range []string{
			"v2", "V1", "v1.", digest.FromString("absent").String(), sha512, ".INVALID_MANIFEST_NAME", "sha256:0", "-v1",
			strings.Repeat("t", 129), "sha256:" + strings.ToUpper(d.Encoded()), "md5:d41d8cd98f00b204e9800998ecf8427e", "a%20b", "%76%31",
		} {
			for _, method := range []string{http.MethodGet, http.MethodDelete} {
				refused(t, c.Do(method, manifestURL("demo/app", reference), nil), http.StatusNotFound, "MANIFEST_UNKNOWN")
			}
		}
		for repo, code := range map[string]string{"demo": "MANIFEST_UNKNOWN", "demo/other": "MANIFEST_UNKNOWN", "nothing/app": "NAME_UNKNOWN"} {
			refused(t, c.Do(http.MethodGet, manifestURL(repo, "v1"), nil), http.StatusNotFound, code)
			refused(t, c.Do(http.MethodGet, manifestURL(repo, d.String()), nil), http.StatusNotFound, code)
		}
		refused(t, c.Do(http.MethodGet, manifestURL("demo/App", "v1"), nil), http.StatusBadRequest, "NAME_INVALID")
	})
}

// TestSpecEnd7Digest: the digest of the path is that of the bytes, or nothing is stored.
func TestSpecEnd7Digest(t *testing.T) {
	ocitest.Each(t, func(t *testing.T, env *ocitest.Env) {
		c := env.Replica(t, ocitest.Options{}).Client
		body := index(v1.MediaTypeImageIndex).bytes(t)
		for reference, code := range map[string]string{
			digest.FromString("other").String():        "DIGEST_INVALID",
			digest.SHA512.FromString("other").String(): "DIGEST_INVALID",
			"sha256:0":                             "DIGEST_INVALID",
			"md5:d41d8cd98f00b204e9800998ecf8427e": "DIGEST_INVALID",
			"sha256:" + strings.ToUpper(digest.FromBytes(body).Encoded()): "DIGEST_INVALID",
			".hidden":                "MANIFEST_INVALID",
			"-dash":                  "MANIFEST_INVALID",
			"a%20b":                  "MANIFEST_INVALID",
			strings.Repeat("t", 129): "MANIFEST_INVALID",
		} {
			refused(t, c.Do(http.MethodPut, manifestURL("demo/app", reference), body, "Content-Type", v1.MediaTypeImageIndex),
				http.StatusBadRequest, code)
		}
		if n := count(t, env, `SELECT count(*) FROM projects`); n != 0 {
			t.Errorf("%d projects were made for pushes that were refused", n)
		}
		c.PutManifest("demo/app", strings.Repeat("t", 128), v1.MediaTypeImageIndex, body)
	})
}

// TestSpecEnd7Size: manifests of 4 megabytes are taken, and come back from the cache and without it; larger ones are 413.
func TestSpecEnd7Size(t *testing.T) {
	const limit = 4 << 20
	padded := func(size int) []byte {
		body := index(v1.MediaTypeImageIndex).with("annotations", map[string]string{"padding": ""}).bytes(t)
		return bytes.Replace(body, []byte(`"padding":"`), append([]byte(`"padding":"`), bytes.Repeat([]byte("x"), size-len(body))...), 1)
	}
	ocitest.Each(t, func(t *testing.T, env *ocitest.Env) {
		c := env.Replica(t, ocitest.Options{}).Client
		other := c.At(env.Replica(t, ocitest.Options{}))
		for _, size := range []int{64 << 10, 64<<10 + 1, 3_900_000, limit} {
			body := padded(size)
			d := c.PutManifest("demo/app", "large", v1.MediaTypeImageIndex, body)
			for _, reader := range []*ocitest.Client{c, c, other} {
				for _, reference := range []string{"large", d.String()} {
					got := reader.Want(http.StatusOK, http.MethodGet, manifestURL("demo/app", reference), nil)
					if !bytes.Equal(got.Body, body) {
						t.Errorf("%d bytes came back as %d", len(body), len(got.Body))
					}
				}
			}
		}
		body := padded(limit + 1)
		refused(t, c.Do(http.MethodPut, manifestURL("demo/app", "larger"), body, "Content-Type", v1.MediaTypeImageIndex),
			http.StatusRequestEntityTooLarge, "SIZE_INVALID")
		chunked := c.Request(t.Context(), http.MethodPut, manifestURL("demo/app", "larger"), struct{ io.Reader }{bytes.NewReader(body)},
			"Content-Type", v1.MediaTypeImageIndex)
		a, err := c.Send(chunked)
		if err != nil || chunked.ContentLength != 0 {
			t.Fatal(err)
		}
		refused(t, a, http.StatusRequestEntityTooLarge, "SIZE_INVALID")
		refused(t, c.Do(http.MethodGet, manifestURL("demo/app", "larger"), nil), http.StatusNotFound, "MANIFEST_UNKNOWN")
	})
}
