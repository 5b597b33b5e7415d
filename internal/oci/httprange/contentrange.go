// Package httprange reads and writes the three range headers of the OCI plane:
// Content-Range of upload requests, Range of upload answers, and Range of blob
// requests.
package httprange

import (
	"errors"
	"math"
	"strconv"
	"strings"
)

// ErrContentRange is returned for every Content-Range that cannot be used; the
// answer to it is 416.
var ErrContentRange = errors.New("httprange: malformed Content-Range")

// unit is the only range unit there is (RFC 9110, section 14.1.2).
const unit = "bytes"

// ContentRange is a chunk's place in a blob, both ends inclusive.
type ContentRange struct {
	Start, End int64
}

// Length is the number of bytes in the range.
func (c ContentRange) Length() int64 { return c.End - c.Start + 1 }

// String gives the form that the specification asks of clients.
func (c ContentRange) String() string {
	return strconv.FormatInt(c.Start, 10) + "-" + strconv.FormatInt(c.End, 10)
}

// ParseContentRange reads the Content-Range of an upload request. It takes the
// form of the OCI Distribution Specification, section "Pushing a blob in
// chunks" (`0-99`), that of RFC 9110, section 14.4 (`bytes 0-99/200`,
// `bytes 0-99/*`), and the mixture that some clients send (`bytes=0-99`).
// The error is ErrContentRange.
func ParseContentRange(header string) (ContentRange, error) {
	text, size := header, int64(math.MaxInt64)
	if rest, ok := cutUnit(header, ' '); ok {
		text, size = cutSize(rest)
	} else if rest, ok := cutUnit(header, '='); ok {
		text = rest
	}
	first, last, found := strings.Cut(text, "-")
	start, startOK := parseOffset(first)
	end, endOK := parseOffset(last)
	if !found || !startOK || !endOK || end < start || end >= size {
		return ContentRange{}, ErrContentRange
	}
	return ContentRange{Start: start, End: end}, nil
}

// cutUnit removes the unit, whose case does not matter, and its separator.
func cutUnit(header string, separator byte) (rest string, ok bool) {
	if len(header) <= len(unit) || header[len(unit)] != separator {
		return "", false
	}
	return header[len(unit)+1:], strings.EqualFold(header[:len(unit)], unit)
}

// cutSize takes the complete length off; a missing or malformed one leaves a
// size that no range fits in.
func cutSize(text string) (rest string, size int64) {
	rest, length, _ := strings.Cut(text, "/")
	if length == "*" {
		return rest, math.MaxInt64
	}
	size, _ = parseDigits(length) // zero if malformed
	return rest, size
}

// parseOffset takes digits only, and leaves room for one byte more.
func parseOffset(text string) (int64, bool) {
	n, ok := parseDigits(text)
	return n, ok && n < math.MaxInt64
}

// parseDigits is stricter than strconv, which takes signs.
func parseDigits(text string) (int64, bool) {
	if !digitsOnly(text) {
		return 0, false
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return 0, false
	}
	return n, true
}

func digitsOnly(text string) bool {
	return text != "" && strings.Trim(text, "0123456789") == ""
}

// FormatUploadRange gives the Range of an upload's answer after so many bytes
// (section "Pushing a blob in chunks"). The form has no way to say "nothing":
// an empty session and one of a single byte are both `0-0`.
func FormatUploadRange(committed int64) string {
	return "0-" + strconv.FormatInt(max(committed-1, 0), 10)
}
