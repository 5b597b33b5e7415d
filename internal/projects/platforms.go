package projects

import (
	"encoding/json"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

const (
	// maxIndex bounds the indexes that are read for a list, in bytes: a page has many. Those of images take a few
	// kilobytes.
	maxIndex = 64 << 10
	// maxPlatforms bounds how many platforms a list tells of one manifest.
	maxPlatforms = 64
	// unknownPlatform is what builders write on what runs nowhere, such as attestations.
	unknownPlatform = "unknown/unknown"
)

// platformsOf reads the platforms of an index from its content, each once, in the index's order: those of the manifest
// with the given digest, or of all if that is empty. What cannot be read has none.
func platformsOf(index []byte, digest string) []string {
	if len(index) == 0 || len(index) > maxIndex {
		return nil
	}
	var parsed ocispec.Index
	if json.Unmarshal(index, &parsed) != nil {
		return nil
	}
	var found []string
	seen := map[string]struct{}{}
	for i := range parsed.Manifests {
		m := &parsed.Manifests[i]
		if m.Platform == nil || digest != "" && string(m.Digest) != digest || len(found) == maxPlatforms {
			continue
		}
		name := platformName(m.Platform)
		if _, again := seen[name]; again || name == unknownPlatform || name == "" {
			continue
		}
		seen[name] = struct{}{}
		found = append(found, name)
	}
	return found
}

// platformName is os/architecture[/variant], as clients write it.
func platformName(p *ocispec.Platform) string {
	if p.OS == "" || p.Architecture == "" {
		return ""
	}
	parts := []string{p.OS, p.Architecture}
	if p.Variant != "" {
		parts = append(parts, p.Variant)
	}
	return strings.Join(parts, "/")
}
