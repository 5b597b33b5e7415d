// Package digests is the strict allow-list of content digests that Berth
// serves: sha256 and sha512, the registered algorithms of the OCI Image
// Specification (descriptor.md, section "Digests"), in lower-case hex of the
// right length.
package digests

import (
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/berthregistry/berth/internal/oci/ocierr"
)

// Algo is a supported digest algorithm. The zero value is SHA256, the
// canonical one; values outside the constants behave like it.
type Algo uint8

// The supported algorithms (OCI Image Specification, descriptor.md, section
// "Registered algorithms").
const (
	SHA256 Algo = iota
	SHA512
)

// supported names the allow-list in messages.
const supported = "supported are sha256 and sha512"

// String gives the algorithm's registered name.
func (a Algo) String() string {
	if a == SHA512 {
		return "sha512"
	}
	return "sha256"
}

// hexLength is the length of an encoded digest.
func (a Algo) hexLength() int {
	if a == SHA512 {
		return 128
	}
	return 64
}

// Algorithm finds an algorithm by its registered name, as in the parameter
// digest-algorithm (OCI Distribution Specification, end-4c). The error is a
// DigestInvalid.
func Algorithm(name string) (Algo, error) {
	switch name {
	case "sha256":
		return SHA256, nil
	case "sha512":
		return SHA512, nil
	}
	return SHA256, ocierr.DigestInvalid.With("digest algorithm %.160q is unsupported: %s", name, supported)
}

// Of gives the algorithm of a digest that Parse has accepted.
func Of(d digest.Digest) Algo {
	if strings.HasPrefix(string(d), "sha512:") {
		return SHA512
	}
	return SHA256
}

// Parse reads a digest (OCI Image Specification, descriptor.md, section
// "Digests"). The error is a DigestInvalid.
func Parse(text string) (digest.Digest, error) {
	name, encoded, found := strings.Cut(text, ":")
	if !found {
		return "", ocierr.DigestInvalid.With("digest %.160q has not the form algorithm:encoded", text)
	}
	algo, err := Algorithm(name)
	if err != nil {
		return "", err
	}
	if len(encoded) != algo.hexLength() {
		return "", ocierr.DigestInvalid.With("%s digest has %d characters instead of %d", algo, len(encoded), algo.hexLength())
	}
	if !lowerHex(encoded) {
		return "", ocierr.DigestInvalid.With("%s digest is not lower-case hexadecimal: %q", algo, encoded)
	}
	return digest.Digest(text), nil
}

// hexDigit is a table because digits are random by nature, which makes the
// branches of comparisons unpredictable.
var hexDigit = [256]bool{
	'0': true, '1': true, '2': true, '3': true, '4': true, '5': true, '6': true, '7': true,
	'8': true, '9': true, 'a': true, 'b': true, 'c': true, 'd': true, 'e': true, 'f': true,
}

func lowerHex(text string) bool {
	for i := range len(text) {
		if !hexDigit[text[i]] {
			return false
		}
	}
	return true
}
