package front

import (
	"io"
	"net/http"
	"runtime"
	"sync"
	"syscall"
	"time"
)

// A response leaves in pieces, each of which must go through within the idle timeout. Pieces shrink for a slow client,
// so that progress is seen where there is some, and are large enough for a fast one to cost nothing.
const (
	minPiece = 64 << 10
	maxPiece = 1 << 20
	// copyBuffer is the size of the buffers for what the kernel cannot send by itself.
	copyBuffer = 256 << 10
)

var copyBuffers = sync.Pool{New: func() any { b := make([]byte, copyBuffer); return &b }}

// copySlots takes one element for each piece of a file that is being copied instead of being sent by sendfile. A copy
// through a large buffer reaches a lone reader faster, as the kernel then passes on large buffers and not single pages,
// but costs more CPU. So at most half of the cores are spent on it: under load nearly everything goes by sendfile.
type copySlots chan struct{}

func newCopySlots() copySlots { return make(copySlots, max(1, runtime.GOMAXPROCS(0)/2)) }

// response is the writer that handlers get. It counts, gives up on clients that stall, and is an io.ReaderFrom, so that
// a file goes to a plain connection by sendfile. http.ResponseController reaches the original through Unwrap.
type response struct {
	http.ResponseWriter
	control *http.ResponseController
	watch   *stallWatch
	body    *requestBody
	idle    time.Duration
	// kernel is the original's ReadFrom where it can use sendfile: HTTP/1 without TLS.
	kernel io.ReaderFrom
	copies copySlots
	// linger bounds what net/http does on its own after the handler: reading the rest of an HTTP/1 body.
	linger bool

	status int // 0 until the header is written
	sent   int64
	piece  int64
}

func newResponse(w http.ResponseWriter, r *http.Request, idle time.Duration, copies copySlots) *response {
	control := http.NewResponseController(w)
	past := time.Unix(1, 0)
	// A writer without deadlines (a recorder in a test) cannot be cut, and need not be.
	watch := newStallWatch(idle,
		func() { _ = control.SetReadDeadline(past) },
		func() { _ = control.SetWriteDeadline(past) })
	out := &response{
		ResponseWriter: w, control: control, watch: watch, body: newRequestBody(r, watch),
		idle: idle, linger: r.ProtoMajor == 1, piece: maxPiece, copies: copies,
	}
	if r.ProtoMajor == 1 && r.TLS == nil {
		out.kernel, _ = w.(io.ReaderFrom)
	}
	return out
}

// Unwrap returns the original, for http.ResponseController.
func (w *response) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// WriteHeader implements http.ResponseWriter. Only the first final status counts.
func (w *response) WriteHeader(status int) {
	if w.status != 0 {
		return
	}
	if status >= http.StatusOK || status == http.StatusSwitchingProtocols {
		w.status = status
		w.boundDiscard()
	}
	w.ResponseWriter.WriteHeader(status)
}

// boundDiscard limits the time in which net/http reads what the handler left of an HTTP/1 body, which it does before
// it sends the answer. It lifts the limit itself before the next request.
func (w *response) boundDiscard() {
	if w.linger && !w.body.ended.Load() {
		_ = w.control.SetReadDeadline(time.Now().Add(w.idle))
	}
}

// Write implements io.Writer.
func (w *response) Write(p []byte) (int, error) {
	w.ensureHeader()
	var total int
	for {
		piece := p[total:min(len(p), total+copyBuffer)]
		w.watch.begin(writing)
		n, err := w.ResponseWriter.Write(piece)
		err = w.watch.end(writing, err)
		total += n
		w.sent += int64(n)
		if err != nil || total == len(p) {
			return total, err
		}
	}
}

func (w *response) ensureHeader() {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
}

// Flush implements http.Flusher.
func (w *response) Flush() { _ = w.FlushError() }

// FlushError is Flush for http.ResponseController.
func (w *response) FlushError() error {
	w.ensureHeader()
	w.watch.begin(writing)
	return w.watch.end(writing, w.control.Flush())
}

// ReadFrom implements io.ReaderFrom. A file, or an io.LimitedReader over one, leaves by sendfile where that is
// possible and no slot for a copy is free.
func (w *response) ReadFrom(src io.Reader) (int64, error) {
	w.ensureHeader()
	limit, source := int64(1<<63-1), src
	limited, isLimited := src.(*io.LimitedReader)
	if isLimited {
		limit, source = limited.N, limited.R
	}
	file, isFile := source.(seekableFile)
	if !isFile || w.kernel == nil {
		return w.copyFrom(src)
	}
	n, err := w.sendFile(file, limit)
	if isLimited {
		limited.N -= n
	}
	return n, err
}

// seekableFile is an *os.File, or the shape in which io.Copy passes one on.
type seekableFile interface {
	io.ReadSeeker
	syscall.Conn
}

// sendFile hands the file to the kernel piece by piece. The original knows an io.LimitedReader over a file, but not a
// limited reader over another one: that is why ReadFrom has unpacked it.
func (w *response) sendFile(file io.Reader, limit int64) (int64, error) {
	var total int64
	for total < limit {
		piece := &io.LimitedReader{R: file, N: min(w.piece, limit-total)}
		asked, began := piece.N, time.Now()
		n, err := w.sendPiece(piece)
		total += n
		if err != nil || n < asked {
			return total, err
		}
		w.adapt(time.Since(began))
	}
	return total, nil
}

// sendPiece copies the piece where a slot is free, and otherwise leaves it to sendfile.
func (w *response) sendPiece(piece *io.LimitedReader) (int64, error) {
	if piece.N >= copyBuffer {
		select {
		case w.copies <- struct{}{}:
			defer func() { <-w.copies }()
			return w.copyFrom(piece)
		default:
		}
	}
	w.watch.begin(writing)
	n, err := w.kernel.ReadFrom(piece)
	w.sent += n
	return n, w.watch.end(writing, err)
}

// adapt chooses the next piece's size by the time that the last one took.
func (w *response) adapt(took time.Duration) {
	switch {
	case took > w.idle/8:
		w.piece = max(w.piece/2, minPiece)
	case took < w.idle/32:
		w.piece = min(w.piece*2, maxPiece)
	}
}

// copyFrom moves the bytes through a buffer larger than net/http's own.
func (w *response) copyFrom(src io.Reader) (int64, error) {
	buf := copyBuffers.Get().(*[]byte) //nolint:errcheck // the pool holds nothing else
	defer copyBuffers.Put(buf)
	var total int64
	for {
		n, err := src.Read(*buf)
		if n > 0 {
			written, werr := w.Write((*buf)[:n])
			total += int64(written)
			if werr != nil {
				return total, werr
			}
		}
		switch {
		case err == io.EOF:
			return total, nil
		case err != nil:
			return total, err
		}
	}
}

// finish ends the watch after the handler. net/http still reads the rest of an HTTP/1 body, and then flushes: each gets
// one idle timeout. net/http lifts both limits before the next request.
func (w *response) finish() {
	w.watch.stop()
	if w.status == 0 {
		w.boundDiscard()
	}
	_ = w.control.SetWriteDeadline(time.Now().Add(2 * w.idle))
}
