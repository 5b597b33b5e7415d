package digests_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/berthregistry/berth/internal/oci/digests"
	"github.com/berthregistry/berth/internal/oci/ocierr"
)

var (
	hex64  = strings.Repeat("0a", 32)
	hex128 = strings.Repeat("f9", 64)
)

func TestParse(t *testing.T) {
	for _, text := range []string{"sha256:" + hex64, "sha512:" + hex128} {
		if d, err := digests.Parse(text); err != nil || string(d) != text {
			t.Errorf("%s: got %s, %v", text, d, err)
		}
	}
	tests := map[string]string{
		"empty":           "",
		"no colon":        "sha256" + hex64,
		"no encoded":      "sha256:",
		"no algorithm":    ":" + hex64,
		"upper case":      "sha256:" + strings.ToUpper(hex64),
		"upper algorithm": "SHA256:" + hex64,
		"short":           "sha256:" + hex64[1:],
		"long":            "sha256:" + hex64 + "0",
		"wrong length":    "sha512:" + hex64,
		"not hex":         "sha256:" + hex64[1:] + "g",
		"second colon":    "sha256:" + hex64[1:] + ":",
		"space":           " sha256:" + hex64,
		"new line":        "sha256:" + hex64[1:] + "\n",
		"conformance":     "sha256:baddigeststring",
		"sha384":          "sha384:" + strings.Repeat("0", 96),
		"md5":             "md5:" + strings.Repeat("0", 32),
		"huge":            strings.Repeat("sha256:", 10_000),
	}
	for name, text := range tests {
		t.Run(name, func(t *testing.T) {
			if d, err := digests.Parse(text); !errors.Is(err, ocierr.DigestInvalid) || d != "" {
				t.Errorf("got %s, %v", d, err)
			}
		})
	}
}

func TestAlgorithm(t *testing.T) {
	for _, algo := range []digests.Algo{digests.SHA256, digests.SHA512} {
		got, err := digests.Algorithm(algo.String())
		if err != nil || got != algo {
			t.Errorf("%s: got %s, %v", algo, got, err)
		}
		if of := digests.Of(digests.Sum(algo, nil)); of != algo {
			t.Errorf("%s: Of gives %s", algo, of)
		}
	}
	for _, name := range []string{"", "sha384", "SHA256", "sha256 ", "blake3", "md5"} {
		_, err := digests.Algorithm(name)
		if !errors.Is(err, ocierr.DigestInvalid) || !strings.Contains(err.Error(), "supported are sha256 and sha512") {
			t.Errorf("%q: got %v", name, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{"sha256:" + hex64, "sha512:" + hex128, "sha256:", "md5:00", "", "sha256:" + strings.ToUpper(hex64)} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		d, err := digests.Parse(text)
		reference, referenceErr := digest.Parse(text)
		allowed := referenceErr == nil && (reference.Algorithm() == digest.SHA256 || reference.Algorithm() == digest.SHA512)
		if allowed != (err == nil) {
			t.Fatalf("%q: %v, go-digest says %v", text, err, referenceErr)
		}
		if err == nil && string(d) != text {
			t.Fatalf("%q became %q", text, d)
		}
	})
}
