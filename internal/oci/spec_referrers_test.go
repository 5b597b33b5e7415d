package oci_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/berthregistry/berth/internal/oci/ocitest"
)

// referrers reads an answer of the referrers API.
func referrers(t testing.TB, a ocitest.Answer) []v1.Descriptor {
	t.Helper()
	var list struct {
		SchemaVersion int             `json:"schemaVersion"`
		MediaType     string          `json:"mediaType"`
		Manifests     []v1.Descriptor `json:"manifests"`
	}
	decoder := json.NewDecoder(bytes.NewReader(a.Body))
	decoder.DisallowUnknownFields()
	err := decoder.Decode(&list)
	if a.Status != http.StatusOK || err != nil || list.SchemaVersion != 2 || list.MediaType != v1.MediaTypeImageIndex || list.Manifests == nil {
		t.Fatalf("%d %.1000s: %v", a.Status, a.Body, err)
	}
	headers(t, a, "Content-Type", v1.MediaTypeImageIndex)
	return list.Manifests
}

// walk follows the pages of a list of referrers.
func walk(t testing.TB, c *ocitest.Client, path string) (pages [][]v1.Descriptor) {
	t.Helper()
	for path != "" && len(pages) < 50 {
		a := c.Do(http.MethodGet, path, nil)
		pages = append(pages, referrers(t, a))
		if len(a.Body) > 4<<20 {
			t.Errorf("a page of %d bytes", len(a.Body))
		}
		path = nextPage(t, a)
	}
	return pages
}

// TestSpecEnd12a is the section "Listing Referrers" and that of pushing manifests with a subject.
func TestSpecEnd12a(t *testing.T) {
	config := []byte(`{"signed":true}`)
	annotations := map[string]string{"org.example.note": `<a href="x">&</a>`, "org.example.empty": ""}
	ocitest.Each(t, func(t *testing.T, env *ocitest.Env) {
		c := env.Replica(t, ocitest.Options{}).Client
		c.Push("demo/app", config)
		for _, subject := range []digest.Digest{digest.FromString("subject"), digest.SHA512.FromString("subject")} {
			refers := v1.Descriptor{MediaType: v1.MediaTypeImageManifest, Digest: subject, Size: 7}
			var want []v1.Descriptor
			for _, tt := range []struct {
				manifest     document
				contentType  string
				artifactType string
				annotations  map[string]string
			}{
				{image(config), v1.MediaTypeImageManifest, v1.MediaTypeImageConfig, nil},
				{image(config).with("artifactType", ""), v1.MediaTypeImageManifest, v1.MediaTypeImageConfig, nil},
				{image(config).with("artifactType", "application/vnd.example+x"), v1.MediaTypeImageManifest, "application/vnd.example+x", nil},
				{image(config).with("annotations", annotations), v1.MediaTypeImageManifest + ";charset=utf-8", v1.MediaTypeImageConfig, annotations},
				{image(config).with("mediaType", dockerManifest), strings.ToUpper(dockerManifest), v1.MediaTypeImageConfig, nil},
				{index(v1.MediaTypeImageIndex), v1.MediaTypeImageIndex, "", nil},
				{index(v1.MediaTypeImageIndex).with("artifactType", "application/vnd.example.list"), v1.MediaTypeImageIndex, "application/vnd.example.list", nil},
			} {
				body := tt.manifest.with("subject", refers).bytes(t)
				a := c.Want(http.StatusCreated, http.MethodPut, manifestURL("demo/app", digest.FromBytes(body).String()), body, "Content-Type", tt.contentType)
				headers(t, a, "Oci-Subject", subject.String())
				mediaType, _ := tt.manifest["mediaType"].(string)
				want = append(want, v1.Descriptor{
					MediaType: mediaType, Digest: digest.FromBytes(body), Size: int64(len(body)),
					ArtifactType: tt.artifactType, Annotations: tt.annotations,
				})
			}
			slices.SortFunc(want, func(a, b v1.Descriptor) int { return strings.Compare(string(a.Digest), string(b.Digest)) })
			a := c.Do(http.MethodGet, "/v2/demo/app/referrers/"+subject.String(), nil)
			if diff := cmp.Diff(want, referrers(t, a)); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
			headers(t, a, "Oci-Filters-Applied", "", "Link", "")
		}
	})
}

// TestSpecEnd12Empty: nothing refers to it, or it does not exist: that is an empty list, never 404.
func TestSpecEnd12Empty(t *testing.T) {
	ocitest.Each(t, func(t *testing.T, env *ocitest.Env) {
		c := env.Replica(t, ocitest.Options{}).Client
		_, d := pushed(t, c, "demo/app", "v1", "lonely")
		for _, repo := range []string{"demo/app", "demo", "demo/absent", "nothing/app"} {
			for _, path := range []string{d.String(), digest.FromString("x").String(), digest.SHA512.FromString("x").String(), d.String() + "?artifactType=a/b"} {
				if got := referrers(t, c.Do(http.MethodGet, "/v2/"+repo+"/referrers/"+path, nil)); len(got) != 0 {
					t.Errorf("%s of %s: %v", path, repo, got)
				}
			}
		}
		for _, bad := range []string{"v1", "sha256:0", "sha1:" + strings.Repeat("0", 40), strings.ToUpper(d.String()), d.String() + "?last=v1"} {
			refused(t, c.Do(http.MethodGet, "/v2/demo/app/referrers/"+bad, nil), http.StatusBadRequest, "DIGEST_INVALID")
		}
		refused(t, c.Do(http.MethodGet, "/v2/demo/app/referrers/"+d.String()+"?artifactType=%00", nil), http.StatusBadRequest, "UNSUPPORTED")
	})
}

// TestSpecEnd12b: the filter knows derived types, says that it was applied, and is kept from page to page.
func TestSpecEnd12b(t *testing.T) {
	ocitest.Each(t, func(t *testing.T, env *ocitest.Env) {
		c := env.Replica(t, ocitest.Options{ReferrersPage: 2}).Client
		refers := v1.Descriptor{MediaType: v1.MediaTypeImageManifest, Digest: digest.FromString("subject"), Size: 7}
		for i := range 9 {
			config := []byte(fmt.Sprintf(`{"n":%d}`, i))
			c.Push("demo/app", config)
			m := image(config).with("subject", refers)
			if i%2 == 0 {
				m = m.with("artifactType", "application/a+b")
			}
			c.PutManifest("demo/app", digest.FromBytes(m.bytes(t)).String(), v1.MediaTypeImageManifest, m.bytes(t))
		}
		path := "/v2/demo/app/referrers/" + refers.Digest.String()
		for filter, want := range map[string]int{"": 9, "application/a+b": 5, v1.MediaTypeImageConfig: 4, "application/other": 0, "application/a b": 0} {
			target, applied := path, ""
			if filter != "" {
				target, applied = path+"?"+url.Values{"artifactType": {filter}}.Encode(), "artifactType"
			}
			headers(t, c.Do(http.MethodGet, target, nil), "Oci-Filters-Applied", applied)
			var all []string
			for _, page := range walk(t, c, target) {
				if len(page) > 2 {
					t.Errorf("a page of %d", len(page))
				}
				for _, d := range page {
					all = append(all, d.Digest.String())
					if filter != "" && d.ArtifactType != filter {
						t.Errorf("%s among those of %s", d.ArtifactType, filter)
					}
				}
			}
			if len(slices.Compact(slices.Clone(all))) != want || !slices.IsSorted(all) {
				t.Errorf("filter %q: %d, want %d", filter, len(all), want)
			}
		}
	})
}

// TestSpecEnd12Bytes: a page is no longer than a manifest, whatever the annotations are made of.
func TestSpecEnd12Bytes(t *testing.T) {
	ocitest.Each(t, func(t *testing.T, env *ocitest.Env) {
		c := env.Replica(t, ocitest.Options{}).Client
		refers := v1.Descriptor{MediaType: v1.MediaTypeImageManifest, Digest: digest.FromString("subject"), Size: 7}
		for i, size := range []int{1 << 20, 1 << 20, 3 << 20, 1 << 20, 100, 100, 4<<20 - 1000} {
			annotation := fmt.Sprintf(`{"n":"%d","x":%q}`, i, strings.Repeat("<", size))
			body := fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":%q,"manifests":[],"subject":{"mediaType":%q,"digest":%q,"size":7},"annotations":%s}`,
				v1.MediaTypeImageIndex, refers.MediaType, refers.Digest, annotation)
			c.PutManifest("demo/app", digest.FromBytes(body).String(), v1.MediaTypeImageIndex, body)
		}
		pages := walk(t, c, "/v2/demo/app/referrers/"+refers.Digest.String())
		if all := slices.Concat(pages...); len(all) != 7 || len(pages) < 3 {
			t.Errorf("%d referrers on %d pages", len(all), len(pages))
		}
	})
}
