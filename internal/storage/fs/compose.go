package fs

import (
	"context"
	"fmt"
	"io"
	"os"

	"github.com/berthregistry/berth/internal/storage"
)

// copyStep is how many bytes are copied between two looks at the context.
const copyStep = 64 << 20

// Compose implements storage.Store. Where the kernel can copy between files (copy_file_range on Linux) no byte passes
// through the process, and file systems that share extents share them.
func (s *Store) Compose(ctx context.Context, dst string, parts []storage.Part) error {
	total, err := storage.ValidateParts(dst, parts)
	if err != nil {
		return fmt.Errorf("fs: compose: %w", err)
	}
	w, err := s.create(ctx, dst, total)
	if err != nil {
		return err
	}
	defer func() { _ = w.Abort() }()
	for _, p := range parts {
		if err := s.copyPart(ctx, w, p); err != nil {
			return fmt.Errorf("fs: compose %s: %w", dst, err)
		}
	}
	return w.Commit(ctx)
}

func (s *Store) copyPart(ctx context.Context, w *writer, p storage.Part) error {
	if p.Length == 0 {
		return nil
	}
	src, size, err := s.openFile(p.Key)
	if err != nil {
		return err
	}
	defer func() { _ = src.Close() }()
	if p.Offset+p.Length > size {
		return fmt.Errorf("%s has %d bytes, wanted %d at %d: %w", p.Key, size, p.Length, p.Offset, io.ErrUnexpectedEOF)
	}
	if _, err := src.Seek(p.Offset, io.SeekStart); err != nil {
		return unavailable("seek", p.Key, err)
	}
	for left := p.Length; left > 0; {
		n, err := w.copyFrom(ctx, src, min(left, copyStep))
		if err != nil {
			return err
		}
		left -= n
	}
	return nil
}

// copyFrom appends the next n bytes of src.
func (w *writer) copyFrom(ctx context.Context, src *os.File, n int64) (int64, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.admit(ctx, n); err != nil {
		return 0, err
	}
	copied, err := w.file.ReadFrom(&io.LimitedReader{R: src, N: n})
	w.wrote(copied)
	if err != nil {
		return copied, unavailable("copy to", w.key, err)
	}
	if copied < n {
		return copied, fmt.Errorf("copy to %s: %w", w.key, io.ErrUnexpectedEOF)
	}
	return copied, nil
}
