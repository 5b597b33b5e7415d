package diskcache

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"

	"github.com/berthregistry/berth/internal/storage/internal/buffer"
)

// reader reads from a copy, or from one that is being made, and goes on with the store behind where that fails.
type reader struct {
	store   *Store
	ctx     context.Context // the context of Open covers the reading
	key     string
	name    name
	at, end int64         // bytes of the object
	file    *os.File      // nil once it is of no use
	entry   *entry        // what it is
	fetch   *fetch        // what makes the copy; nil where it was complete
	behind  io.ReadCloser // instead of the file
	failed  error         // why nothing more can be read
}

// take makes a file what r reads from; it is closed where that fails, and its entry released.
func (r *reader) take(file *os.File, e *entry) bool {
	r.file, r.entry = file, e
	if _, err := file.Seek(r.at, io.SeekStart); err != nil {
		_ = r.put()
		return false
	}
	return true
}

// put gives the file back.
func (r *reader) put() error {
	if r.file == nil {
		return nil
	}
	err := r.file.Close()
	r.file = nil
	r.store.files.release(r.entry)
	return err //nolint:wrapcheck // by the caller
}

// Read implements io.Reader.
func (r *reader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for r.at < r.end && r.behind == nil {
		have, err := r.available()
		if err != nil {
			return 0, err
		}
		if have == 0 {
			break
		}
		n, err := r.file.Read(p[:min(int64(len(p)), have)])
		r.at += int64(n)
		if n > 0 {
			return n, nil
		}
		if err := r.divert(err); err != nil {
			return 0, err
		}
	}
	if r.at == r.end {
		return 0, io.EOF
	}
	n, err := r.behind.Read(p)
	r.at += int64(n)
	return n, err //nolint:wrapcheck // the store's own answer
}

// available returns how many bytes of the file can be read now. It is zero when the store behind has to go on.
func (r *reader) available() (int64, error) {
	if r.failed != nil {
		return 0, r.failed
	}
	if err := r.ctx.Err(); err != nil {
		return 0, fmt.Errorf("disk cache: read %s: %w", r.key, err)
	}
	if r.fetch == nil {
		return r.end - r.at, nil
	}
	have, err := r.fetch.wait(r.ctx, r.at)
	switch {
	case errors.Is(err, errEnded):
		return 0, r.divert(err)
	case err != nil:
		return 0, fmt.Errorf("disk cache: read %s: %w", r.key, err)
	}
	return min(have, r.end-r.at), nil
}

// WriteTo implements io.WriterTo: a file goes to the socket without passing through the process.
func (r *reader) WriteTo(w io.Writer) (int64, error) {
	var total int64
	for r.at < r.end && r.behind == nil {
		have, err := r.available()
		if err != nil {
			return total, err
		}
		if have == 0 {
			break
		}
		n, err := buffer.Send(w, r.file, have)
		r.at += n
		total += n
		if err == nil && n > 0 {
			continue
		}
		if err != nil && !isDisk(err) { // the other side's
			return total, fmt.Errorf("disk cache: send %s: %w", r.key, err)
		}
		if err := r.divert(err); err != nil {
			return total, err
		}
	}
	if r.at == r.end {
		return total, nil
	}
	n, err := copyFrom(r.behind, w)
	r.at += n
	return total + n, err
}

func copyFrom(r io.Reader, w io.Writer) (int64, error) {
	if to, ok := r.(io.WriterTo); ok {
		return to.WriteTo(w) //nolint:wrapcheck // the store's own answer
	}
	return buffer.Copy(w, r)
}

// isDisk tells failures of a disk from those of whoever is being sent to.
func isDisk(err error) bool {
	for _, known := range []error{syscall.EIO, syscall.EBADMSG, syscall.ESTALE} {
		if errors.Is(err, known) {
			return true
		}
	}
	return false
}

// divert goes on with the store behind. A copy that cannot be read, or has lost bytes, goes.
func (r *reader) divert(cause error) error {
	_ = r.put() // only read from
	if r.fetch == nil {
		r.store.files.drop(r.entry)
		if cause != nil && !errors.Is(cause, io.EOF) {
			r.store.rest(cause)
		}
	}
	behind, err := r.store.Store.Open(r.ctx, r.key, r.at, r.end-r.at)
	if err != nil {
		r.failed = err
		return err //nolint:wrapcheck // the store's own answer
	}
	r.behind = behind
	return nil
}

// Close implements io.Closer.
func (r *reader) Close() error {
	err := r.put()
	if r.fetch != nil {
		r.store.leave(r.fetch)
		r.fetch = nil
	}
	if r.behind != nil {
		err = errors.Join(err, r.behind.Close())
	}
	if err != nil {
		return fmt.Errorf("disk cache: close %s: %w", r.key, err)
	}
	return nil
}
