package manifest

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
)

// readText reads a string that is stored and compared, such as a media type.
func readText(name string, raw []byte) (string, error) {
	if !isString(raw) {
		return "", &problem{name, "is not a string"}
	}
	text := unquote(raw)
	if len(text) > maxText {
		return "", &problem{name, fmt.Sprintf("has more than %d bytes", maxText)}
	}
	if strings.ContainsFunc(text, unicode.IsControl) {
		return "", &problem{name, "has control characters"}
	}
	return text, nil
}

// checkAnnotations wants an object of strings in which no key comes twice
// (OCI Image Specification, annotations.md, section "Rules").
func checkAnnotations(raw []byte) (empty bool, err error) {
	if !isObject(raw) {
		return false, errors.New("not an object")
	}
	seen := make(map[string]struct{})
	err = members(raw, func(rawKey, value []byte) error {
		key := unquote(rawKey)
		if _, ok := seen[key]; ok {
			return fmt.Errorf("duplicate key %q", key)
		}
		if !isString(value) {
			return fmt.Errorf("the value of %q is not a string", key)
		}
		seen[key] = struct{}{}
		return nil
	})
	return len(seen) == 0, err
}
