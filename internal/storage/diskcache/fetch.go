package diskcache

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"

	"github.com/berthregistry/berth/internal/storage/internal/buffer"
)

// fetch is an object on its way into a file, which readers follow.
type fetch struct {
	name string
	path string // of the file
	size int64  // bytes that are fetched

	cancel  context.CancelFunc
	ctx     context.Context // ends when nobody waits any more, not with the request that began
	readers int             // under the Store's mu
	opened  chan struct{}   // closed once the store behind has answered
	refused bool            // set before: it did so with an error, or never

	mu      sync.Mutex
	file    *os.File
	written int64
	ended   bool
	grown   chan struct{} // closed at the next write, made for who waits; nil without anybody
}

// diskError is a failure of the cache's own disk.
type diskError struct{ err error }

func (e *diskError) Error() string { return "the cache's disk: " + e.err.Error() }
func (e *diskError) Unwrap() error { return e.err }

// join enters r with the fetch of its object. first says that there was none, and that the caller has to begin it. It
// returns nil where r must ask the store behind by itself.
func (s *Store) join(r *reader) (f *fetch, first bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if f := s.fetches[r.name]; f != nil {
		if r.end > f.size || r.at > f.progress()+near {
			return nil, false
		}
		f.readers++
		return f, false
	}
	if !s.mayFetch(r.at, r.end) {
		return nil, false
	}
	f = &fetch{name: r.name, size: r.end, readers: 1, opened: make(chan struct{})}
	f.ctx, f.cancel = context.WithCancel(context.WithoutCancel(r.ctx))
	s.fetches[r.name] = f
	s.reserve(f.size)
	s.running.Add(1) // until forget
	return f, true
}

// mayFetch tells whether what is read is worth a copy, and whether there is room. It needs s.mu.
func (s *Store) mayFetch(from, to int64) bool {
	return from == 0 && !s.closed && s.reserved+to <= s.options.Size/share && !s.options.Clock().Before(s.resting)
}

// reserve keeps copies out of the room that fetches need. It needs s.mu.
func (s *Store) reserve(bytes int64) {
	s.reserved += bytes
	s.files.limit(s.options.Size - s.reserved)
}

// begin asks the store behind for the object, and lets a fetch run that outlives the caller. Its errors are those of
// the store, or a diskError.
func (s *Store) begin(ctx context.Context, f *fetch, key string) (failed error) {
	defer func() {
		if failed != nil {
			f.refused = true
			s.forget(f)
		}
		close(f.opened)
	}()
	var err error
	if f.file, err = s.files.create(); err != nil {
		s.rest(err)
		return &diskError{err}
	}
	f.path = f.file.Name()
	stop := context.AfterFunc(ctx, f.cancel)
	body, err := s.Store.Open(f.ctx, key, 0, f.size)
	if !stop() && err == nil { // the caller has gone, and f.ctx with it
		err = errors.Join(ctx.Err(), body.Close())
	}
	if err != nil {
		s.files.discard(f.file)
		return err //nolint:wrapcheck // the store's own answer
	}
	go s.run(f, body)
	return nil
}

// run moves the object into the file, and makes a copy of that.
func (s *Store) run(f *fetch, body io.ReadCloser) {
	defer s.forget(f)
	_, err := buffer.Copy(f, body)
	err = errors.Join(err, body.Close())
	if f.end() < f.size && err == nil {
		err = io.ErrUnexpectedEOF
	}
	if err == nil {
		if err = s.files.keep(f.file, f.name, f.size); err == nil {
			return
		}
		err = &diskError{err}
	}
	s.files.discard(f.file)
	if errors.As(err, new(*diskError)) {
		s.rest(err)
	}
}

// forget removes a fetch that is over.
func (s *Store) forget(f *fetch) {
	f.cancel()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fetches[f.name] == f {
		delete(s.fetches, f.name)
	}
	s.reserve(-f.size)
	s.running.Done()
}

// leave takes a reader out of a fetch, and gives it up after the last one.
func (s *Store) leave(f *fetch) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f.readers--
	if f.readers > 0 || f.isComplete() {
		return
	}
	if s.fetches[f.name] == f {
		delete(s.fetches, f.name) // whoever comes now begins anew
	}
	f.cancel()
}

// rest stops fetching for a while: the disk is full, or broken.
func (s *Store) rest(err error) {
	s.mu.Lock()
	s.resting = s.options.Clock().Add(pause)
	s.mu.Unlock()
	s.options.Logger.Warn("the blob cache's disk fails; blobs come from the bucket meanwhile", slog.String("error", err.Error()))
}

// Write implements io.Writer: it appends to the file, and tells who waits.
func (f *fetch) Write(p []byte) (int, error) {
	n, err := f.file.Write(p)
	f.mu.Lock()
	f.written += int64(n)
	f.wake()
	f.mu.Unlock()
	if err != nil {
		return n, &diskError{err}
	}
	return n, nil
}

// wake needs f.mu.
func (f *fetch) wake() {
	if f.grown != nil {
		close(f.grown)
		f.grown = nil
	}
}

// end says that nothing more is written, and returns how much there is.
func (f *fetch) end() int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ended = true
	f.wake()
	return f.written
}

func (f *fetch) progress() int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.written
}

func (f *fetch) isComplete() bool { return f.progress() == f.size }

// errEnded says that a fetch has ended before it had everything.
var errEnded = errors.New("the fetch has ended early")

// wait returns how much there is from an offset on, in bytes, once there is anything. Its errors are errEnded and the context's.
func (f *fetch) wait(ctx context.Context, offset int64) (int64, error) {
	for {
		have, grown := f.look(offset)
		if have > 0 {
			return have, nil
		}
		if grown == nil {
			return 0, errEnded
		}
		select {
		case <-grown:
		case <-ctx.Done():
			return 0, fmt.Errorf("wait for the store: %w", ctx.Err())
		}
	}
}

// look returns what there is from an offset on, or what to wait for; neither when nothing more will come.
func (f *fetch) look(offset int64) (int64, <-chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.written > offset {
		return f.written - offset, nil
	}
	if f.ended {
		return 0, nil
	}
	if f.grown == nil {
		f.grown = make(chan struct{})
	}
	return 0, f.grown
}
