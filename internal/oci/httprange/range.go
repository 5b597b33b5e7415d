package httprange

import (
	"strconv"
	"strings"
)

// Canonical gives a Range header in the form in which http.ServeContent
// understands it, which is narrower than RFC 9110, section 14.1.2: positions
// beyond any number of bytes are those beyond the end of the content, and the
// last zero bytes of it cannot be had. With ok false the header does not
// count: its unit is another one, or it has anything but digits where digits
// belong (section 14.2), signs included. ranges is how many it asks for.
func Canonical(header string, size int64) (canonical string, ranges int, ok bool) {
	name, set, found := strings.Cut(header, "=")
	if !found || !strings.EqualFold(name, unit) {
		return "", 0, false
	}
	specs := strings.Split(set, ",")
	for i, spec := range specs {
		if spec = trimSpace(spec); spec == "" {
			specs[i] = "" // lists may have empty elements
			continue
		}
		if specs[i], ok = canonicalSpec(spec, size); !ok {
			return "", 0, false
		}
	}
	return unit + "=" + strings.Join(specs, ","), len(specs), true
}

func canonicalSpec(spec string, size int64) (string, bool) {
	first, last, found := strings.Cut(spec, "-")
	if first, last = trimSpace(first), trimSpace(last); !found || first == "" && last == "" {
		return "", false
	}
	from, fromOK := parseClamped(first, size)
	to, toOK := parseClamped(last, size)
	switch {
	case !fromOK && first != "", !toOK && last != "":
		return "", false
	case first == "" && to == 0:
		return strconv.FormatInt(size, 10) + "-", true
	case first == "":
		return "-" + strconv.FormatInt(to, 10), true
	case last == "":
		return strconv.FormatInt(from, 10) + "-", true
	}
	return strconv.FormatInt(from, 10) + "-" + strconv.FormatInt(to, 10), true
}

// SingleRange tells which bytes a Range header asks of content of that size,
// when it asks for exactly one range that can be served (RFC 9110, section
// 14.1.2; OCI Distribution Specification, section "Pulling blobs"). It is a
// hint for opening a reader that is bounded from the start; http.ServeContent
// decides and answers. Whenever ok is true and the request has no
// preconditions (If-Range and the like), ServeContent reads exactly this of
// the Canonical header. Several ranges, an empty one and whatever is malformed
// give false.
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
	n, ok := parseClamped(last, size)
	if !ok || n == 0 {
		return 0, 0, false
	}
	return size - n, n, true
}

// offsetRange is `<first>-<last>` or, to the end, `<first>-`.
func offsetRange(first, last string, size int64) (start, length int64, ok bool) {
	start, ok = parseClamped(first, size)
	if !ok || start >= size {
		return 0, 0, false
	}
	if last == "" {
		return start, size - start, true
	}
	end, ok := parseClamped(last, size)
	if !ok || end < start {
		return 0, 0, false
	}
	return start, min(end, size-1) - start + 1, true
}

// parseClamped reads digits; whatever is larger than limit, by any number of
// digits, is limit.
func parseClamped(text string, limit int64) (int64, bool) {
	if !digitsOnly(text) {
		return 0, false
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil { // of digits: out of range
		return limit, true
	}
	return min(n, limit), true
}

// trimSpace removes the white space that header fields allow.
func trimSpace(text string) string { return strings.Trim(text, " \t") }
