package oci

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/berthregistry/berth/internal/oci/content"
	"github.com/berthregistry/berth/internal/oci/httprange"
	"github.com/berthregistry/berth/internal/oci/ocierr"
	"github.com/berthregistry/berth/internal/storage"
	"github.com/berthregistry/berth/internal/telemetry/reqlog"
)

// maxReopens is how often a chunk is opened again in a row, without a byte between, when the store broke off: objects
// never change, so reading goes on where it was.
const maxReopens = 3

// maxRanges is how many ranges one answer has at most: each is a read of its own from the store.
const maxRanges = 16

// serveBlob streams a blob through net/http's ServeContent, which knows single and multiple ranges and If-Range (RFC
// 9110). again looks the blob up once more.
func (h *Handler) serveBlob(c *call, blob content.Blob, again func(context.Context) (content.Blob, error)) error {
	r := withRange(c.r, blob.Size)
	ctx, cancel := context.WithCancel(c.ctx())
	reader := &blobReader{
		ctx: ctx, cancel: cancel, store: h.Store, chunks: blob.Chunks, again: again, size: blob.Size, limit: blob.Size,
	}
	defer reader.finish() //nolint:errcheck // it only matters after the answer has begun
	if start, length, ok := httprange.SingleRange(r.Header.Get("Range"), blob.Size); ok && r.Header.Get("If-Range") == "" {
		reader.limit = start + length
		reader.offset = start
	}
	if err := reader.prepare(); err != nil {
		h.suspect(blob.Digest, err)
		return err
	}
	reader.offset = 0
	w := &blobWriter{ResponseWriter: c.w, blob: reader}
	http.ServeContent(w, r, "", time.Time{}, reader)
	if err := reader.finish(); err != nil {
		h.suspect(blob.Digest, err)
		reqlog.Fail(c.ctx(), err)
		panic(http.ErrAbortHandler) // too late for another status: the client must not take the rest for the end
	}
	if w.unsatisfiable {
		return ocierr.RangeNotSatisfiable.WithHeader("Content-Range", fmt.Sprintf("bytes */%d", blob.Size))
	}
	return nil
}

// suspect tells of a blob whose object is not as its row says: whoever hears of it looks whether that is so.
func (h *Handler) suspect(d digest.Digest, err error) {
	short := errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, storage.ErrUnavailable)
	if h.Suspect != nil && (short || errors.Is(err, storage.ErrNotFound)) {
		h.Suspect(d)
	}
}

// withRange is the request as ServeContent is to see it: with a Range that it understands, if any counts, and without
// the preconditions that have been answered. Too many ranges do not count, neither do ranges of nothing.
func withRange(r *http.Request, size int64) *http.Request {
	canonical, ranges, ok := httprange.Canonical(r.Header.Get("Range"), size)
	r = r.WithContext(r.Context())
	r.Header = r.Header.Clone()
	r.Header.Del(headerIfMatch)
	r.Header.Del(headerIfNoneMatch)
	r.Header.Del("Range")
	if ok && ranges <= maxRanges && size > 0 {
		r.Header.Set("Range", canonical)
	}
	return r
}

// blobReader reads the chunks of a blob one after the other, opening each when it is needed.
//
// For several ranges ServeContent reads in a goroutine that outlives it when the client goes away: hence the mutex.
type blobReader struct {
	ctx    context.Context
	cancel context.CancelFunc
	store  storage.Store
	chunks []content.Chunk
	again  func(context.Context) (content.Blob, error) // see moved
	size   int64
	limit  int64 // nothing is wanted from here on, so nothing is fetched

	mu       sync.Mutex
	offset   int64
	current  io.ReadCloser
	at       int64 // offset in the blob of what current yields next
	end      int64 // offset in the blob of what follows current
	err      error
	finished bool
}

// finish ends all reading, also one that is under way, and returns the first error of any.
func (b *blobReader) finish() error {
	b.cancel()
	b.mu.Lock()
	defer b.mu.Unlock()
	b.finished = true
	b.close()
	return b.err
}

// prepare opens the first chunk that will be read, while the answer can still be an error.
func (b *blobReader) prepare() error {
	if b.offset >= b.limit {
		return nil
	}
	err := b.open()
	switch {
	case errors.Is(err, content.ErrNotFound):
		return blobError(err) // collected since it was looked up
	case errors.Is(err, storage.ErrNotFound):
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
	if errors.Is(err, storage.ErrNotFound) {
		moved, err := b.moved()
		if err != nil {
			return err
		}
		if moved {
			return b.open()
		}
	}
	if err != nil {
		return fmt.Errorf("open chunk: %w", err)
	}
	b.current, b.at, b.end = r, b.offset, b.offset+length
	return nil
}

// moved tells whether the blob lies in other objects by now. A compaction replaces them, and the sweep removes the old ones
// later than any read that is not held up should take; a process that was stopped for so long reads on in the new ones.
func (b *blobReader) moved() (bool, error) {
	now, err := b.again(b.ctx)
	if err != nil {
		return false, fmt.Errorf("look for the chunks again: %w", err)
	}
	if len(now.Chunks) == 0 || slices.Equal(now.Chunks, b.chunks) {
		return false, nil
	}
	b.chunks = now.Chunks
	return true, nil
}

func (b *blobReader) chunkAt(offset int64) (content.Chunk, bool) {
	low, high := 0, len(b.chunks)
	for low < high {
		middle := int(uint(low+high) >> 1)
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
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.finished {
		return 0, errFinished
	}
	n, err := b.read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		b.err = err
	}
	return n, err
}

var errFinished = errors.New("the answer has ended")

func (b *blobReader) read(p []byte) (int, error) {
	if b.offset >= b.limit {
		return 0, io.EOF
	}
	if err := b.open(); err != nil {
		return 0, err
	}
	n, err := b.current.Read(p)
	b.advance(int64(n))
	switch {
	case !errors.Is(err, io.EOF):
		return n, err
	case b.offset < b.end:
		return n, errShort
	}
	b.close()
	if n == 0 {
		return b.read(p)
	}
	return n, nil
}

// errShort says that an object has fewer bytes than its row tells.
var errShort = fmt.Errorf("chunk: %w", io.ErrUnexpectedEOF)

func (b *blobReader) advance(n int64) {
	b.offset += n
	b.at += n
}

// Seek implements io.Seeker and moves nothing until the next Read.
func (b *blobReader) Seek(offset int64, whence int) (int64, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
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
	for reopened := 0; total < n && b.offset < b.limit; {
		moved, err := b.copyChunk(w, n-total)
		total += moved
		if moved > 0 {
			reopened = 0
		}
		if errors.Is(err, storage.ErrUnavailable) && reopened < maxReopens {
			reopened++
			b.close()
			continue
		}
		if err != nil {
			b.err = err
			return total, err
		}
	}
	return total, nil
}

func (b *blobReader) copyChunk(w io.Writer, n int64) (moved int64, err error) {
	if err := b.open(); err != nil {
		return 0, err
	}
	rest := b.end - b.offset
	if to, ok := b.current.(io.WriterTo); ok && rest <= n {
		moved, err = to.WriteTo(w)
	} else {
		moved, err = io.CopyN(w, b.current, min(rest, n))
	}
	b.advance(moved)
	switch {
	case err != nil:
		return moved, err
	case moved < min(rest, n):
		return moved, errShort
	case moved == rest:
		b.close()
	}
	return moved, nil
}

// blobWriter recognises the blob in what ServeContent copies, so that it is not copied through a buffer. It keeps back
// ServeContent's own answer to a range that cannot be had.
type blobWriter struct {
	http.ResponseWriter
	blob          *blobReader
	unsatisfiable bool
}

// WriteHeader implements http.ResponseWriter.
func (w *blobWriter) WriteHeader(status int) {
	if status == http.StatusRequestedRangeNotSatisfiable {
		w.unsatisfiable = true
		return
	}
	w.ResponseWriter.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (w *blobWriter) Write(p []byte) (int, error) {
	if w.unsatisfiable {
		return len(p), nil
	}
	return w.ResponseWriter.Write(p)
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
