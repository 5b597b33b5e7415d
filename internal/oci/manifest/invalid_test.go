package manifest_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/berthregistry/berth/internal/oci/digests"
	"github.com/berthregistry/berth/internal/oci/manifest"
	"github.com/berthregistry/berth/internal/oci/ocierr"
)

// invalid is a manifest that is refused, and what the message must say.
type invalid struct{ name, contentType, body, says string }

func (i invalid) check(t *testing.T) {
	got, err := manifest.Parse(i.contentType, []byte(i.body), digests.SHA256)
	if !errors.Is(err, ocierr.ManifestInvalid) || !strings.Contains(err.Error(), i.says) {
		t.Errorf("got %v; want a ManifestInvalid that says %q", err, i.says)
	}
	if !cmp.Equal(got, manifest.Parsed{}) {
		t.Errorf("an error comes with %v", got)
	}
}

func TestParseRefusesTypes(t *testing.T) {
	for _, test := range []invalid{
		{"unknown", "application/json", image("", ""), `unsupported media type "application/json"`},
		{"artifact manifest", "application/vnd.oci.artifact.manifest.v1+json", image("", ""), "artifact.manifest"},
		{"schema 1", "application/vnd.docker.distribution.manifest.v1+prettyjws", `{"schemaVersion":1}`, "manifest.v1+prettyjws"},
		{"schema 1 in disguise", ociManifest, `{"schemaVersion":1,"fsLayers":[]}`, "Docker schema 1"},
		{"schema 1 fields", ociManifest, image("", `,"fsLayers":[]`), "fsLayers is ambiguous"},
		{"unknown in the body", "", image("", `,"mediaType":"a/b"`), `"a/b"`},
		{"they differ", ociManifest, image("", `,"mediaType":"`+dockerManifest+`"`), "differs from mediaType"},
		{"kinds differ", ociIndex, image("", `,"mediaType":"`+ociManifest+`"`), "differs from mediaType"},
		{"case in the body", "", image("", `,"mediaType":"`+strings.ToUpper(ociManifest)+`"`), "unsupported media type"},
		{"no string", ociManifest, image("", `,"mediaType":1`), "mediaType is not a string"},
		{"nothing to sniff", "", `{"schemaVersion":2}`, `unsupported media type ""`},
		{"only parameters", "; charset=utf-8", image("", ""), "names no type"},
		{"control characters", ociManifest + ";\x00", image("", ""), "not printable ASCII"},
		{"new line", ociManifest + "\r\nX: y", image("", ""), "not printable ASCII"},
		{"not ASCII", ociManifest + ";é", image("", ""), "not printable ASCII"},
		{"long", ociManifest + ";" + strings.Repeat("a", 255), image("", ""), "more than 255 bytes"},
		{"two headers", ociManifest + ", " + ociIndex, image("", ""), "unsupported media type"},
		{"an index as an image", ociManifest, index("", ""), "config is missing"},
		{"an image as an index", ociIndex, image("", ""), "manifests is missing"},
		{"both, as an image", ociManifest, image("", `,"manifests":[]`), "manifests is ambiguous"},
		{"both, as an index", ociIndex, index("", `,"layers":[]`), "layers is ambiguous"},
		{"both, null", ociIndex, index("", `,"config":null`), "config is ambiguous"},
		{"both, sniffed", "", image("", `,"manifests":[]`), "ambiguous"},
		{"no version", ociManifest, `{"config":{}}`, "schemaVersion is missing"},
		{"version 3", ociManifest, `{"schemaVersion":3}`, "schemaVersion is not 2"},
		{"version text", ociManifest, `{"schemaVersion":"2"}`, "schemaVersion is not 2"},
		{"version 2.0", ociManifest, `{"schemaVersion":2.0}`, "schemaVersion is not 2"},
	} {
		t.Run(test.name, test.check)
	}
}

func TestParseRefusesJSON(t *testing.T) {
	for _, test := range []invalid{
		{"empty", ociManifest, "", "not valid JSON"},
		{"space", ociManifest, " \n", "not valid JSON"},
		{"cut", ociManifest, image("", "")[:50], "not valid JSON"},
		{"trailing object", ociManifest, image("", "") + "{}", "data after it"},
		{"trailing text", ociManifest, image("", "") + "x", "data after it"},
		{"trailing NUL", ociManifest, image("", "") + "\x00", "data after it"},
		{"byte order mark", ociManifest, "\ufeff" + image("", ""), "not valid JSON"},
		{"comment", ociManifest, "//\n" + image("", ""), "not valid JSON"},
		{"array", ociManifest, "[" + image("", "") + "]", "not a JSON object"},
		{"null", ociManifest, "null", "not a JSON object"},
		{"number", ociManifest, "2", "not a JSON object"},
		{"UTF-8", ociManifest, image("", ",\"x\":\"\xff\""), "UTF-8"},
		{"UTF-8 in a key", ociManifest, image("", ",\"\xc0\xaf\":1"), "UTF-8"},
		{"UTF-16", ociManifest, "\xff\xfe{\x00}\x00", "UTF-8"},
		{"duplicate", ociManifest, image("", `,"layers":[]`), `duplicate key "layers"`},
		{"duplicate null", ociManifest, image("", `,"subject":null,"subject":null`), `duplicate key "subject"`},
		{"duplicate by escape", ociManifest, image("", `,"\u006cayers":[]`), `duplicate key "layers"`},
		{"other case", ociManifest, image("", `,"Subject":null`), `must be spelled "subject"`},
		{"other case first", ociManifest, `{"Layers":[],` + image("", "")[1:], `must be spelled "layers"`},
		{"long s", ociManifest, image("", `,"layerſ":[]`), `must be spelled "layers"`},
		{"unknown duplicate", ociManifest, image("", `,"x":1,"x":2`), `duplicate key "x"`},
		{"unknown in two cases", ociManifest, image("", `,"key":1,"\u212aEY":2`), "duplicate key"},
		{"unknown escaped", ociManifest, image("", `,"a\"b":1,"a\u0022B":2`), "duplicate key"},
		{"duplicate in a descriptor", ociManifest, image(`{"digest":"x","digest":"y"}`, ""), `layers[0]: duplicate key "digest"`},
		{"other case in a descriptor", ociManifest, image(`{"Digest":"x"}`, ""), `layers[0]: key "Digest" must be spelled "digest"`},
		{"duplicate in the subject", ociManifest, image("", `,"subject":{"size":1,"size":2}`), `subject: duplicate key "size"`},
		{"duplicate annotation", ociManifest, image("", `,"annotations":{"a":"1","\u0061":"2"}`), `annotations: duplicate key "a"`},
	} {
		t.Run(test.name, test.check)
	}
}

func TestParseRefusesFields(t *testing.T) {
	good := descriptor(layerType, 2)
	digestIs := func(text string) string { return `{"size":1,"digest":"` + text + `"}` }
	sizeIs := func(text string) string { return `{"digest":"` + nth(1).String() + `","size":` + text + `}` }
	for _, test := range []invalid{
		{"config null", ociManifest, `{"schemaVersion":2,"config":null}`, "config: not a descriptor"},
		{"config empty", ociManifest, `{"schemaVersion":2,"config":{}}`, "config.digest is missing"},
		{"config text", ociManifest, `{"schemaVersion":2,"config":"x"}`, "config: not a descriptor"},
		{"layers object", ociManifest, `{"schemaVersion":2,"config":` + good + `,"layers":{}}`, "layers is not an array"},
		{"layer null", ociManifest, image(good+",null", ""), "layers[1]: not a descriptor"},
		{"layer array", ociManifest, image("[]", ""), "layers[0]: not a descriptor"},
		{"child", ociIndex, index(good+","+digestIs("x"), ""), "manifests[1].digest is invalid"},
		{"digest missing", ociManifest, image(`{"size":1}`, ""), "layers[0].digest is missing"},
		{"digest null", ociManifest, image(`{"size":1,"digest":null}`, ""), "layers[0].digest is missing"},
		{"digest number", ociManifest, image(`{"size":1,"digest":1}`, ""), "layers[0].digest is missing"},
		{"digest text", ociManifest, image(digestIs("x"), ""), "layers[0].digest is invalid"},
		{"digest algorithm", ociManifest, image(digestIs("md5:00"), ""), "supported are sha256 and sha512"},
		{"digest path", ociManifest, image(digestIs("sha256:../../"+strings.Repeat("0", 58)), ""), "lower-case hexadecimal"},
		{"size missing", ociManifest, image(`{"digest":"`+nth(1).String()+`"}`, ""), "layers[0].size is missing"},
		{"size null", ociManifest, image(sizeIs("null"), ""), "layers[0].size is not a size"},
		{"size negative", ociManifest, image(sizeIs("-1"), ""), "layers[0].size is not a size"},
		{"size minus zero", ociManifest, image(sizeIs("-0"), ""), "layers[0].size is not a size"},
		{"size float", ociManifest, image(sizeIs("1.0"), ""), "layers[0].size is not a size"},
		{"size exponent", ociManifest, image(sizeIs("1e3"), ""), "layers[0].size is not a size"},
		{"size text", ociManifest, image(sizeIs(`"1"`), ""), "layers[0].size is not a size"},
		{"size overflow", ociManifest, image(sizeIs("9223372036854775808"), ""), "layers[0].size is not a size"},
		{"sizes differ", ociManifest, image(good+","+strings.Replace(good, `"size":2`, `"size":3`, 1), ""), "layers[1].size is 3, and 2 elsewhere"},
		{"sizes of config and layer differ", ociManifest, image(sizeIs("7"), ""), "layers[0].size is 7, and 1 elsewhere"},
		{"sizes of children differ", ociIndex, index(good+","+strings.Replace(good, `"size":2`, `"size":3`, 1), ""), "manifests[1].size"},
		{"media type number", ociManifest, image(strings.Replace(good, `"`+layerType+`"`, "1", 1), ""), "layers[0].mediaType is not a string"},
		{"media type control", ociManifest, image(strings.Replace(good, layerType, `a\u0000`, 1), ""), "layers[0].mediaType has control"},
		{"media type long", ociManifest, image(strings.Replace(good, layerType, strings.Repeat("a", 256), 1), ""), "more than 255 bytes"},
		{"artifact type", ociManifest, image("", `,"artifactType":[]`), "artifactType is not a string"},
		{"artifact type control", ociManifest, image("", `,"artifactType":"a\nb"`), "artifactType has control"},
		{"subject text", ociManifest, image("", `,"subject":"x"`), "subject: not a descriptor"},
		{"subject empty", ociManifest, image("", `,"subject":{}`), "subject.digest is missing"},
		{"subject digest", ociIndex, index("", `,"subject":`+digestIs("sha256:x")), "subject.digest is invalid"},
		{"annotations array", ociManifest, image("", `,"annotations":[]`), "annotations: not an object"},
		{"annotation number", ociManifest, image("", `,"annotations":{"a":1}`), `annotations: the value of "a" is not a string`},
	} {
		t.Run(test.name, test.check)
	}
}
