package ocipath_test

import (
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/opencontainers/go-digest"
	"pgregory.net/rapid"

	"github.com/berthregistry/berth/internal/oci/ocipath"
)

// The expressions of the specification, section "Pulling manifests".
var (
	specName = regexp.MustCompile(`^[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(\/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*$`)
	specTag  = regexp.MustCompile(`^[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}$`)
)

func legalName(name string) bool { return len(name) <= 255 && specName.MatchString(name) }

// components mixes ordinary ones with the words of the endpoints.
func components() *rapid.Generator[string] {
	return rapid.OneOf(
		rapid.SampledFrom([]string{"blobs", "uploads", "manifests", "tags", "list", "referrers", "v2"}),
		rapid.StringMatching(`[a-z0-9]{1,4}((\.|_|__|-{1,3})[a-z0-9]{1,4}){0,2}`),
	)
}

func requests() *rapid.Generator[ocipath.Request] {
	return rapid.Custom(func(t *rapid.T) ocipath.Request {
		request := ocipath.Request{Kind: ocipath.Kind(rapid.IntRange(int(ocipath.KindPing), int(ocipath.KindReferrers)).Draw(t, "kind"))}
		if request.Kind == ocipath.KindPing || request.Kind == ocipath.KindCatalog {
			return request
		}
		request.Segment = components().Draw(t, "segment")
		request.Path = strings.Join(rapid.SliceOfN(components(), 0, 5).Draw(t, "path"), "/")
		target(t, &request)
		return request
	})
}

// target adds what the kind of request wants behind the name.
func target(t *rapid.T, request *ocipath.Request) {
	d := digest.SHA256.FromBytes(rapid.SliceOf(rapid.Byte()).Draw(t, "content"))
	switch request.Kind {
	case ocipath.KindBlob, ocipath.KindReferrers:
		request.Digest = d
	case ocipath.KindUpload:
		request.SessionID = uuid.UUID(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "session"))
	case ocipath.KindManifest:
		if rapid.Bool().Draw(t, "by digest") {
			request.Digest, request.Reference = d, string(d)
			return
		}
		request.Tag = rapid.OneOf(components(), rapid.StringMatching(specTag.String())).Draw(t, "tag")
		request.Reference = request.Tag
	}
}

func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		fits := func(r ocipath.Request) bool { return r.Kind <= ocipath.KindCatalog || legalName(r.Name()) } // names may come out too long
		want := requests().Filter(fits).Draw(t, "request")
		got, err := ocipath.Parse((&url.URL{Path: want.String()}).EscapedPath())
		if err != nil || got != want {
			t.Fatalf("%s: got %#v, %v", want, got, err)
		}
	})
}

func TestNamesMatchTheSpecification(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		checkName(t, rapid.StringMatching(`[a-b0._/A-]{0,12}`).Draw(t, "name"))
		checkName(t, strings.Repeat(rapid.StringMatching(`[a-b]{1,3}[/.]`).Draw(t, "part"), rapid.IntRange(0, 140).Draw(t, "times"))+"a")
		tag := rapid.StringMatching(`[a-b0._A-]{0,3}[a-z.+é]{0,130}`).Draw(t, "tag")
		if ocipath.ValidTag(tag) != specTag.MatchString(tag) {
			t.Fatalf("tag %q", tag)
		}
	})
}

type fataler interface{ Fatalf(string, ...any) }

func checkName(t fataler, name string) {
	segment, path, err := ocipath.ParseName(name)
	if (err == nil) != legalName(name) {
		t.Fatalf("%q: %v", name, err)
	}
	if got := (ocipath.Request{Segment: segment, Path: path}).Name(); err == nil && got != name {
		t.Fatalf("%q became %q", name, got)
	}
}

func FuzzParse(f *testing.F) {
	for path := range canonical() {
		f.Add(path)
	}
	f.Add("/v2/demo/manifests/.INVALID_MANIFEST_NAME")
	f.Add("/v2/demo%2Fapp/blobs/sha256%3A" + sha256Hex)
	f.Fuzz(func(t *testing.T, path string) {
		got, err := ocipath.Parse(path)
		if err != nil {
			return
		}
		if name := got.Name(); name != "" && !legalName(name) {
			t.Fatalf("%q: illegal name %q", path, name)
		}
		again, err := ocipath.Parse(got.String())
		if err != nil || again != got {
			t.Fatalf("%q: %#v became %#v, %v", path, got, again, err)
		}
	})
}

func FuzzParseName(f *testing.F) {
	for _, name := range []string{"a", "a/b", "a__b", "a---b.c_d", "a___b", "a/", "A", "a..b"} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) { checkName(t, name) })
}

func BenchmarkParse(b *testing.B) {
	for name, path := range map[string]string{
		"tag":    "/v2/demo/app/web/manifests/latest",
		"blob":   "/v2/demo/app/web/blobs/" + string(sha256Digest),
		"upload": "/v2/demo/app/web/blobs/uploads/" + session.String(),
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := ocipath.Parse(path); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
