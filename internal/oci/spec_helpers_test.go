package oci_test

import (
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/berthregistry/berth/internal/oci/ocitest"
)

const (
	dockerManifest = "application/vnd.docker.distribution.manifest.v2+json"
	dockerList     = "application/vnd.docker.distribution.manifest.list.v2+json"
)

// refused checks an answer of the error envelope: exactly the fields of the section "Error Codes".
func refused(t testing.TB, a ocitest.Answer, status int, code string) {
	t.Helper()
	var envelope struct {
		Errors []struct {
			Code    string          `json:"code"`
			Message string          `json:"message"`
			Detail  json.RawMessage `json:"detail"`
		} `json:"errors"`
	}
	decoder := json.NewDecoder(strings.NewReader(string(a.Body)))
	decoder.DisallowUnknownFields()
	err := decoder.Decode(&envelope)
	if a.Status != status || err != nil || len(envelope.Errors) != 1 || envelope.Errors[0].Code != code {
		t.Errorf("got %d %s (%v), want %d %s", a.Status, a.Body, err, status, code)
	}
	headers(t, a, "Content-Type", "application/json", "Docker-Content-Digest", "", "Etag", "")
}

// headers checks pairs of a header's name and its only value; "" stands for no such header.
func headers(t testing.TB, a ocitest.Answer, pairs ...string) {
	t.Helper()
	for i := 0; i < len(pairs); i += 2 {
		got, want := a.Header.Values(pairs[i]), []string{pairs[i+1]}
		if pairs[i+1] == "" {
			want = nil
		}
		if strings.Join(got, "|") != strings.Join(want, "|") || len(got) != len(want) {
			t.Errorf("%s: %q, want %q", pairs[i], got, want)
		}
	}
}

// pattern is bytes in which every position of a megabyte looks different.
func pattern(size int, seed byte) []byte {
	b := make([]byte, size)
	x := uint32(seed)*2654435761 + 1
	for i := range b {
		x ^= x << 13
		x ^= x >> 17
		x ^= x << 5
		b[i] = byte(x)
	}
	return b
}

func blobURL(repo string, d digest.Digest) string { return "/v2/" + repo + "/blobs/" + d.String() }

func manifestURL(repo, reference string) string { return "/v2/" + repo + "/manifests/" + reference }

func descriptor(mediaType string, content []byte) v1.Descriptor {
	return v1.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(content), Size: int64(len(content))}
}

// document is a manifest that need not be well-made.
type document map[string]any

func (d document) with(key string, value any) document {
	other := document{}
	for k, v := range d {
		other[k] = v
	}
	if other[key] = value; value == nil {
		delete(other, key)
	}
	return other
}

func (d document) bytes(t testing.TB) []byte {
	t.Helper()
	body, err := json.Marshal(d)
	if err != nil {
		t.Fatal(err)
	}
	return body
}

// image is an image manifest of a config and layers.
func image(config []byte, layers ...[]byte) document {
	list := []v1.Descriptor{}
	for _, layer := range layers {
		list = append(list, descriptor(v1.MediaTypeImageLayer, layer))
	}
	return document{
		"schemaVersion": 2, "mediaType": v1.MediaTypeImageManifest,
		"config": descriptor(v1.MediaTypeImageConfig, config), "layers": list,
	}
}

// index is an index of manifests.
func index(mediaType string, manifests ...v1.Descriptor) document {
	if manifests == nil {
		manifests = []v1.Descriptor{}
	}
	return document{"schemaVersion": 2, "mediaType": mediaType, "manifests": manifests}
}

// pushed pushes an image of one small config, unique by name, under a reference ("" for its digest).
func pushed(t testing.TB, c *ocitest.Client, repo, reference, name string) (body []byte, d digest.Digest) {
	t.Helper()
	config := []byte(`{"name":` + strconv.Quote(name) + `}`)
	c.Push(repo, config)
	body = image(config).bytes(t)
	if reference == "" {
		reference = digest.FromBytes(body).String()
	}
	return body, c.PutManifest(repo, reference, v1.MediaTypeImageManifest, body)
}

// nextPage is the target of the Link header, or "".
func nextPage(t testing.TB, a ocitest.Answer) string {
	t.Helper()
	link := a.Header.Get("Link")
	if link == "" {
		return ""
	}
	target, found := strings.CutSuffix(link, `>; rel="next"`)
	if !found || !strings.HasPrefix(target, "</v2/") {
		t.Fatalf("Link %q", link)
	}
	return target[1:]
}

// tagList reads an answer of the tags list.
func tagList(t testing.TB, a ocitest.Answer) []string {
	t.Helper()
	var list struct {
		Name string   `json:"name"`
		Tags []string `json:"tags"`
	}
	if err := json.Unmarshal(a.Body, &list); err != nil || a.Status != http.StatusOK || list.Tags == nil || list.Name == "" {
		t.Fatalf("%d %s: %v", a.Status, a.Body, err)
	}
	return list.Tags
}

// change runs SQL that is the same in both dialects.
func change(t testing.TB, env *ocitest.Env, statement string, args ...any) {
	t.Helper()
	if err := env.DB.Gorm().Exec(statement, args...).Error; err != nil {
		t.Fatal(err)
	}
}

// count is the number that a query gives.
func count(t testing.TB, env *ocitest.Env, query string, args ...any) (n int) {
	t.Helper()
	if err := env.DB.Gorm().Raw(query, args...).Scan(&n).Error; err != nil {
		t.Fatal(err)
	}
	return n
}
