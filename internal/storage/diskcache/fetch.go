package diskcache

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"syscall"

	"github.com/berthregistry/berth/internal/storage"
	"github.com/berthregistry/berth/internal/storage/internal/buffer"
)

// maxReopens is how often the store behind is asked for the rest in a row, without a byte between, when it broke off.
const maxReopens = 3

// diskError is a failure of the cache's own disk.
type diskError struct{ err error }

func (e *diskError) Error() string { return "the cache's disk: " + e.err.Error() }
func (e *diskError) Unwrap() error { return e.err }

// join enters r with the fetch of its object, and begins that where there is none; first says so. It returns nil where
// there is a copy by now, or r has to ask the store behind by itself.
func (s *Store) join(r *reader) (f *fetch, first bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f = s.fetches[r.name]
	if f != nil && r.end <= f.size {
		if r.at > f.progress()+near {
			return nil, false
		}
		f.followers++
		return f, false
	}
	if s.files.has(r.name, r.end) || !s.mayFetch(r.at, r.end) {
		return nil, false
	}
	f = newFetch(r) // in the place of a shorter one, which its readers finish
	s.fetches[r.name] = f
	s.active[f] = struct{}{}
	s.fetching.Go(func() { s.run(f, r.key) })
	return f, true
}

// mayFetch tells whether what is read is worth a copy, and whether there is room: bytes only come in here, and then pass from
// fetches to copies, and from copies to what is held, so that all together are within the size. It needs s.mu.
func (s *Store) mayFetch(from, to int64) bool {
	if from != 0 || s.isClosed() || len(s.active) >= maxFetches || s.options.Clock().Before(s.resting) {
		return false
	}
	_, held := s.files.sizes()
	return s.reserved()+held+onDisk(to) <= s.options.Size/share
}

// leave takes a reader out of a fetch, and gives it up after the last one.
func (s *Store) leave(f *fetch) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f.followers--
	if f.followers > 0 || f.isComplete() {
		return
	}
	s.takeOut(f) // whoever comes now begins anew
	f.cancel()
}

// takeOut needs s.mu.
func (s *Store) takeOut(f *fetch) {
	if s.fetches[f.name] == f {
		delete(s.fetches, f.name)
	}
}

// run asks the store behind for an object, moves it into a file, and makes a copy of that.
func (s *Store) run(f *fetch, key string) {
	defer s.forget(f)
	body, err := s.Store.Open(f.ctx, key, 0, f.size)
	if err != nil {
		f.refuse(err)
		return
	}
	file, err := s.files.create(f.name)
	if err != nil {
		_ = body.Close() // nothing was read
		f.refuse(&diskError{err})
		s.rest(err)
		return
	}
	f.admit(file)
	err = s.transfer(f, key, body)
	if err == nil {
		if err = s.files.keep(file, f.entry); err == nil {
			f.end(true)
			return
		}
		err = &diskError{err}
	}
	f.end(false)
	s.files.discard(file, f.entry)
	if errors.As(err, new(*diskError)) {
		s.rest(err)
	}
	if errors.Is(err, syscall.ENOSPC) {
		s.files.evict(f.size)
	}
}

// transfer moves what a fetch is about into its file. It goes on where the store behind broke off, for all readers at once.
func (s *Store) transfer(f *fetch, key string, body io.ReadCloser) error {
	for tries := 0; ; tries++ {
		before := f.progress()
		_, err := buffer.Copy(f, body)
		_ = body.Close() // all of it has been read, or its rest is asked for again
		have := f.progress()
		if have == f.size {
			return nil
		}
		if err == nil {
			return io.ErrUnexpectedEOF // shorter than asked
		}
		if have > before {
			tries = 0
		}
		if tries == maxReopens || f.ctx.Err() != nil || !errors.Is(err, storage.ErrUnavailable) {
			return err
		}
		if body, err = s.Store.Open(f.ctx, key, have, f.size-have); err != nil {
			return err //nolint:wrapcheck // nobody is told: readers ask the store by themselves
		}
	}
}

// forget removes a fetch that is over.
func (s *Store) forget(f *fetch) {
	f.cancel()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.takeOut(f)
	delete(s.active, f)
}

// rest stops fetching for a while: the disk is full, or broken.
func (s *Store) rest(err error) {
	s.mu.Lock()
	s.resting = s.options.Clock().Add(pause)
	s.mu.Unlock()
	s.options.Logger.Warn("the blob cache's disk fails; blobs come from the bucket meanwhile", slog.String("error", err.Error()))
}

// newFetch is a fetch of what r reads, with r as its reader. It outlives the request, whose values it keeps.
func newFetch(r *reader) *fetch {
	f := &fetch{entry: &entry{name: r.name, size: r.end}, followers: 1, opened: make(chan struct{})}
	f.ctx, f.cancel = context.WithCancel(context.WithoutCancel(r.ctx))
	return f
}
