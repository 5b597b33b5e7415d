package ocipath

import (
	"strings"

	"github.com/berthregistry/berth/internal/oci/ocierr"
)

const (
	// maxName bounds a full repository name in bytes (the implementers' note
	// of the section "Pulling manifests").
	maxName = 255
	// maxTag bounds a tag in bytes (section "Pulling manifests").
	maxTag = 128
)

// ParseName splits a full repository name into the project's segment and the
// path below it. Each component must match the grammar of the section "Pulling
// manifests", `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`. The error is a NameInvalid.
func ParseName(name string) (segment, path string, err error) {
	if len(name) > maxName {
		return "", "", ocierr.NameInvalid.With("repository name has %d bytes; %d are allowed", len(name), maxName)
	}
	for component := range strings.SplitSeq(name, "/") {
		if !validComponent(component) {
			return "", "", ocierr.NameInvalid.With("invalid repository name: component %.160q does not match %s",
				component, `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`)
		}
	}
	segment, path, _ = strings.Cut(name, "/")
	return segment, path, nil
}

// validComponent is the grammar without the cost of a regular expression: runs
// of letters and digits, with exactly one separator between two of them.
func validComponent(component string) bool {
	for {
		word := alphanumerics(component)
		if word == 0 {
			return false
		}
		if word == len(component) {
			return true
		}
		component = component[word:]
		gap := separator(component)
		if gap == 0 {
			return false
		}
		component = component[gap:]
	}
}

// alphanumerics counts the lower-case letters and digits at the start.
func alphanumerics(text string) int {
	n := 0
	for n < len(text) && isAlphanumeric(text[n]) {
		n++
	}
	return n
}

// separator counts the bytes of the separator at the start: a dot, one or two
// underscores, or any number of dashes.
func separator(text string) int {
	switch {
	case text[0] == '.':
		return 1
	case strings.HasPrefix(text, "__"):
		return 2
	case text[0] == '_':
		return 1
	}
	return len(text) - len(strings.TrimLeft(text, "-"))
}

func isAlphanumeric(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= '0' && c <= '9'
}

// ValidTag tells whether a text matches `[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}`
// (section "Pulling manifests").
func ValidTag(tag string) bool {
	if tag == "" || len(tag) > maxTag || tag[0] == '.' || tag[0] == '-' {
		return false
	}
	for i := range len(tag) {
		if !isTagByte(tag[i]) {
			return false
		}
	}
	return true
}

func isTagByte(c byte) bool {
	return isAlphanumeric(c) || c >= 'A' && c <= 'Z' || c == '.' || c == '_' || c == '-'
}
