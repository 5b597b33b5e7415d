package manifest

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"
)

// maxUnknown bounds the members of one object that we do not know.
const maxUnknown = 1000

// fields are the raw values of an object's known members, by the index of
// their names; nil stands for a member that is not there.
type fields [9][]byte

// The members that we know, of a manifest and of a descriptor.
var (
	documentNames = []string{
		"schemaVersion", "mediaType", "artifactType", "config", "layers",
		"manifests", "subject", "annotations", "fsLayers",
	}
	descriptorNames = []string{
		"mediaType", "digest", "size", "urls", "annotations", "data",
		"platform", "artifactType",
	}
)

// readFields takes an object apart. It refuses duplicate members, members
// whose names differ only in case, and known names in another case, on which
// strict readers and Go's disagree.
func readFields(object []byte, names []string) (fields, error) {
	var known fields
	var unknown map[string]struct{}
	err := members(object, func(key, value []byte) error {
		if at := find(names, key); at >= 0 {
			if known[at] != nil {
				return fmt.Errorf("duplicate key %q", names[at])
			}
			known[at] = value
			return nil
		}
		if unknown == nil {
			unknown = make(map[string]struct{})
		}
		return addUnknown(unknown, names, unquote(key))
	})
	return known, err
}

// find looks a raw key up. Keys with escapes are rare enough to unquote.
func find(names []string, key []byte) int {
	if slices.Contains(key, '\\') {
		return slices.Index(names, unquote(key))
	}
	for i, name := range names {
		if string(key[1:len(key)-1]) == name {
			return i
		}
	}
	return -1
}

func addUnknown(unknown map[string]struct{}, names []string, key string) error {
	for _, name := range names {
		if strings.EqualFold(name, key) {
			return fmt.Errorf("key %q must be spelled %q", key, name)
		}
	}
	folded := fold(key)
	if _, ok := unknown[folded]; ok {
		return fmt.Errorf("duplicate key %q", key)
	}
	if len(unknown) == maxUnknown {
		return fmt.Errorf("more than %d unknown keys in one object", maxUnknown)
	}
	unknown[folded] = struct{}{}
	return nil
}

// fold maps all spellings that strings.EqualFold takes for equal, which are
// those of encoding/json too, to one.
func fold(key string) string {
	return strings.Map(func(r rune) rune {
		for next := unicode.SimpleFold(r); ; next = unicode.SimpleFold(next) {
			if next <= r {
				return next
			}
		}
	}, key)
}

// problem is an error at a place in the document.
type problem struct{ path, reason string }

// Error gives the place and what is wrong there.
func (p *problem) Error() string { return p.path + " " + p.reason }

// within adds an outer step to the place of an error.
func within(step string, err error) error {
	if inner, ok := errors.AsType[*problem](err); ok {
		return &problem{step + "." + inner.path, inner.reason}
	}
	return fmt.Errorf("%s: %w", step, err)
}

// element is the step into an array.
func element(name string, index int) string { return fmt.Sprintf("%s[%d]", name, index) }
