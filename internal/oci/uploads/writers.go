package uploads

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"github.com/google/uuid"
)

// Reasons for which a writer is stopped from outside.
var (
	// errSuperseded stops a request because another one for the same session came after it.
	errSuperseded = errors.New("another request for this upload session took over")
	// errDraining stops a request because the process is going down: what it received is kept.
	errDraining = errors.New("the server is shutting down")
)

// interruptInterval is how often a writer that should stop is interrupted again: a read deadline that it sets itself
// at the same moment could undo one interruption.
const interruptInterval = 100 * time.Millisecond

// writers knows the requests of this replica that are writing to a session, one at most for each session.
type writers struct {
	mu       sync.Mutex
	byID     map[uuid.UUID]*writer
	draining chan struct{} // closed once Drain was called
}

// writer is one request that writes to a session.
type writer struct {
	ctx    context.Context
	cancel context.CancelCauseFunc
	done   chan struct{}
	// fence is that of its last commit or, before one, of the writer that it stopped. The next writer reads it once
	// done is closed.
	fence int64

	mu        sync.Mutex // held while interrupt runs: it must not run once the request has ended
	interrupt func()     // nil then, and once the body is complete
}

func newWriters() writers {
	return writers{byID: make(map[uuid.UUID]*writer), draining: make(chan struct{})}
}

// begin makes the caller the session's only writer on this replica: it stops the one before and waits until that has
// ended. The writer's context ends when the caller is stopped in turn, not when the client goes away; end must be
// called. inherited is the fence of the last commit of the writer that was stopped: a lease under it is free to take.
func (ws *writers) begin(ctx context.Context, id uuid.UUID, interrupt func()) (w *writer, inherited int64, err error) {
	wctx, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	w = &writer{ctx: wctx, cancel: cancel, interrupt: interrupt, done: make(chan struct{})}
	for {
		previous, err := ws.register(id, w)
		if err != nil {
			cancel(err)
			return nil, 0, err
		}
		if previous == nil {
			w.fence = inherited
			return w, inherited, nil
		}
		if err := previous.stop(ctx); err != nil {
			cancel(err)
			return nil, 0, err
		}
		inherited = max(inherited, previous.fence)
	}
}

// register enters w unless another writer is there, which it returns.
func (ws *writers) register(id uuid.UUID, w *writer) (*writer, error) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	if ws.isDraining() {
		return nil, errDraining
	}
	if previous := ws.byID[id]; previous != nil {
		return previous, nil
	}
	ws.byID[id] = w
	return nil, nil
}

func (ws *writers) isDraining() bool {
	select {
	case <-ws.draining:
		return true
	default:
		return false
	}
}

// end lets the next writer in.
func (ws *writers) end(id uuid.UUID, w *writer) {
	ws.mu.Lock()
	delete(ws.byID, id)
	ws.mu.Unlock()
	w.finishing()
	w.cancel(nil)
	close(w.done)
}

// abandon ends w because its client has gone.
func (w *writer) abandon(cause error) { w.cancel(cause) }

// watch is the body of w, whose end makes w finishing.
func (w *writer) watch(body io.Reader) io.Reader { return &watched{body, w} }

type watched struct {
	io.Reader
	w *writer
}

// Read implements io.Reader.
func (b *watched) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	if errors.Is(err, io.EOF) {
		b.w.finishing()
	}
	return n, err
}

// finishing says that w has read its body. It is not stopped any more: what is left to do waits for no client, and
// requests that stopped each other at that point might do so for ever. Nor is it interrupted: the server reads ahead by
// then, and a deadline would end the context of all requests to come on the connection.
func (w *writer) finishing() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.interrupt = nil
}

// supersede ends w unless it is finishing.
func (w *writer) supersede() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.interrupt != nil {
		w.cancel(errSuperseded)
	}
}

// wake makes a blocked read of w fail, unless w has ended: its connection may then serve another request already.
func (w *writer) wake() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.interrupt != nil {
		w.interrupt()
	}
}

// stop lets another request take over from w: it waits until w has ended, or for ctx.
func (w *writer) stop(ctx context.Context) error {
	w.supersede()
	ticker := time.NewTicker(interruptInterval)
	defer ticker.Stop()
	for {
		w.wake()
		select {
		case <-w.done:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-ticker.C:
		}
	}
}

// Drain makes every request that is writing keep what it received as a chunk and answer 503, and refuses new ones
// likewise. It returns at once.
func (s *Service) Drain() {
	ws := &s.writers
	ws.mu.Lock()
	defer ws.mu.Unlock()
	if ws.isDraining() {
		return
	}
	close(ws.draining)
	for _, w := range ws.byID {
		go w.interruptUntilDone()
	}
}

// interruptUntilDone wakes w from blocked reads until it has ended, without cancelling its storage and database calls.
func (w *writer) interruptUntilDone() {
	ticker := time.NewTicker(interruptInterval)
	defer ticker.Stop()
	for {
		w.wake()
		select {
		case <-w.done:
			return
		case <-ticker.C:
		}
	}
}
