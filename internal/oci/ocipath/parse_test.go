package ocipath_test

import (
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/opencontainers/go-digest"

	"github.com/berthregistry/berth/internal/oci/ocierr"
	"github.com/berthregistry/berth/internal/oci/ocipath"
)

var (
	sha256Hex    = strings.Repeat("0a", 32)
	sha256Digest = digest.Digest("sha256:" + sha256Hex)
	sha512Digest = digest.Digest("sha512:" + strings.Repeat("f9", 64))
	session      = uuid.MustParse("0198c5a4-7e1b-7c3d-8a9f-0123456789ab")
)

func tagged(segment, path, tag string) ocipath.Request {
	return ocipath.Request{Kind: ocipath.KindManifest, Segment: segment, Path: path, Reference: tag, Tag: tag}
}

func of(kind ocipath.Kind, segment, path string) ocipath.Request {
	return ocipath.Request{Kind: kind, Segment: segment, Path: path}
}

func withDigest(kind ocipath.Kind, segment, path string, d digest.Digest) ocipath.Request {
	return ocipath.Request{Kind: kind, Segment: segment, Path: path, Digest: d}
}

// canonical are paths and requests that turn into each other.
func canonical() map[string]ocipath.Request {
	upload := of(ocipath.KindUpload, "demo", "app/web")
	upload.SessionID = session
	byDigest := withDigest(ocipath.KindManifest, "demo", "", sha512Digest)
	byDigest.Reference = string(sha512Digest)
	nested := of(ocipath.KindUpload, "a", "blobs/uploads")
	nested.SessionID = session
	return map[string]ocipath.Request{
		"/v2/":                              {Kind: ocipath.KindPing},
		"/v2/_catalog":                      {Kind: ocipath.KindCatalog},
		"/v2/demo/manifests/1":              tagged("demo", "", "1"),
		"/v2/demo/app/web/manifests/latest": tagged("demo", "app/web", "latest"),
		"/v2/demo/manifests/" + string(sha512Digest):            byDigest,
		"/v2/demo/blobs/" + string(sha256Digest):                withDigest(ocipath.KindBlob, "demo", "", sha256Digest),
		"/v2/demo/app/blobs/" + string(sha512Digest):            withDigest(ocipath.KindBlob, "demo", "app", sha512Digest),
		"/v2/demo/referrers/" + string(sha256Digest):            withDigest(ocipath.KindReferrers, "demo", "", sha256Digest),
		"/v2/demo/tags/list":                                    of(ocipath.KindTags, "demo", ""),
		"/v2/demo/app/blobs/uploads/":                           of(ocipath.KindUploads, "demo", "app"),
		"/v2/demo/app/web/blobs/uploads/" + session.String():    upload,
		"/v2/" + session.String() + "/app/manifests/_a.b-C":     tagged(session.String(), "app", "_a.b-C"),
		"/v2/a.b_c__d---e/f/manifests/1":                        tagged("a.b_c__d---e", "f", "1"),
		"/v2/a/blobs/uploads/manifests/x":                       tagged("a", "blobs/uploads", "x"),
		"/v2/a/blobs/uploads/blobs/uploads/":                    of(ocipath.KindUploads, "a", "blobs/uploads"),
		"/v2/a/blobs/uploads/tags/list":                         of(ocipath.KindTags, "a", "blobs/uploads"),
		"/v2/a/blobs/uploads/blobs/" + string(sha256Digest):     withDigest(ocipath.KindBlob, "a", "blobs/uploads", sha256Digest),
		"/v2/a/blobs/uploads/blobs/uploads/" + session.String(): nested,
		"/v2/x/manifests/y/manifests/z":                         tagged("x", "manifests/y", "z"),
		"/v2/manifests/manifests/manifests":                     tagged("manifests", "", "manifests"),
		"/v2/manifests/manifests/manifests/manifests":           tagged("manifests", "manifests", "manifests"),
		"/v2/tags/list/tags/list":                               of(ocipath.KindTags, "tags", "list"),
		"/v2/x/manifests/tags/list":                             of(ocipath.KindTags, "x", "manifests"),
		"/v2/x/tags/manifests/list":                             tagged("x", "tags", "list"),
		"/v2/x/manifests/uploads":                               tagged("x", "", "uploads"),
		"/v2/x/blobs/manifests/uploads":                         tagged("x", "blobs", "uploads"),
		"/v2/x/manifests/blobs/uploads/":                        of(ocipath.KindUploads, "x", "manifests"),
		"/v2/blobs/blobs/uploads/":                              of(ocipath.KindUploads, "blobs", ""),
		"/v2/uploads/referrers/" + string(sha256Digest):         withDigest(ocipath.KindReferrers, "uploads", "", sha256Digest),
		"/v2/v2/manifests/v2":                                   tagged("v2", "", "v2"),
		"/v2/referrers/blobs/uploads/tags/manifests/_catalog":   tagged("referrers", "blobs/uploads/tags", "_catalog"),
	}
}

func TestParseAndString(t *testing.T) {
	for path, want := range canonical() {
		t.Run(path, func(t *testing.T) {
			got, err := ocipath.Parse(path)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
			if got.String() != path {
				t.Errorf("String gives %s", got)
			}
			if got.BadReference() || got.ReferenceError(http.MethodPut) != nil {
				t.Error("the reference is good")
			}
		})
	}
}

func TestParseTakesOtherSpellings(t *testing.T) {
	for path, want := range map[string]string{
		"/v2":                                  "/v2/",
		"/v2/demo/blobs/uploads":               "/v2/demo/blobs/uploads/",
		"/v2/demo/blobs/sha256%3A" + sha256Hex: "/v2/demo/blobs/" + string(sha256Digest),
		"/v2/demo/manifests/sha256%3a" + sha256Hex: "/v2/demo/manifests/" + string(sha256Digest),
		"/v2/demo/referrers/sha256%3A" + sha256Hex: "/v2/demo/referrers/" + string(sha256Digest),
	} {
		if got, err := ocipath.Parse(path); err != nil || got.String() != want {
			t.Errorf("%s: got %s, %v", path, got, err)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	long := strings.Repeat("a", 256)
	tests := []struct {
		path string
		want *ocierr.Error
	}{
		{"", ocierr.RouteUnknown},
		{"/", ocierr.RouteUnknown},
		{"/v1/", ocierr.RouteUnknown},
		{"/v2x", ocierr.RouteUnknown},
		{"v2/demo/manifests/x", ocierr.RouteUnknown},
		{"//v2/", ocierr.RouteUnknown},
		{"/v2//", ocierr.RouteUnknown},
		{"/v2/demo", ocierr.RouteUnknown},
		{"/v2/demo/", ocierr.RouteUnknown},
		{"/v2/demo/app", ocierr.RouteUnknown},
		{"/v2/_catalog/", ocierr.RouteUnknown},
		{"/v2/manifests/x", ocierr.RouteUnknown},
		{"/v2/tags/list", ocierr.RouteUnknown},
		{"/v2/blobs/uploads/", ocierr.RouteUnknown},
		{"/v2/blobs/uploads/" + session.String(), ocierr.RouteUnknown},
		{"/v2/demo/manifests/", ocierr.RouteUnknown},
		{"/v2/demo/manifests/x/", ocierr.RouteUnknown},
		{"/v2/demo/blobs/", ocierr.RouteUnknown},
		{"/v2/demo/tags/list/", ocierr.RouteUnknown},
		{"/v2/demo/tags/lists", ocierr.RouteUnknown},
		{"/v2/demo/tags", ocierr.RouteUnknown},
		{"/v2/demo/uploads/" + session.String(), ocierr.RouteUnknown},
		{"/v2/demo/blobs/uploads//", ocierr.RouteUnknown},
		{"/v2/demo/blobs/uploads/" + session.String() + "/", ocierr.RouteUnknown},
		{"/v2/demo%2Fmanifests%2Fx", ocierr.RouteUnknown},
		{"/v2/../v2/_catalog", ocierr.RouteUnknown},

		{"/v2//manifests/x", ocierr.NameInvalid},
		{"/v2//demo/manifests/x", ocierr.NameInvalid},
		{"/v2/demo//manifests/x", ocierr.NameInvalid},
		{"/v2/demo//app/tags/list", ocierr.NameInvalid},
		{"/v2/demo/blobs//uploads/" + session.String(), ocierr.RouteUnknown},
		{"/v2/Demo/manifests/x", ocierr.NameInvalid},
		{"/v2/demo/App/tags/list", ocierr.NameInvalid},
		{"/v2/_catalog/tags/list", ocierr.NameInvalid},
		{"/v2/demo/../other/manifests/x", ocierr.NameInvalid},
		{"/v2/demo/./manifests/x", ocierr.NameInvalid},
		{"/v2/demo/%2e%2e/manifests/x", ocierr.NameInvalid},
		{"/v2/demo%2Fapp/manifests/x", ocierr.NameInvalid},
		{"/v2/demo%2fapp/blobs/uploads/", ocierr.NameInvalid},
		{"/v2/demo%5Capp/manifests/x", ocierr.NameInvalid},
		{"/v2/d%65mo/manifests/x", ocierr.NameInvalid},
		{"/v2/demo%00/manifests/x", ocierr.NameInvalid},
		{"/v2/demo\x00/manifests/x", ocierr.NameInvalid},
		{"/v2/demo\napp/manifests/x", ocierr.NameInvalid},
		{"/v2/démo/manifests/x", ocierr.NameInvalid},
		{"/v2/demo%3Aapp/manifests/x", ocierr.NameInvalid},
		{"/v2/" + long + "/manifests/x", ocierr.NameInvalid},
		{"/v2/demo" + strings.Repeat("/a", 126) + "/manifests/x", ocierr.NameInvalid},

		{"/v2/demo/blobs/x", ocierr.DigestInvalid},
		{"/v2/demo/blobs/sha256:baddigeststring", ocierr.DigestInvalid},
		{"/v2/demo/blobs/md5:00", ocierr.DigestInvalid},
		{"/v2/demo/blobs/SHA256:" + sha256Hex, ocierr.DigestInvalid},
		{"/v2/demo/blobs/" + string(sha256Digest) + "%20", ocierr.DigestInvalid},
		{"/v2/demo/blobs/sha256%253A" + sha256Hex, ocierr.DigestInvalid},
		{"/v2/demo/referrers/x", ocierr.DigestInvalid},

		{"/v2/demo/blobs/uploads/x", ocierr.BlobUploadUnknown},
		{"/v2/demo/blobs/uploads/uploads", ocierr.BlobUploadUnknown},
		{"/v2/demo/blobs/uploads/..", ocierr.BlobUploadUnknown},
		{"/v2/demo/blobs/uploads/" + strings.ToUpper(session.String()), ocierr.BlobUploadUnknown},
		{"/v2/demo/blobs/uploads/{" + session.String() + "}", ocierr.BlobUploadUnknown},
		{"/v2/demo/blobs/uploads/urn:uuid:" + session.String(), ocierr.BlobUploadUnknown},
		{"/v2/demo/blobs/uploads/" + strings.ReplaceAll(session.String(), "-", ""), ocierr.BlobUploadUnknown},
	}
	for _, test := range tests {
		t.Run(test.path, func(t *testing.T) {
			got, err := ocipath.Parse(test.path)
			if !errors.Is(err, test.want) {
				t.Errorf("got %v, want %v", err, test.want)
			}
			if got != (ocipath.Request{}) {
				t.Errorf("an error comes with %v", got)
			}
		})
	}
}

func TestBadReferences(t *testing.T) {
	tests := map[string]*ocierr.Error{
		".INVALID_MANIFEST_NAME":        ocierr.ManifestInvalid,
		"..":                            ocierr.ManifestInvalid,
		"-x":                            ocierr.ManifestInvalid,
		"a%2Fb":                         ocierr.ManifestInvalid,
		"a%00":                          ocierr.ManifestInvalid,
		"%":                             ocierr.ManifestInvalid,
		strings.Repeat("a", 129):        ocierr.ManifestInvalid,
		"sha256:baddigeststring":        ocierr.DigestInvalid,
		"sha256%3Abaddigeststring":      ocierr.DigestInvalid,
		"sha384:00":                     ocierr.DigestInvalid,
		":":                             ocierr.DigestInvalid,
		"SHA256:" + sha256Hex:           ocierr.DigestInvalid,
		"sha256:" + sha256Hex + "%3A":   ocierr.DigestInvalid,
		"sha256%3A" + sha256Hex + "%2F": ocierr.ManifestInvalid,
	}
	for reference, put := range tests {
		t.Run(reference, func(t *testing.T) {
			got, err := ocipath.Parse("/v2/demo/manifests/" + reference)
			if err != nil || !got.BadReference() || got.Tag != "" || got.Digest != "" {
				t.Fatalf("got %#v, %v", got, err)
			}
			for _, method := range []string{http.MethodGet, http.MethodHead, http.MethodDelete} {
				if err := got.ReferenceError(method); !errors.Is(err, ocierr.ManifestUnknown) {
					t.Errorf("%s: got %v", method, err)
				}
			}
			if err := got.ReferenceError(http.MethodPut); !errors.Is(err, put) {
				t.Errorf("PUT: got %v, want %v", err, put)
			}
		})
	}
}
