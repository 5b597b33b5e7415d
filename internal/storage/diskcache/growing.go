package diskcache

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
)

// fetch is an object on its way into a file, which readers follow.
type fetch struct {
	*entry // what it becomes; its size is how much is fetched

	ctx       context.Context // ends when nobody waits any more, not with the request that began
	cancel    context.CancelFunc
	followers int           // who reads it; under the Store's mu
	opened    chan struct{} // closed once the store behind has answered
	refused   error         // set before: why there is nothing to read
	into      *os.File      // set before

	mu      sync.Mutex
	written int64
	ended   bool
	failed  bool          // what is in the file is not to be trusted
	grown   chan struct{} // closed at the next write, made for who waits; nil without anybody
}

// refuse tells all readers why there is nothing to read.
func (f *fetch) refuse(err error) {
	f.refused = err
	close(f.opened)
}

// admit lets readers in.
func (f *fetch) admit(file *os.File) {
	f.into, f.file = file, filepath.Base(file.Name())
	close(f.opened)
}

// Write implements io.Writer: it appends to the file, and tells who waits.
func (f *fetch) Write(p []byte) (int, error) {
	n, err := f.into.Write(p)
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

// end says that nothing more is written. What is not whole, and on the disk, readers no longer read.
func (f *fetch) end(whole bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ended, f.failed = true, !whole
	f.wake()
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
	if f.failed {
		return 0, nil
	}
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
