package manifest

import (
	"bytes"
	"encoding/json"
)

// walker steps through JSON that json.Valid has accepted, which is why it
// checks no syntax. It hands out raw values without copying, and keys exactly
// as they are: encoding/json itself folds their case and forgets duplicates.
type walker struct {
	data []byte
	pos  int
}

// members calls visit for each member of an object with the raw key and value.
func members(object []byte, visit func(key, value []byte) error) error {
	w := walker{data: object, pos: 1}
	for w.more() {
		key := w.value()
		w.space()
		w.pos++ // the colon
		if err := visit(key, w.value()); err != nil {
			return err
		}
	}
	return nil
}

// elements calls visit for each element of an array with its raw value.
func elements(array []byte, visit func(index int, value []byte) error) error {
	w := walker{data: array, pos: 1}
	for i := 0; w.more(); i++ {
		if err := visit(i, w.value()); err != nil {
			return err
		}
	}
	return nil
}

// more steps over a comma and tells whether another value follows before the
// closing bracket.
func (w *walker) more() bool {
	w.space()
	if w.data[w.pos] == ',' {
		w.pos++
		w.space()
	}
	return w.data[w.pos] != '}' && w.data[w.pos] != ']'
}

func (w *walker) space() {
	for w.pos < len(w.data) && isSpace(w.data[w.pos]) {
		w.pos++
	}
}

// value steps over the next value and gives it without the space around it.
func (w *walker) value() []byte {
	w.space()
	start := w.pos
	switch w.data[w.pos] {
	case '"':
		w.text()
	case '{', '[':
		w.nested()
	default:
		w.literal()
	}
	return w.data[start:w.pos]
}

// text steps over a string.
func (w *walker) text() {
	for w.pos++; w.data[w.pos] != '"'; w.pos++ {
		if w.data[w.pos] == '\\' {
			w.pos++
		}
	}
	w.pos++
}

// nested steps over an object or array and all that is in it.
func (w *walker) nested() {
	for depth := 0; ; {
		switch w.data[w.pos] {
		case '"':
			w.text()
			continue
		case '{', '[':
			depth++
		case '}', ']':
			depth--
		}
		w.pos++
		if depth == 0 {
			return
		}
	}
}

// literal steps over a number, true, false or null.
func (w *walker) literal() {
	for w.pos < len(w.data) && !isSpace(w.data[w.pos]) && bytes.IndexByte([]byte(",]}"), w.data[w.pos]) < 0 {
		w.pos++
	}
}

// depthOf counts how deep the brackets of a document nest.
func depthOf(data []byte) int {
	depth, deepest := 0, 0
	for w := (walker{data: data}); w.pos < len(data); {
		switch data[w.pos] {
		case '"':
			w.text()
			continue
		case '{', '[':
			depth++
			deepest = max(deepest, depth)
		case '}', ']':
			depth--
		}
		w.pos++
	}
	return deepest
}

// unquote gives the text of a raw string.
func unquote(raw []byte) string {
	if bytes.IndexByte(raw, '\\') < 0 {
		return string(raw[1 : len(raw)-1])
	}
	var text string
	_ = json.Unmarshal(raw, &text) // valid already
	return text
}

func isSpace(c byte) bool { return c == ' ' || c == '\n' || c == '\r' || c == '\t' }

func isNull(raw []byte) bool   { return raw[0] == 'n' }
func isString(raw []byte) bool { return raw[0] == '"' }
func isObject(raw []byte) bool { return raw[0] == '{' }
func isArray(raw []byte) bool  { return raw[0] == '[' }
