package manifest_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"

	"github.com/berthregistry/berth/internal/oci/digests"
	"github.com/berthregistry/berth/internal/oci/manifest"
	"github.com/berthregistry/berth/internal/oci/ocierr"
)

const (
	ociManifest    = "application/vnd.oci.image.manifest.v1+json"
	ociIndex       = "application/vnd.oci.image.index.v1+json"
	dockerManifest = "application/vnd.docker.distribution.manifest.v2+json"
	dockerList     = "application/vnd.docker.distribution.manifest.list.v2+json"
	configType     = "application/vnd.oci.image.config.v1+json"
	layerType      = "application/vnd.oci.image.layer.v1.tar+gzip"
)

// descriptor writes one of the nth content.
func descriptor(mediaType string, n int) string {
	return fmt.Sprintf(`{"mediaType":%q,"digest":%q,"size":%d}`, mediaType, nth(n), n)
}

func nth(n int) digest.Digest { return digest.FromString(fmt.Sprint(n)) }

func wanted(mediaType string, n int) manifest.Descriptor {
	return manifest.Descriptor{MediaType: mediaType, Digest: nth(n), Size: int64(n)}
}

// image writes an image manifest with members added at its end.
func image(layers string, more string) string {
	return `{"schemaVersion":2,"config":` + descriptor(configType, 1) + `,"layers":[` + layers + `]` + more + `}`
}

func index(manifests string, more string) string {
	return `{"schemaVersion":2,"manifests":[` + manifests + `]` + more + `}`
}

func TestParse(t *testing.T) {
	config, layer := wanted(configType, 1), wanted(layerType, 2)
	annotations := json.RawMessage(`{"b":"2", "B":"1"}`)
	sha512 := "sha512:" + strings.Repeat("0", 128)
	tests := []struct {
		name, contentType, body string
		want                    manifest.Parsed
	}{
		{
			"image", ociManifest, image(descriptor(layerType, 2), `,"mediaType":"`+ociManifest+`"`),
			manifest.Parsed{MediaType: ociManifest, ContentType: ociManifest, ArtifactType: configType, Blobs: []manifest.Descriptor{config, layer}},
		},
		{
			"index", ociIndex, index(descriptor(ociManifest, 3)+","+descriptor(ociIndex, 4), ""),
			manifest.Parsed{MediaType: ociIndex, ContentType: ociIndex, Children: []manifest.Descriptor{wanted(ociManifest, 3), wanted(ociIndex, 4)}},
		},
		{
			"docker image", dockerManifest, image(descriptor(layerType, 2), ""),
			manifest.Parsed{MediaType: dockerManifest, ContentType: dockerManifest, ArtifactType: configType, Blobs: []manifest.Descriptor{config, layer}},
		},
		{
			"docker list", dockerList, index(descriptor(dockerManifest, 3), `,"mediaType":"`+dockerList+`"`),
			manifest.Parsed{MediaType: dockerList, ContentType: dockerList, Children: []manifest.Descriptor{wanted(dockerManifest, 3)}},
		},
		{
			"parameters and case of the header", "Application/vnd.oci.image.manifest.v1+JSON; charset=utf-8", image("", `,"mediaType":"`+ociManifest+`"`),
			manifest.Parsed{
				MediaType: ociManifest, ContentType: "Application/vnd.oci.image.manifest.v1+JSON; charset=utf-8",
				ArtifactType: configType, Blobs: []manifest.Descriptor{config},
			},
		},
		{
			"type from the body", "", image("", `,"mediaType":"`+dockerManifest+`"`),
			manifest.Parsed{MediaType: dockerManifest, ContentType: dockerManifest, ArtifactType: configType, Blobs: []manifest.Descriptor{config}},
		},
		{
			"image sniffed", "", image("", `,"mediaType":""`),
			manifest.Parsed{MediaType: ociManifest, ContentType: ociManifest, ArtifactType: configType, Blobs: []manifest.Descriptor{config}},
		},
		{
			"index sniffed", " ", index("", ""),
			manifest.Parsed{MediaType: ociIndex, ContentType: ociIndex},
		},
		{
			"nulls of Go", ociIndex, `{"schemaVersion":2,"manifests":null,"subject":null,"annotations":null,"artifactType":null}`,
			manifest.Parsed{MediaType: ociIndex, ContentType: ociIndex},
		},
		{
			"layers missing", ociManifest, `{"schemaVersion":2,"config":` + descriptor(configType, 1) + `}`,
			manifest.Parsed{MediaType: ociManifest, ContentType: ociManifest, ArtifactType: configType, Blobs: []manifest.Descriptor{config}},
		},
		{
			"artifact", ociManifest, image(descriptor(layerType, 2), `,"artifactType":"a/b","subject":`+descriptor(ociManifest, 9)+`,"annotations":`+string(annotations)),
			manifest.Parsed{
				MediaType: ociManifest, ContentType: ociManifest, ArtifactType: "a/b", Subject: nth(9),
				Annotations: annotations, Blobs: []manifest.Descriptor{config, layer},
			},
		},
		{
			"index with a subject", ociIndex, index("", `,"artifactType":"a/b","subject":`+descriptor(ociIndex, 9)+`,"annotations":{ }`),
			manifest.Parsed{MediaType: ociIndex, ContentType: ociIndex, ArtifactType: "a/b", Subject: nth(9)},
		},
		{
			"duplicate and foreign layers", dockerManifest, image(strings.Join([]string{
				descriptor(layerType, 2), descriptor(layerType, 2), descriptor(layerType, 1),
				descriptor("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", 5),
				descriptor("application/vnd.oci.image.layer.nondistributable.v1.tar+zstd", 6),
				descriptor("application/vnd.oci.image.layer.nondistributable.v1.tar+zstd", 6),
			}, ","), ""),
			manifest.Parsed{
				MediaType: dockerManifest, ContentType: dockerManifest, ArtifactType: configType, Blobs: []manifest.Descriptor{config, layer},
				Foreign: []manifest.Descriptor{
					wanted("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", 5),
					wanted("application/vnd.oci.image.layer.nondistributable.v1.tar+zstd", 6),
				},
			},
		},
		{
			"duplicate children", ociIndex, index(descriptor(ociManifest, 3)+","+descriptor(ociManifest, 3), ""),
			manifest.Parsed{MediaType: ociIndex, ContentType: ociIndex, Children: []manifest.Descriptor{wanted(ociManifest, 3)}},
		},
		{
			"escapes, space and unknown members", ociIndex, "\n{ \"schema\\u0056ersion\" : 2 ,\t\"x-y\":{\"a\":1,\"a\":[\"}\\\"\"]},\r\n\"manifests\": [ {\"digest\":\"" +
				sha512 + "\",\"size\":0 ,\"mediaType\":\"a\\/b\",\"platform\":{\"os\":\"linux\"},\"urls\":[\"https:\\/\\/x\"]} ] } \n",
			manifest.Parsed{MediaType: ociIndex, ContentType: ociIndex, Children: []manifest.Descriptor{{MediaType: "a/b", Digest: digest.Digest(sha512)}}},
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			test.want.Digest, test.want.Size = digest.FromString(test.body), int64(len(test.body))
			got, err := manifest.Parse(test.contentType, []byte(test.body), digests.SHA256)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestParseDigestsInTheAlgorithmAsked(t *testing.T) {
	body := []byte(index("", ""))
	got, err := manifest.Parse("", body, digests.SHA512)
	if err != nil || got.Digest != digest.SHA512.FromBytes(body) {
		t.Errorf("got %s, %v", got.Digest, err)
	}
}

func TestParseKeepsNoReferenceToTheBody(t *testing.T) {
	body := []byte(image("", `,"annotations":{"a":"b"}`))
	got, err := manifest.Parse(ociManifest, body, digests.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	clear(body)
	if string(got.Annotations) != `{"a":"b"}` || got.Blobs[0].MediaType != configType {
		t.Errorf("got %s, %v", got.Annotations, got.Blobs)
	}
}

func TestWhatTheReferrersListShows(t *testing.T) {
	body := []byte(image("", `,"artifactType":"a/b","annotations":{ "k": "v" }`))
	parsed, err := manifest.Parse(ociManifest, body, digests.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	if parsed.MediaType != ociManifest || parsed.Digest != digest.FromBytes(body) || parsed.Size != int64(len(body)) ||
		parsed.ArtifactType != "a/b" || string(parsed.Annotations) != `{ "k": "v" }` {
		t.Errorf("got %+v", parsed)
	}
	parsed, err = manifest.Parse(ociIndex, []byte(index("", "")), digests.SHA256)
	if err != nil || parsed.ArtifactType != "" || parsed.Annotations != nil {
		t.Errorf("an index without them has neither: %+v, %v", parsed, err)
	}
}

func TestLimits(t *testing.T) {
	layers := func(n int) string {
		list := make([]string, n)
		for i := range list {
			list[i] = descriptor(layerType, i+10)
		}
		return strings.Join(list, ",")
	}
	unknown := func(n int) string {
		var list strings.Builder
		for i := range n {
			fmt.Fprintf(&list, `,"x%d":0`, i)
		}
		return list.String()
	}
	padding := manifest.MaxSize - len(image("", `,"x":""`))
	tests := []struct {
		name, body string
		want       error
	}{
		{"largest", image("", `,"x":"`+strings.Repeat("a", padding)+`"`), nil},
		{"larger, for the caller sets the limit", image("", `,"x":"`+strings.Repeat("a", padding+1)+`"`), nil},
		{"most descriptors", image(layers(manifest.MaxDescriptors-1), ""), nil},
		{"too many descriptors", image(layers(manifest.MaxDescriptors), ""), ocierr.ManifestInvalid},
		{"deepest", image("", `,"x":`+strings.Repeat("[", manifest.MaxDepth-1)+strings.Repeat("]", manifest.MaxDepth-1)), nil},
		{"too deep", image("", `,"x":`+strings.Repeat("[", manifest.MaxDepth)+strings.Repeat("]", manifest.MaxDepth)), ocierr.ManifestInvalid},
		{"much too deep", strings.Repeat(`{"a":`, 100_000), ocierr.ManifestInvalid},
		{"most unknown members", image("", unknown(1000)), nil},
		{"too many unknown members", image("", unknown(1001)), ocierr.ManifestInvalid},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := manifest.Parse(ociManifest, []byte(test.body), digests.SHA256)
			if !errors.Is(err, test.want) {
				t.Errorf("got %v, want %v", err, test.want)
			}
			if err != nil && !cmp.Equal(got, manifest.Parsed{}) {
				t.Errorf("an error comes with %v", got)
			}
		})
	}
}
