package httprange_test

import (
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/berthregistry/berth/internal/oci/httprange"
)

func TestParseContentRange(t *testing.T) {
	tests := map[string]httprange.ContentRange{
		"0-0":                     {Start: 0, End: 0},
		"0-99":                    {Start: 0, End: 99},
		"100-199":                 {Start: 100, End: 199},
		"007-009":                 {Start: 7, End: 9},
		"bytes 0-99/100":          {Start: 0, End: 99},
		"bytes 5-9/*":             {Start: 5, End: 9},
		"Bytes 5-9/*":             {Start: 5, End: 9},
		"bytes=5-9":               {Start: 5, End: 9},
		"0-9223372036854775806":   {Start: 0, End: math.MaxInt64 - 1},
		"bytes 0-0/1":             {Start: 0, End: 0},
		"bytes=0-0":               {Start: 0, End: 0},
		"4294967296-281474976710": {Start: 1 << 32, End: 281474976710},
	}
	for header, want := range tests {
		t.Run(header, func(t *testing.T) {
			got, err := httprange.ParseContentRange(header)
			if err != nil || got != want {
				t.Errorf("got %v, %v", got, err)
			}
		})
	}
}

func TestParseContentRangeRefuses(t *testing.T) {
	for _, header := range []string{
		"", "-", "0", "0-", "-5", "500-0", "bytes=500-0", "bytes 500-0/1000", "1-0", "0--1", "-1-5", "+0-5", "0-+5",
		" 0-5", "0-5 ", "0 - 5", "0-5,7-9", "0-5/10", "0x0-0x5", "a-b", "bytes", "bytes ", "bytes=", "bytes 0-5",
		"bytes 0-5/", "bytes 0-5/5", "bytes 0-5/x", "bytes 0-5/-1", "bytes */10", "bytes  0-5/10", "bytes=0-5/10", "bytes:0-5",
		"octets 0-5/10", "bytes=bytes=0-5", "bytes 0-5/10/10", "0-9223372036854775807", "0-9223372036854775808", "99999999999999999999-5",
		"bytes 0-5/99999999999999999999", "bytes 0-5/0", "٠-٥", "0-5\x00", "0–5", strings.Repeat("9", 100_000),
	} {
		if got, err := httprange.ParseContentRange(header); !errors.Is(err, httprange.ErrContentRange) {
			t.Errorf("%.40q: got %v, %v", header, got, err)
		}
	}
}

func TestContentRangeRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		start := rapid.Int64Range(0, math.MaxInt64-1).Draw(t, "start")
		want := httprange.ContentRange{Start: start, End: rapid.Int64Range(start, math.MaxInt64-1).Draw(t, "end")}
		for _, form := range []string{"%s", "bytes %s/*", "bytes=%s"} {
			got, err := httprange.ParseContentRange(fmt.Sprintf(form, want))
			if err != nil || got != want || got.Length() <= 0 {
				t.Fatalf(form+": got %v, %v", want, got, err)
			}
		}
	})
}

func TestFormatUploadRange(t *testing.T) {
	for committed, want := range map[int64]string{0: "0-0", 1: "0-0", 2: "0-1", 10: "0-9", -1: "0-0", math.MaxInt64: "0-9223372036854775806"} {
		if got := httprange.FormatUploadRange(committed); got != want {
			t.Errorf("%d: got %s, want %s", committed, got, want)
		}
	}
}

func TestSingleRange(t *testing.T) {
	tests := []struct {
		header        string
		start, length int64
		ok            bool
	}{
		{"bytes=0-9", 0, 10, true},
		{"bytes=90-", 90, 10, true},
		{"bytes=-10", 90, 10, true},
		{"bytes=-1000", 0, 100, true},
		{"bytes=50-9223372036854775807", 50, 50, true},
		{"bytes= 5 - 9 ", 5, 5, true},
		{"bytes=99-99", 99, 1, true},
		{"bytes=100-", 0, 0, false},
		{"bytes=9-5", 0, 0, false},
		{"bytes=-0", 0, 0, false},
		{"bytes=-", 0, 0, false},
		{"bytes=--5", 0, 0, false},
		{"bytes=0-9,20-29", 0, 0, false},
		{"bytes=+0-9", 0, 0, false},
		{"bytes=0-+9", 0, 0, false},
		{"bytes=-+9", 0, 0, false},
		{"bytes=0-99999999999999999999", 0, 100, true},
		{"bytes=-99999999999999999999", 0, 100, true},
		{"bytes=99999999999999999999-", 0, 0, false},
		{"octets=0-9", 0, 0, false},
		{"bytes", 0, 0, false},
		{"", 0, 0, false},
	}
	for _, test := range tests {
		t.Run(test.header, func(t *testing.T) {
			start, length, ok := httprange.SingleRange(test.header, 100)
			if start != test.start || length != test.length || ok != test.ok {
				t.Errorf("got %d, %d, %v", start, length, ok)
			}
			checkServeContent(t, test.header, 100)
		})
	}
	if _, _, ok := httprange.SingleRange("bytes=-5", 0); ok {
		t.Error("there is no range of nothing")
	}
}

// zeros is content of any size.
type zeros struct{ *io.SectionReader }

type zeroReader struct{}

func (zeroReader) ReadAt(p []byte, _ int64) (int, error) { clear(p); return len(p), nil }

func TestCanonical(t *testing.T) {
	for header, want := range map[string]string{
		"bytes=0-9":                             "bytes=0-9",
		"Bytes= 7 - 9 ":                         "bytes=7-9",
		"bytes=007-":                            "bytes=7-",
		"bytes=0-99999999999999999999":          "bytes=0-100",
		"bytes=99999999999999999999-":           "bytes=100-",
		"bytes=-99999999999999999999":           "bytes=-100",
		"bytes=-000":                            "bytes=100-",
		"bytes=0-0,, 5-99999999999999999999,-2": "bytes=0-0,,5-100,-2",
		"bytes=9-7":                             "bytes=9-7",
		"bytes=":                                "bytes=",
		"bytes=+0-9":                            "",
		"bytes=0-+9":                            "",
		"bytes=-+9":                             "",
		"bytes=--9":                             "",
		"bytes=-":                               "",
		"bytes=5":                               "",
		"bytes=x-y":                             "",
		"bytes=0-9,+5-7":                        "",
		"bytes=0x0-9":                           "",
		"items=0-9":                             "",
		"bytes":                                 "",
		"":                                      "",
		"bytes=0-9/100":                         "",
		"bytes=" + strings.Repeat("9", 10_000) + "-5": "bytes=100-5",
	} {
		got, ranges, ok := httprange.Canonical(header, 100)
		if got != want || ok != (want != "") || ok && ranges != strings.Count(header, ",")+1 {
			t.Errorf("%.40q: got %q, %d, %t, want %q", header, got, ranges, ok, want)
		}
	}
}

// checkServeContent holds the hint against what net/http really sends.
func checkServeContent(t *testing.T, header string, size int64) {
	t.Helper()
	canonical, _, counts := httprange.Canonical(header, size)
	again, _, still := httprange.Canonical(canonical, size)
	if again != canonical || still != counts || strings.ContainsRune(canonical, '+') {
		t.Fatalf("%q of %d: canonical %q, of that %q, %t", header, size, canonical, again, still)
	}
	start, length, ok := httprange.SingleRange(header, size)
	if !ok {
		return
	}
	if !counts {
		t.Fatalf("%q of %d: a hint for what does not count", header, size)
	}
	recorder := httptest.NewRecorder()
	request := httptest.NewRequest(http.MethodGet, "/", nil)
	request.Header.Set("Range", canonical)
	http.ServeContent(recorder, request, "", time.Time{}, zeros{io.NewSectionReader(zeroReader{}, 0, size)})
	want := fmt.Sprintf("bytes %d-%d/%d", start, start+length-1, size)
	if got := recorder.Header().Get("Content-Range"); recorder.Code != http.StatusPartialContent || got != want {
		t.Fatalf("%q of %d: ServeContent says %d %q, the hint %q", header, size, recorder.Code, got, want)
	}
}

func FuzzContentRange(f *testing.F) {
	for _, seed := range []string{"0-5", "bytes 0-5/10", "bytes=0-5", "bytes 0-5/*", "500-0", "", "bytes=", "0-9223372036854775807"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, header string) {
		got, err := httprange.ParseContentRange(header)
		if err != nil {
			return
		}
		if got.Start < 0 || got.End < got.Start || got.Length() <= 0 {
			t.Fatalf("%q: got %v", header, got)
		}
		if again, err := httprange.ParseContentRange(got.String()); err != nil || again != got {
			t.Fatalf("%q: %v became %v, %v", header, got, again, err)
		}
	})
}

func FuzzSingleRange(f *testing.F) {
	for _, seed := range []string{
		"bytes=0-5", "bytes=-5", "bytes=5-", "bytes=0-5,7-8", "bytes= 1 - 2 ", "bytes=-0", "bytes=0-9223372036854775807",
		"bytes=0-99999999999999999999", "bytes=99999999999999999999-", "bytes=-99999999999999999999", "bytes=+0-9", "bytes=-+5",
	} {
		f.Add(seed, int64(10))
	}
	f.Fuzz(func(t *testing.T, header string, size int64) {
		checkServeContent(t, header, max(size, -size)%10_000)
	})
}
