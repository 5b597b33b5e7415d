package oci_test

import (
	"bytes"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/berthregistry/berth/internal/oci/ocitest"
)

// TestSpecEnd2Ranges is RFC 9110, section 14, for a blob of many chunks.
func TestSpecEnd2Ranges(t *testing.T) {
	const size = 5*smallChunk + 777
	content := pattern(size, 11)
	etag := `"` + digest.FromBytes(content).String() + `"`
	tests := map[string]rangeTest{
		"the first byte":              {asked: "bytes=0-0", start: 0, end: 1},
		"the last byte":               {asked: fmt.Sprintf("bytes=%d-%d", size-1, size-1), start: size - 1, end: size},
		"from within":                 {asked: "bytes=1000-", start: 1000, end: size},
		"all":                         {asked: "bytes=0-", start: 0, end: size},
		"beyond the end":              {asked: fmt.Sprintf("bytes=%d-%d", size-10, size+10), start: size - 10, end: size},
		"a suffix":                    {asked: "bytes=-5", start: size - 5, end: size},
		"a suffix of several chunks":  {asked: fmt.Sprintf("bytes=-%d", 2*smallChunk), start: size - 2*smallChunk, end: size},
		"a suffix longer than all":    {asked: "bytes=-999999999", start: 0, end: size},
		"across one border":           {asked: fmt.Sprintf("bytes=%d-%d", smallChunk-1, smallChunk), start: smallChunk - 1, end: smallChunk + 1},
		"exactly one chunk":           {asked: fmt.Sprintf("bytes=%d-%d", smallChunk, 2*smallChunk-1), start: smallChunk, end: 2 * smallChunk},
		"across all borders":          {asked: fmt.Sprintf("bytes=1-%d", size-2), start: 1, end: size - 1},
		"with spaces":                 {asked: "bytes= 7-9 ", start: 7, end: 10},
		"in capitals":                 {asked: "Bytes=7-9", start: 7, end: 10},
		"another unit":                {asked: "items=7-9"},
		"no unit of any kind, no set": {asked: "items="},
		"with the right If-Range":     {asked: "bytes=7-9", start: 7, end: 10, ifRange: etag},
		"with a wrong If-Range":       {asked: "bytes=7-9", ifRange: `"sha256:other"`},
		"with a weak If-Range":        {asked: "bytes=7-9", ifRange: "W/" + etag},
		"with a date as If-Range":     {asked: "bytes=7-9", ifRange: "Mon, 02 Jan 2006 15:04:05 GMT"},
		"more than the whole":         {asked: "bytes=0-,0-,5-"},
		"beyond any number":           {asked: "bytes=5-99999999999999999999", start: 5, end: size},
		"a suffix beyond any number":  {asked: "bytes=-99999999999999999999", start: 0, end: size},
		"a sign":                      {asked: "bytes=+7-9"},
		"a sign at the end":           {asked: "bytes=7-+9"},
		"a sign in a suffix":          {asked: "bytes=-+9"},
		"one of them with a sign":     {asked: "bytes=7-9,+20-30"},
		"no numbers":                  {asked: "bytes=x-y"},
		"no hyphen":                   {asked: "bytes=5"},
		"too many":                    {asked: "bytes=0-0" + strings.Repeat(",2-2", 16)},
	}
	ocitest.Each(t, func(t *testing.T, env *ocitest.Env) {
		plain := env.Replica(t, ocitest.Options{ChunkSize: smallChunk}).Client
		copied := plain.At(env.Replica(t, ocitest.Options{ChunkSize: smallChunk, Store: copies(t)})) // of any parts, in any order
		path := blobURL("demo/app", plain.Push("demo/app", content))
		for _, c := range []*ocitest.Client{plain, copied, copied} {
			everyRange(t, c, path, content, tests)
		}
	})
}

// rangeTest is a request for a range and what answers it.
type rangeTest struct {
	asked      string
	start, end int // of the answer's range, the end exclusive; both 0 for the whole blob
	ifRange    string
}

func everyRange(t *testing.T, c *ocitest.Client, path string, content []byte, tests map[string]rangeTest) {
	t.Helper()
	size, etag := len(content), `"`+digest.FromBytes(content).String()+`"`
	for name, tt := range tests {
		asked := []string{"Range", tt.asked}
		if tt.ifRange != "" {
			asked = append(asked, "If-Range", tt.ifRange)
		}
		a := c.Do(http.MethodGet, path, nil, asked...)
		status, start, end, contentRange := http.StatusPartialContent, tt.start, tt.end, fmt.Sprintf("bytes %d-%d/%d", tt.start, tt.end-1, size)
		if end == 0 {
			status, end, contentRange = http.StatusOK, size, ""
		}
		if a.Status != status || !bytes.Equal(a.Body, content[start:end]) {
			t.Errorf("%s: %d with %d bytes", name, a.Status, len(a.Body))
		}
		headers(t, a, "Content-Range", contentRange, "Content-Length", strconv.Itoa(end-start), "Etag", etag,
			"Docker-Content-Digest", strings.Trim(etag, `"`), "Accept-Ranges", "bytes")
		if head := c.Do(http.MethodHead, path, nil, asked...); head.Status != http.StatusOK {
			t.Errorf("%s: HEAD %d", name, head.Status)
		}
	}
}

// TestSpecEnd2NoRange: what no byte of the blob answers is 416, with the length of the blob.
func TestSpecEnd2NoRange(t *testing.T) {
	ocitest.Each(t, func(t *testing.T, env *ocitest.Env) {
		c := env.Replica(t, ocitest.Options{}).Client
		path := blobURL("demo/app", c.Push("demo/app", pattern(100, 1)))
		for _, asked := range []string{"bytes=100-", "bytes=100-200", "bytes=-0", "bytes= -00", "bytes=200-,-0", "bytes=9-7", "bytes=99999999999999999999-"} {
			a := c.Do(http.MethodGet, path, nil, "Range", asked)
			refused(t, a, http.StatusRequestedRangeNotSatisfiable, "SIZE_INVALID")
			headers(t, a, "Content-Range", "bytes */100", "Accept-Ranges", "")
		}
		empty := blobURL("demo/app", c.Push("demo/app", nil))
		for _, asked := range []string{"bytes=0-", "bytes=0-0", "bytes=-5", "bytes=-0"} {
			if a := c.Do(http.MethodGet, empty, nil, "Range", asked); a.Status != http.StatusOK || len(a.Body) != 0 {
				t.Errorf("%s of nothing: %d %s", asked, a.Status, a.Body)
			}
		}
	})
}

// TestSpecEnd2SeveralRanges is RFC 9110, section 15.3.7.2.
func TestSpecEnd2SeveralRanges(t *testing.T) {
	const size = 4 * smallChunk
	content := pattern(size, 5)
	ocitest.Each(t, func(t *testing.T, env *ocitest.Env) {
		c := env.Replica(t, ocitest.Options{ChunkSize: smallChunk}).Client
		path := blobURL("demo/app", c.Push("demo/app", content))
		a := c.Want(http.StatusPartialContent, http.MethodGet, path, nil,
			"Range", fmt.Sprintf("bytes=%d-%d, 3-5, -0, -2, 999999999-", smallChunk-2, 2*smallChunk+1))
		mediaType, parameters, err := mime.ParseMediaType(a.Header.Get("Content-Type"))
		if err != nil || mediaType != "multipart/byteranges" {
			t.Fatalf("%q: %v", a.Header.Get("Content-Type"), err)
		}
		headers(t, a, "Content-Range", "", "Content-Length", strconv.Itoa(len(a.Body)))
		reader := multipart.NewReader(bytes.NewReader(a.Body), parameters["boundary"])
		for _, want := range [][2]int{{smallChunk - 2, 2*smallChunk + 2}, {3, 6}, {size - 2, size}} {
			part, err := reader.NextPart()
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(part)
			if err != nil || !bytes.Equal(body, content[want[0]:want[1]]) {
				t.Errorf("part %v: %d bytes, %v", want, len(body), err)
			}
			if got, want := part.Header.Get("Content-Range"), fmt.Sprintf("bytes %d-%d/%d", want[0], want[1]-1, size); got != want {
				t.Errorf("part %s, want %s", got, want)
			}
		}
		if _, err := reader.NextPart(); err != io.EOF {
			t.Errorf("after the last part: %v", err)
		}
	})
}

// TestSpecConditions is RFC 9110, section 13, for all that has a digest: it is its entity tag.
func TestSpecConditions(t *testing.T) {
	ocitest.Each(t, func(t *testing.T, env *ocitest.Env) {
		c := env.Replica(t, ocitest.Options{}).Client
		_, m := pushed(t, c, "demo/app", "v1", "conditions")
		b := c.Push("demo/app", []byte("conditions"))
		for path, d := range map[string]digest.Digest{
			blobURL("demo/app", b): b, manifestURL("demo/app", "v1"): m, manifestURL("demo/app", m.String()): m,
		} {
			for asked, status := range map[string]int{
				`"` + d.String() + `"`:            http.StatusNotModified,
				`W/"` + d.String() + `"`:          http.StatusNotModified,
				`"other", "` + d.String() + `"`:   http.StatusNotModified,
				"*":                               http.StatusNotModified,
				`"other"`:                         http.StatusOK,
				`"` + d.String()[:len(d)-1] + `"`: http.StatusOK,
			} {
				for _, method := range []string{http.MethodGet, http.MethodHead} {
					a := c.Do(method, path, nil, "If-None-Match", asked)
					if a.Status != status || status == http.StatusNotModified && len(a.Body) != 0 {
						t.Errorf("%s %s, If-None-Match %s: %d with %d bytes", method, path, asked, a.Status, len(a.Body))
					}
					headers(t, a, "Etag", `"`+d.String()+`"`, "Docker-Content-Digest", d.String())
				}
			}
			for asked, status := range map[string]int{
				`"` + d.String() + `"`:          http.StatusOK,
				`"other", "` + d.String() + `"`: http.StatusOK,
				"*":                             http.StatusOK,
				`W/"` + d.String() + `"`:        http.StatusPreconditionFailed,
				`"other"`:                       http.StatusPreconditionFailed,
			} {
				for _, method := range []string{http.MethodGet, http.MethodHead} {
					if a := c.Do(method, path, nil, "If-Match", asked); a.Status != status {
						t.Errorf("%s %s, If-Match %s: %d", method, path, asked, a.Status)
					}
				}
			}
		}
	})
}
