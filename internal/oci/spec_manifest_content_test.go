package oci_test

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/berthregistry/berth/internal/oci/ocitest"
)

// TestSpecManifestInvalid: what readers could disagree on, or is of a type that is not served, is refused and nothing
// is made for it.
func TestSpecManifestInvalid(t *testing.T) {
	good := image([]byte("{}"))
	text := string(good.bytes(t))
	deep := strings.Repeat(`{"a":`, 70) + "1" + strings.Repeat("}", 70)
	tests := map[string]struct{ contentType, body string }{
		"nothing":                     {v1.MediaTypeImageManifest, ""},
		"no JSON":                     {v1.MediaTypeImageManifest, "{"},
		"data after it":               {v1.MediaTypeImageManifest, text + "{}"},
		"an array":                    {v1.MediaTypeImageManifest, "[" + text + "]"},
		"invalid UTF-8":               {v1.MediaTypeImageManifest, strings.Replace(text, "{", "{\"x\":\"\xff\",", 1)},
		"unknown type":                {"application/vnd.example.thing.v1+json", string(good.with("mediaType", nil).bytes(t))},
		"unknown mediaType":           {"", string(good.with("mediaType", "application/vnd.example.thing.v1+json").bytes(t))},
		"no type at all":              {"", `{"schemaVersion":2}`},
		"schema 1":                    {"application/vnd.docker.distribution.manifest.v1+json", `{"schemaVersion":1,"fsLayers":[]}`},
		"schema 1, signed":            {"application/vnd.docker.distribution.manifest.v1+prettyjws", `{"schemaVersion":1,"fsLayers":[]}`},
		"schema 1 in disguise":        {v1.MediaTypeImageManifest, string(good.with("schemaVersion", 1).bytes(t))},
		"the type of another":         {dockerManifest, text},
		"an index as an image":        {v1.MediaTypeImageManifest, string(index(v1.MediaTypeImageIndex).with("mediaType", nil).bytes(t))},
		"an image as an index":        {v1.MediaTypeImageIndex, string(good.with("mediaType", nil).bytes(t))},
		"an image and an index":       {v1.MediaTypeImageManifest, string(good.with("manifests", []any{}).bytes(t))},
		"a key twice":                 {v1.MediaTypeImageManifest, strings.Replace(text, `"layers"`, `"layers":[],"layers"`, 1)},
		"a key in another case":       {v1.MediaTypeImageManifest, strings.Replace(text, `"layers"`, `"Layers"`, 1)},
		"an escaped key twice":        {v1.MediaTypeImageManifest, strings.Replace(text, `"layers"`, `"layer\u0073":[],"layers"`, 1)},
		"too deep":                    {v1.MediaTypeImageManifest, string(good.with("x", json.RawMessage(deep)).bytes(t))},
		"no config":                   {v1.MediaTypeImageManifest, string(good.with("config", nil).bytes(t))},
		"a config without digest":     {v1.MediaTypeImageManifest, string(good.with("config", map[string]any{"size": 2}).bytes(t))},
		"a digest of another kind":    {v1.MediaTypeImageManifest, strings.Replace(text, "sha256:", "sha1:", 1)},
		"a negative size":             {v1.MediaTypeImageManifest, strings.Replace(text, `"size":2`, `"size":-2`, 1)},
		"a subject without digest":    {v1.MediaTypeImageManifest, string(good.with("subject", map[string]any{"size": 2}).bytes(t))},
		"annotations that are no map": {v1.MediaTypeImageManifest, string(good.with("annotations", []string{"a"}).bytes(t))},
		"annotations of numbers":      {v1.MediaTypeImageManifest, string(good.with("annotations", map[string]int{"a": 1}).bytes(t))},
		"a Content-Type too long":     {v1.MediaTypeImageManifest + ";a=" + strings.Repeat("b", 300), text},
	}
	ocitest.Each(t, func(t *testing.T, env *ocitest.Env) {
		c := env.Replica(t, ocitest.Options{}).Client
		for name, tt := range tests {
			t.Run(name, func(t *testing.T) {
				var headers []string
				if tt.contentType != "" {
					headers = []string{"Content-Type", tt.contentType}
				}
				refused(t, c.With(t).Do(http.MethodPut, manifestURL("demo/app", "v1"), []byte(tt.body), headers...),
					http.StatusBadRequest, "MANIFEST_INVALID")
			})
		}
		if n := count(t, env, `SELECT count(*) FROM projects`) + count(t, env, `SELECT count(*) FROM repositories`); n != 0 {
			t.Errorf("%d projects and repositories were made", n)
		}
	})
}

// missing is the detail of MANIFEST_BLOB_UNKNOWN: one digest, or a list of them.
func missing(t testing.TB, a ocitest.Answer) (list []string) {
	t.Helper()
	type blob struct{ Digest string }
	var envelope struct {
		Errors []struct{ Detail json.RawMessage }
	}
	if err := json.Unmarshal(a.Body, &envelope); err != nil || len(envelope.Errors) != 1 {
		t.Fatalf("%s: %v", a.Body, err)
	}
	var one blob
	var several []blob
	switch detail := envelope.Errors[0].Detail; {
	case json.Unmarshal(detail, &one) == nil:
		several = []blob{one}
	case json.Unmarshal(detail, &several) != nil:
		t.Fatalf("detail %s", detail)
	}
	for _, b := range several {
		list = append(list, b.Digest)
	}
	slices.Sort(list)
	return list
}

// TestSpecManifestBlobUnknown: every blob that is missing is named, and nothing is stored. A blob that another
// repository has is missing here.
func TestSpecManifestBlobUnknown(t *testing.T) {
	ocitest.Each(t, func(t *testing.T, env *ocitest.Env) {
		c := env.Replica(t, ocitest.Options{}).Client
		config, here, elsewhere, absent := []byte(`{"a":1}`), []byte("here"), []byte("elsewhere"), []byte("absent")
		c.Push("demo/app", config)
		c.Push("demo/app", here)
		c.Push("demo/other", elsewhere)
		hidden := c.Push("demo/app", []byte("hidden"))
		c.Want(http.StatusAccepted, http.MethodDelete, blobURL("demo/app", hidden), nil)
		pushed(t, c, "demo/app", "before", "before")
		for name, tt := range map[string]struct {
			manifest document
			missing  [][]byte
		}{
			"an absent layer":        {image(config, here, absent), [][]byte{absent}},
			"an absent config":       {image(absent, here), [][]byte{absent}},
			"one of another place":   {image(config, elsewhere), [][]byte{elsewhere}},
			"one that was deleted":   {image(config, []byte("hidden")), [][]byte{[]byte("hidden")}},
			"several, some repeated": {image(absent, absent, elsewhere, here, elsewhere), [][]byte{absent, elsewhere}},
		} {
			body := tt.manifest.bytes(t)
			for _, reference := range []string{"before", "after", digest.FromBytes(body).String() + "?tag=before&tag=after"} {
				a := c.Do(http.MethodPut, manifestURL("demo/app", reference), body, "Content-Type", v1.MediaTypeImageManifest)
				refused(t, a, http.StatusBadRequest, "MANIFEST_BLOB_UNKNOWN")
				var want []string
				for _, blob := range tt.missing {
					want = append(want, digest.FromBytes(blob).String())
				}
				slices.Sort(want)
				if got := missing(t, a); !slices.Equal(got, want) {
					t.Errorf("%s: missing %s, want %s", name, got, want)
				}
			}
			refused(t, c.Do(http.MethodGet, manifestURL("demo/app", digest.FromBytes(body).String()), nil), http.StatusNotFound, "MANIFEST_UNKNOWN")
		}
		if tags := tagList(t, c.Do(http.MethodGet, "/v2/demo/app/tags/list", nil)); !slices.Equal(tags, []string{"before"}) {
			t.Errorf("tags %s", tags)
		}
		if n := count(t, env, `SELECT count(*) FROM manifests`) + count(t, env, `SELECT count(*) FROM tag_history`); n != 2 {
			t.Errorf("%d manifests and entries of history, want 1 each", n)
		}
	})
}

// TestSpecMayBeMissing: what the specification lets a manifest refer to before it is there, or without it.
func TestSpecMayBeMissing(t *testing.T) {
	absent := descriptor(v1.MediaTypeImageManifest, []byte("absent"))
	foreign := func(mediaType string) document {
		return image([]byte("{}")).with("layers", []v1.Descriptor{descriptor(mediaType, []byte("foreign "+mediaType))})
	}
	ocitest.Each(t, func(t *testing.T, env *ocitest.Env) {
		c := env.Replica(t, ocitest.Options{}).Client
		c.Push("demo/app", []byte("{}"))
		inner := index(v1.MediaTypeImageIndex, absent)
		for name, tt := range map[string]document{
			"a subject of an image":   image([]byte("{}")).with("subject", absent),
			"a subject of an index":   index(v1.MediaTypeImageIndex).with("subject", absent),
			"a sparse index":          inner,
			"a nested, sparse index":  index(v1.MediaTypeImageIndex, absent, descriptor(v1.MediaTypeImageIndex, inner.bytes(t))),
			"a sparse docker list":    index(dockerList, absent),
			"an OCI foreign layer":    foreign("application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"),
			"a docker foreign layer":  foreign("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"),
			"an entry of another use": index(v1.MediaTypeImageIndex, descriptor("application/vnd.example+json", []byte("absent"))),
		} {
			body := tt.bytes(t)
			mediaType, _ := tt["mediaType"].(string)
			if d := c.PutManifest("demo/app", "sparse", mediaType, body); d != digest.FromBytes(body) {
				t.Errorf("%s: %s", name, d)
			}
			c.Want(http.StatusOK, http.MethodGet, manifestURL("demo/app", "sparse"), nil)
		}
		refused(t, c.Do(http.MethodGet, manifestURL("demo/app", absent.Digest.String()), nil), http.StatusNotFound, "MANIFEST_UNKNOWN")
	})
}
