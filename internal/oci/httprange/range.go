package httprange

import "strings"

// SingleRange tells which bytes a Range header asks of content of that size,
// when it asks for exactly one range that can be served (RFC 9110, section
// 14.1.2; OCI Distribution Specification, section "Pulling blobs"). It is a
// hint for opening a reader that is bounded from the start; http.ServeContent
// decides and answers. Whenever ok is true and the request has no
// preconditions (If-Range and the like), ServeContent reads exactly this.
// Several ranges, an empty one and whatever is malformed give false.
func SingleRange(header string, size int64) (start, length int64, ok bool) {
	spec, found := strings.CutPrefix(header, unit+"=")
	if !found || size <= 0 {
		return 0, 0, false
	}
	first, last, found := strings.Cut(trimSpace(spec), "-")
	if !found {
		return 0, 0, false
	}
	first, last = trimSpace(first), trimSpace(last)
	if first == "" {
		return suffixRange(last, size)
	}
	return offsetRange(first, last, size)
}

// suffixRange is `-<n>`: the last n bytes.
func suffixRange(last string, size int64) (start, length int64, ok bool) {
	n, ok := parseDigits(last)
	if !ok || n == 0 {
		return 0, 0, false
	}
	length = min(n, size)
	return size - length, length, true
}

// offsetRange is `<first>-<last>` or, to the end, `<first>-`.
func offsetRange(first, last string, size int64) (start, length int64, ok bool) {
	start, ok = parseDigits(first)
	if !ok || start >= size {
		return 0, 0, false
	}
	if last == "" {
		return start, size - start, true
	}
	end, ok := parseDigits(last)
	if !ok || end < start {
		return 0, 0, false
	}
	return start, min(end, size-1) - start + 1, true
}

// trimSpace removes the white space that header fields allow.
func trimSpace(text string) string { return strings.Trim(text, " \t") }
