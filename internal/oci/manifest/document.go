package manifest

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"unicode/utf8"
)

// document is the outermost object of a manifest.
type document struct{ known fields }

// readDocument checks the syntax of the whole body, so that everything behind
// it can rely on it, and takes the outermost object apart.
func readDocument(body []byte) (document, error) {
	if !utf8.Valid(body) {
		return document{}, errors.New("not valid UTF-8")
	}
	if !json.Valid(body) {
		return document{}, errors.New("not valid JSON, or data after it")
	}
	if depthOf(body) > MaxDepth {
		return document{}, fmt.Errorf("nested more than %d levels deep", MaxDepth)
	}
	w := walker{data: body}
	root := w.value()
	if !isObject(root) {
		return document{}, errors.New("not a JSON object")
	}
	known, err := readFields(root, documentNames)
	return document{known}, err
}

// raw gives a member as it stands, nil if it is not there.
func (d document) raw(name string) []byte { return d.known[slices.Index(documentNames, name)] }

// has tells whether a member is there, be it null.
func (d document) has(name string) bool { return d.raw(name) != nil }

// get gives a member that is there and not null.
func (d document) get(name string) ([]byte, bool) {
	raw := d.raw(name)
	return raw, raw != nil && !isNull(raw)
}

// text reads an optional member that is a short string.
func (d document) text(name string) (string, error) {
	raw, ok := d.get(name)
	if !ok {
		return "", nil
	}
	return readText(name, raw)
}

// descriptors reads an array; null stands for an empty one, as Go's nil slices
// do. Others already counts towards MaxDescriptors.
func (d document) descriptors(name string, others int) ([]Descriptor, error) {
	raw, ok := d.get(name)
	if !ok {
		return nil, nil
	}
	if !isArray(raw) {
		return nil, &problem{name, "is not an array"}
	}
	var list []Descriptor
	err := elements(raw, func(i int, value []byte) error {
		if i+others == MaxDescriptors {
			return &problem{name, fmt.Sprintf("has more than %d descriptors", MaxDescriptors)}
		}
		one, err := readDescriptor(value)
		if err != nil {
			return within(element(name, i), err)
		}
		list = append(list, one)
		return nil
	})
	return list, err
}
