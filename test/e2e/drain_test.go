package e2e

import (
	"fmt"
	"io"
	"net/http"
	"testing"

	"github.com/opencontainers/go-digest"
	specs "github.com/opencontainers/image-spec/specs-go/v1"
)

// flow is a request whose body the test feeds.
type flow struct {
	t      *testing.T
	body   *io.PipeWriter
	answer chan answer
}

// startFlow sends the beginning of a request's body.
func startFlow(w wire, t *testing.T, method, location string, begin []byte, length int) *flow {
	t.Helper()
	reader, writer := io.Pipe()
	f := &flow{t: t, body: writer, answer: make(chan answer, 1)}
	go func() {
		a, err := w.send(method, location, reader, int64(length))
		if err != nil {
			t.Errorf("%s: %v", method, err)
		}
		_ = reader.Close()
		f.answer <- a
	}()
	_, err := writer.Write(begin)
	must(t, err)
	return f
}

// moreThanBuffered is more than the buffers between a client and the server hold: once it is sent, the request is under
// way, and its connection does not count as idle.
const moreThanBuffered = 16 << 20

// testDrainedPushFinishes stops the program while a chunk is under way that goes on.
func testDrainedPushFinishes(t *testing.T, program string, b backends) {
	c := startChild(t, program, b)
	blob := content(2 * moreThanBuffered)
	d := digest.FromBytes(blob)
	half := len(blob) / 2
	f := startFlow(c.wire, t, http.MethodPatch, c.begin("drained/app"), blob[:half], len(blob))
	c.terminate()
	_, err := f.body.Write(blob[half:])
	must(t, err)
	must(t, f.body.Close())
	a := <-f.answer
	if want := fmt.Sprintf("0-%d", len(blob)-1); a.status != http.StatusAccepted || a.header.Get("Range") != want {
		t.Fatalf("the chunk was answered %d with Range %q, want 202 with %q: %s", a.status, a.header.Get("Range"), want, a.body)
	}
	c.wantOrderlyEnd()

	c = startChild(t, program, b)
	c.want(http.StatusCreated, http.MethodPut, query(a.location(), "digest", d.String()), nil)
	c.readBlob("drained/app", specs.Descriptor{Digest: d, Size: int64(len(blob))})
}

// stall begins an upload that stalls, stops the program and gives the Location of the session.
func stall(t *testing.T, program string, b backends, method string, blob []byte, parameters ...string) (location string) {
	t.Helper()
	c := startChild(t, program, b, "BERTH_DRAIN_TIMEOUT=500ms")
	location = c.begin("stalled/app")
	target := location
	if len(parameters) == 2 {
		target = query(target, parameters[0], parameters[1])
	}
	f := startFlow(c.wire, t, method, target, blob[:len(blob)-b.chunk/2], len(blob))
	c.terminate()
	a := <-f.answer
	if a.status != http.StatusServiceUnavailable || a.header.Get("Retry-After") == "" {
		t.Errorf("the stalled %s was answered %d with Retry-After %q, want 503: %s", method, a.status, a.header.Get("Retry-After"), a.body)
	}
	c.wantOrderlyEnd()
	return location
}

// testDrainedChunkIsKept stops the program while a chunk stalls: what arrived of it is kept, and the client goes on.
func testDrainedChunkIsKept(t *testing.T, program string, b backends) {
	blob := content(moreThanBuffered + b.chunk)
	d := digest.FromBytes(blob)
	location := stall(t, program, b, http.MethodPatch, blob)

	c := startChild(t, program, b)
	status := c.want(http.StatusNoContent, http.MethodGet, location, nil)
	kept := committed(t, status)
	if kept < b.chunk || kept > len(blob)-b.chunk/2 {
		t.Fatalf("%d bytes were kept of %d that were sent", kept, len(blob)-b.chunk/2)
	}
	rest := c.want(http.StatusAccepted, http.MethodPatch, status.location(), blob[kept:],
		"Content-Range", fmt.Sprintf("%d-%d", kept, len(blob)-1))
	c.want(http.StatusCreated, http.MethodPut, query(rest.location(), "digest", d.String()), nil)
	c.readBlob("stalled/app", specs.Descriptor{Digest: d, Size: int64(len(blob))})
}

// testDrainedEverythingAgain is the same with a client that cannot go on: it sends everything again to the same URL.
func testDrainedEverythingAgain(t *testing.T, program string, b backends) {
	blob := content(moreThanBuffered + b.chunk)
	d := digest.FromBytes(blob)
	location := stall(t, program, b, http.MethodPut, blob, "digest", d.String())

	c := startChild(t, program, b)
	c.want(http.StatusCreated, http.MethodPut, query(location, "digest", d.String()), blob)
	c.readBlob("stalled/app", specs.Descriptor{Digest: d, Size: int64(len(blob))})
}

// committed reads how many bytes a session holds; -1 after an error. Nothing looks like one byte, which these tests never send.
func committed(t testing.TB, a answer) int {
	t.Helper()
	var last int
	if _, err := fmt.Sscanf(a.header.Get("Range"), "0-%d", &last); err != nil {
		t.Errorf("the Range is %q: %v", a.header.Get("Range"), err)
		return -1
	}
	if last == 0 {
		return 0
	}
	return last + 1
}
