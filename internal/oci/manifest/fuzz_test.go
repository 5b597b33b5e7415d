package manifest_test

import (
	"encoding/json"
	"testing"

	"github.com/opencontainers/go-digest"
	imagespec "github.com/opencontainers/image-spec/specs-go/v1"
	"pgregory.net/rapid"

	"github.com/berthregistry/berth/internal/oci/digests"
	"github.com/berthregistry/berth/internal/oci/manifest"
)

// union is what a lenient reader sees in any manifest.
type union struct {
	MediaType    string                 `json:"mediaType"`
	ArtifactType string                 `json:"artifactType"`
	Config       *imagespec.Descriptor  `json:"config"`
	Layers       []imagespec.Descriptor `json:"layers"`
	Manifests    []imagespec.Descriptor `json:"manifests"`
	Subject      *imagespec.Descriptor  `json:"subject"`
	Annotations  map[string]string      `json:"annotations"`
}

// content lists what a reader says must be there.
func (u union) content() map[digest.Digest]int64 {
	all := make(map[digest.Digest]int64)
	if u.Config != nil {
		all[u.Config.Digest] = u.Config.Size
	}
	for _, one := range append(u.Layers, u.Manifests...) {
		all[one.Digest] = one.Size
	}
	return all
}

// checkReading holds a Parsed against what encoding/json reads in the same
// bytes, which folds the case of keys and takes the last of duplicates.
func checkReading(t interface{ Fatalf(string, ...any) }, body []byte, parsed manifest.Parsed) {
	var other union
	if json.Unmarshal(body, &other) != nil {
		return // of a wrong type in fields that the registry does not read
	}
	got := make(map[digest.Digest]int64)
	for _, list := range [][]manifest.Descriptor{parsed.Blobs, parsed.Foreign, parsed.Children} {
		for _, one := range list {
			got[one.Digest] = one.Size
		}
	}
	want := other.content()
	for d, size := range want {
		if n, ok := got[d]; !ok || n != size {
			t.Fatalf("%s of %d bytes is not in %v", d, size, got)
		}
	}
	if len(got) != len(want) {
		t.Fatalf("got %v, want %v", got, want)
	}
	checkReferrer(t, other, parsed)
}

func checkReferrer(t interface{ Fatalf(string, ...any) }, other union, parsed manifest.Parsed) {
	if (other.Subject == nil) != (parsed.Subject == "") || (other.Subject != nil && other.Subject.Digest != parsed.Subject) {
		t.Fatalf("subject %s, want %v", parsed.Subject, other.Subject)
	}
	artifactType := other.ArtifactType
	if artifactType == "" && other.Config != nil {
		artifactType = other.Config.MediaType
	}
	if parsed.ArtifactType != artifactType || (other.MediaType != "" && parsed.MediaType != other.MediaType) {
		t.Fatalf("types %q and %q, want %q and %q", parsed.MediaType, parsed.ArtifactType, other.MediaType, artifactType)
	}
	var annotations map[string]string
	if parsed.Annotations != nil && json.Unmarshal(parsed.Annotations, &annotations) != nil {
		t.Fatalf("annotations %s", parsed.Annotations)
	}
	if len(annotations) != len(other.Annotations) {
		t.Fatalf("annotations %s, want %v", parsed.Annotations, other.Annotations)
	}
}

func FuzzParse(f *testing.F) {
	for _, body := range []string{
		image(descriptor(layerType, 2), `,"subject":`+descriptor(ociManifest, 3)+`,"annotations":{"a":"b"},"artifactType":"a/b"`),
		index(descriptor(ociManifest, 4), `,"mediaType":"`+ociIndex+`"`), image("", `,"Layers":[]`), image("", `,"x\n":[1e5,true,null,"\\\""]`), "{}", "",
	} {
		f.Add("", []byte(body))
		f.Add(ociManifest, []byte(body))
		f.Add(dockerList+"; a=b", []byte(body))
	}
	f.Fuzz(func(t *testing.T, contentType string, body []byte) {
		parsed, err := manifest.Parse(contentType, body, digests.SHA256)
		if err != nil {
			return
		}
		if len(contentType) > 0 && parsed.ContentType != contentType && parsed.ContentType != parsed.MediaType {
			t.Fatalf("content type %q became %q", contentType, parsed.ContentType)
		}
		checkReading(t, body, parsed)
	})
}

// descriptors draws ones whose size follows from their digest.
func descriptors(mediaTypes ...string) *rapid.Generator[imagespec.Descriptor] {
	return rapid.Custom(func(t *rapid.T) imagespec.Descriptor {
		n := rapid.IntRange(0, 20).Draw(t, "content")
		return imagespec.Descriptor{MediaType: rapid.SampledFrom(mediaTypes).Draw(t, "type"), Digest: nth(n), Size: int64(n)}
	})
}

func TestWhatGoWritesIsReadBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		annotations := rapid.MapOfN(rapid.String(), rapid.String(), 0, 4).Draw(t, "annotations")
		subject := rapid.Ptr(descriptors(ociManifest), true).Draw(t, "subject")
		var written any = imagespec.Manifest{
			Config: descriptors(configType).Draw(t, "config"), Subject: subject, Annotations: annotations, MediaType: ociManifest,
			Layers: rapid.SliceOfN(descriptors(layerType, "application/vnd.oci.image.layer.nondistributable.v1.tar"), 0, 5).Draw(t, "layers"),
		}
		contentType := ociManifest
		if rapid.Bool().Draw(t, "index") {
			contentType = ociIndex
			written = imagespec.Index{
				Manifests: rapid.SliceOfN(descriptors(ociManifest, ociIndex), 0, 5).Draw(t, "manifests"), Subject: subject, Annotations: annotations,
			}
		}
		body, err := json.MarshalIndent(versioned{written}, "", rapid.SampledFrom([]string{"", " ", "\t"}).Draw(t, "indent"))
		if err != nil {
			t.Fatal(err)
		}
		parsed, err := manifest.Parse(contentType, body, digests.SHA256)
		if err != nil {
			t.Fatalf("%v\n%s", err, body)
		}
		checkReading(t, body, parsed)
	})
}

// versioned sets the schema version, whose type image-spec embeds.
type versioned struct{ manifest any }

func (v versioned) MarshalJSON() ([]byte, error) {
	switch m := v.manifest.(type) {
	case imagespec.Manifest:
		m.SchemaVersion = 2
		return json.Marshal(m)
	case imagespec.Index:
		m.SchemaVersion = 2
		return json.Marshal(m)
	}
	return json.Marshal(v.manifest)
}
