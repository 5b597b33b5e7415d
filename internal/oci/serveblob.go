package oci

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/berthregistry/berth/internal/oci/content"
	"github.com/berthregistry/berth/internal/oci/httprange"
	"github.com/berthregistry/berth/internal/oci/ocierr"
	"github.com/berthregistry/berth/internal/storage"
	"github.com/berthregistry/berth/internal/telemetry/reqlog"
)

// serveBlob streams a blob through net/http's ServeContent, which knows single and multiple ranges, If-Range and
// If-None-Match (RFC 9110).
func (h *Handler) serveBlob(c *call, blob content.Blob) error {
	reader := &blobReader{ctx: c.ctx(), store: h.Store, chunks: blob.Chunks, size: blob.Size, limit: blob.Size}
	defer reader.close()
	if start, length, ok := httprange.SingleRange(c.r.Header.Get("Range"), blob.Size); ok && c.r.Header.Get("If-Range") == "" {
		reader.limit = start + length
		reader.offset = start
	}
	if err := reader.prepare(); err != nil {
		return err
	}
	reader.offset = 0
	http.ServeContent(&blobWriter{ResponseWriter: c.w, blob: reader}, c.r, "", time.Time{}, reader)
	if reader.err != nil {
		reqlog.Fail(c.ctx(), reader.err)
		panic(http.ErrAbortHandler) // too late for another status: the client must not take the rest for the end
	}
	return nil
}

// blobReader reads the chunks of a blob one after the other, opening each when it is needed.
type blobReader struct {
	ctx    context.Context
	store  storage.Store
	chunks []content.Chunk
	size   int64
	limit  int64 // nothing is wanted from here on, so nothing is fetched

	offset  int64
	current io.ReadCloser
	at      int64 // offset in the blob of what current yields next
	err     error
}

// prepare opens the first chunk that will be read, while the answer can still be an error.
func (b *blobReader) prepare() error {
	if b.offset >= b.limit {
		return nil
	}
	err := b.open()
	if errors.Is(err, storage.ErrNotFound) {
		return ocierr.Internal.WithCause(err) // a row without its object: damage, not absence
	}
	return err
}

// open makes current yield the bytes from offset to the end of its chunk or the limit.
func (b *blobReader) open() error {
	if b.current != nil && b.at == b.offset {
		return nil
	}
	b.close()
	c, ok := b.chunkAt(b.offset)
	if !ok {
		return fmt.Errorf("blob has no chunk at offset %d", b.offset)
	}
	skip := b.offset - c.Start
	length := min(c.Size, b.limit-c.Start) - skip
	r, err := b.store.Open(b.ctx, c.Key, skip, length)
	if err != nil {
		return fmt.Errorf("open chunk: %w", err)
	}
	b.current, b.at = r, b.offset
	return nil
}

func (b *blobReader) chunkAt(offset int64) (content.Chunk, bool) {
	low, high := 0, len(b.chunks)
	for low < high {
		middle := int(uint(low+high) >> 1) //nolint:gosec // a mean of two indices
		if b.chunks[middle].Start+b.chunks[middle].Size <= offset {
			low = middle + 1
		} else {
			high = middle
		}
	}
	if low == len(b.chunks) || b.chunks[low].Start > offset {
		return content.Chunk{}, false
	}
	return b.chunks[low], true
}

func (b *blobReader) close() {
	if b.current != nil {
		_ = b.current.Close() // only read from
		b.current = nil
	}
}

// Read implements io.Reader.
func (b *blobReader) Read(p []byte) (int, error) {
	if b.offset >= b.limit {
		return 0, io.EOF
	}
	if err := b.open(); err != nil {
		b.err = err
		return 0, err
	}
	n, err := b.current.Read(p)
	b.advance(int64(n))
	if errors.Is(err, io.EOF) {
		b.close()
		if err = nil; n == 0 {
			return b.Read(p)
		}
	}
	if err != nil {
		b.err = err
	}
	return n, err
}

func (b *blobReader) advance(n int64) {
	b.offset += n
	b.at += n
}

// Seek implements io.Seeker and moves nothing until the next Read.
func (b *blobReader) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += b.offset
	case io.SeekEnd:
		offset += b.size
	}
	if offset < 0 {
		return 0, errors.New("seek before the beginning of a blob")
	}
	b.offset = offset
	return offset, nil
}

// copyTo moves up to n bytes to w, chunk by chunk, by the cheapest way that the store and w know: a file goes to the
// socket without passing through the process.
func (b *blobReader) copyTo(w io.Writer, n int64) (int64, error) {
	var total int64
	for total < n && b.offset < b.limit {
		if err := b.open(); err != nil {
			b.err = err
			return total, err
		}
		moved, err := b.copyChunk(w, n-total)
		total += moved
		if err != nil {
			return total, err
		}
	}
	return total, nil
}

func (b *blobReader) copyChunk(w io.Writer, n int64) (int64, error) {
	c, _ := b.chunkAt(b.offset)
	rest := min(c.Start+c.Size, b.limit) - b.offset
	var moved int64
	var err error
	if to, ok := b.current.(io.WriterTo); ok && rest <= n {
		moved, err = to.WriteTo(w)
	} else {
		moved, err = io.CopyN(w, b.current, min(rest, n))
	}
	b.advance(moved)
	if err != nil {
		b.err = err
		return moved, err
	}
	if moved == rest {
		b.close()
	}
	return moved, nil
}

// blobWriter recognises the blob in what ServeContent copies, so that it is not copied through a buffer.
type blobWriter struct {
	http.ResponseWriter
	blob *blobReader
}

// ReadFrom implements io.ReaderFrom.
func (w *blobWriter) ReadFrom(src io.Reader) (int64, error) {
	if limited, ok := src.(*io.LimitedReader); ok && limited.R == io.Reader(w.blob) {
		n, err := w.blob.copyTo(w.ResponseWriter, limited.N)
		limited.N -= n
		return n, err
	}
	return io.Copy(w.ResponseWriter, src)
}

// Unwrap returns the writer below, for http.ResponseController.
func (w *blobWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
