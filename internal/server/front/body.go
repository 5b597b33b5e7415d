package front

import (
	"io"
	"net/http"
	"sync/atomic"
)

// requestBody counts what a client sends and gives up on one that stalls.
type requestBody struct {
	io.ReadCloser
	watch *stallWatch
	read  atomic.Int64
	ended atomic.Bool // nothing is left to read
}

func newRequestBody(r *http.Request, watch *stallWatch) *requestBody {
	b := &requestBody{ReadCloser: r.Body, watch: watch}
	if r.Body == nil || r.Body == http.NoBody {
		b.ReadCloser = http.NoBody
		b.ended.Store(true)
	}
	return b
}

// Read implements io.Reader. A client from which no byte came for the idle timeout yields errStalled.
func (b *requestBody) Read(p []byte) (int, error) {
	b.watch.begin(reading)
	n, err := b.ReadCloser.Read(p)
	b.read.Add(int64(n))
	if err != nil {
		b.ended.Store(true)
	}
	return n, b.watch.end(reading, err)
}
