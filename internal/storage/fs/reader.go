package fs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/berthregistry/berth/internal/storage"
	"github.com/berthregistry/berth/internal/storage/internal/buffer"
)

// reader reads a range of one file.
type reader struct {
	ctx  context.Context // the context of Open covers the reading
	key  string
	file *os.File
	left int64 // bytes of the range that the file holds and that were not read yet
	end  error // what follows them: io.EOF, or io.ErrUnexpectedEOF when the range is longer than the file
}

// Open implements storage.Store. The reader's WriteTo lets a TCP connection take the bytes by sendfile.
func (s *Store) Open(ctx context.Context, key string, offset, length int64) (io.ReadCloser, error) {
	if err := storage.ValidateKey(key); err != nil {
		return nil, fmt.Errorf("fs: open: %w", err)
	}
	if err := storage.ValidateRange(offset, length); err != nil {
		return nil, fmt.Errorf("fs: open %s: %w", key, err)
	}
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("fs: open %s: %w", key, err)
	}
	file, size, err := s.openFile(key)
	if err != nil {
		return nil, err
	}
	r := &reader{ctx: ctx, key: key, file: file, left: max(size-offset, 0), end: io.EOF}
	switch {
	case length >= 0 && length <= r.left:
		r.left = length
	case length >= 0:
		r.end = io.ErrUnexpectedEOF
	}
	if r.left == 0 {
		return r, nil
	}
	if _, err := file.Seek(offset, io.SeekStart); err != nil {
		_ = file.Close()
		return nil, unavailable("seek", key, err)
	}
	return r, nil
}

// openFile opens a committed object and returns its size.
func (s *Store) openFile(key string) (*os.File, int64, error) {
	if s.pending.has(key) {
		return nil, 0, fmt.Errorf("fs: open %s: %w", key, storage.ErrNotFound)
	}
	file, err := s.root.Open(fileOf(key))
	if err != nil && isAbsent(err) {
		file, err = s.root.Open(key) // where it was before
	}
	if err != nil {
		return nil, 0, lookupError("open", key, err)
	}
	info, err := file.Stat()
	if err != nil {
		_ = file.Close()
		return nil, 0, unavailable("stat", key, err)
	}
	if !info.Mode().IsRegular() {
		_ = file.Close()
		return nil, 0, fmt.Errorf("fs: open %s: %w", key, storage.ErrNotFound)
	}
	return file, info.Size(), nil
}

// Read implements io.Reader.
func (r *reader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, fmt.Errorf("fs: read %s: %w", r.key, err)
	}
	if r.left == 0 {
		return 0, r.end
	}
	n, err := r.file.Read(p[:min(int64(len(p)), r.left)])
	r.left -= int64(n)
	switch {
	case err == nil:
		return n, nil
	case errors.Is(err, io.EOF): // the file lost bytes since it was opened
		return n, fmt.Errorf("fs: read %s: %w", r.key, io.ErrUnexpectedEOF)
	}
	return n, unavailable("read", r.key, err)
}

// WriteTo implements io.WriterTo.
func (r *reader) WriteTo(w io.Writer) (int64, error) {
	var total int64
	for r.left > 0 {
		if err := r.ctx.Err(); err != nil {
			return total, fmt.Errorf("fs: read %s: %w", r.key, err)
		}
		n, err := buffer.Send(w, r.file, r.left)
		total += n
		r.left -= n
		if err != nil {
			return total, fmt.Errorf("fs: send %s: %w", r.key, err)
		}
		if n == 0 {
			return total, fmt.Errorf("fs: send %s: %w", r.key, io.ErrUnexpectedEOF)
		}
	}
	if errors.Is(r.end, io.EOF) {
		return total, nil
	}
	return total, r.end
}

// Close implements io.Closer.
func (r *reader) Close() error {
	if err := r.file.Close(); err != nil {
		return fmt.Errorf("fs: close %s: %w", r.key, err)
	}
	return nil
}
