package front

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"
)

// errStalled is what a handler gets from a body, or a response, on which nothing moved for the idle timeout. It is
// also an io.ErrUnexpectedEOF and an os.ErrDeadlineExceeded: to a handler it is a client that went away.
var errStalled = fmt.Errorf("the client moved no byte in time: %w", errors.Join(io.ErrUnexpectedEOF, os.ErrDeadlineExceeded))

// direction is one side of a transfer.
type direction int

const (
	reading direction = iota
	writing
	directions
)

// stallWatch ends a read or a write of the client that has been blocked for too long. It looks only at calls that are
// under way: a handler that waits for storage does not make its client a slow one. Deadlines on the connection would;
// on HTTP/2 they even fire between two reads.
type stallWatch struct {
	idle time.Duration
	cut  [directions]func() // makes the blocked call fail; must not block itself

	mu      sync.Mutex
	timer   *time.Timer
	armed   bool // the timer runs
	stopped bool
	since   [directions]time.Time // when the call under way began; zero: none is
	stalled [directions]bool
}

func newStallWatch(idle time.Duration, cutRead, cutWrite func()) *stallWatch {
	return &stallWatch{idle: idle, cut: [directions]func(){reading: cutRead, writing: cutWrite}}
}

// begin says that a call starts that may block on the client.
func (w *stallWatch) begin(d direction) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.since[d] = time.Now()
	if w.armed || w.stopped {
		return
	}
	w.armed = true
	if w.timer == nil {
		w.timer = time.AfterFunc(w.idle, w.fire)
		return
	}
	w.timer.Reset(w.idle)
}

// end says that the call has returned with err, and gives the error to go on with.
func (w *stallWatch) end(d direction, err error) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.since[d] = time.Time{}
	if err != nil && !errors.Is(err, io.EOF) && w.stalled[d] {
		return errStalled
	}
	return err
}

// fire cuts what is overdue, and comes again when the next call would be.
func (w *stallWatch) fire() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.stopped {
		return
	}
	var next time.Duration
	for d, since := range w.since {
		if since.IsZero() || w.stalled[d] {
			continue
		}
		left := w.idle - time.Since(since)
		if left <= 0 {
			w.stalled[d] = true
			w.cut[d]()
			continue
		}
		if next == 0 || left < next {
			next = left
		}
	}
	if w.armed = next > 0; w.armed {
		w.timer.Reset(next)
	}
}

// stop ends the watch.
func (w *stallWatch) stop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stopped = true
	if w.timer != nil {
		w.timer.Stop()
	}
}
