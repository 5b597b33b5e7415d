package fs

import (
	"context"
	"errors"
	"fmt"
	iofs "io/fs"
	"os"
	"path"
	"sync"

	"github.com/berthregistry/berth/internal/storage"
)

const (
	// writebackStep is how many bytes gather before the kernel is told to write them, so that the final fsync finds
	// little left to do.
	writebackStep = 8 << 20
	// createTries bounds how often a folder that another process removes is created again.
	createTries = 4
)

// writer writes one file at its final name.
type writer struct {
	store    *Store
	ctx      context.Context // the context of Create covers the writing
	key      string
	declared int64 // -1 when unknown

	mu      sync.Mutex
	file    *os.File
	lease   *lease
	size    int64
	started int64 // writeback was started up to here
	settled bool
}

// Create implements storage.Store. It returns storage.ErrExists at once for a taken key.
func (s *Store) Create(ctx context.Context, key string, size int64) (storage.Writer, error) {
	return s.create(ctx, key, size)
}

func (s *Store) create(ctx context.Context, key string, size int64) (*writer, error) {
	if err := storage.ValidateKey(key); err != nil {
		return nil, fmt.Errorf("fs: create: %w", err)
	}
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("fs: create %s: %w", key, err)
	}
	if !s.pending.add(key) {
		return nil, fmt.Errorf("fs: create %s: %w", key, storage.ErrExists)
	}
	file, l, err := s.createFile(key)
	if err != nil {
		s.pending.remove(key)
		return nil, err
	}
	return &writer{store: s, ctx: ctx, key: key, declared: size, file: file, lease: l}, nil
}

// createFile creates the file of key in a folder that stays leased.
func (s *Store) createFile(key string) (*os.File, *lease, error) {
	name := fileOf(key)
	l, err := s.folders.acquire(path.Dir(name))
	for try := 0; err == nil; try++ {
		var file *os.File
		file, err = s.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, fileMode)
		if err == nil {
			return file, l, nil
		}
		if !errors.Is(err, iofs.ErrNotExist) || try == createTries {
			break
		}
		err = l.recreate()
	}
	if l != nil {
		l.release()
		s.folders.prune(path.Dir(name))
	}
	if errors.Is(err, iofs.ErrExist) {
		return nil, nil, fmt.Errorf("fs: create %s: %w", key, storage.ErrExists)
	}
	return nil, nil, unavailable("create", key, err)
}

// Write implements storage.Writer.
func (w *writer) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.admit(w.ctx, int64(len(p))); err != nil {
		return 0, fmt.Errorf("fs: write %s: %w", w.key, err)
	}
	n, err := w.file.Write(p)
	w.wrote(int64(n))
	if err != nil {
		return n, unavailable("write", w.key, err)
	}
	return n, nil
}

// admit says whether n more bytes may be written. It needs w.mu.
func (w *writer) admit(ctx context.Context, n int64) error {
	if w.settled {
		return fmt.Errorf("%w: writer is settled", storage.ErrInvalid)
	}
	if w.declared >= 0 && n > w.declared-w.size {
		return fmt.Errorf("%w: more than the declared %d bytes", storage.ErrInvalid, w.declared)
	}
	return ctx.Err()
}

// wrote counts n written bytes and starts their writeback. It needs w.mu.
func (w *writer) wrote(n int64) {
	w.size += n
	if w.size-w.started < writebackStep {
		return
	}
	startWriteback(w.file, w.started, w.size-w.started)
	w.started = w.size
}

// Size implements storage.Writer.
func (w *writer) Size() int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.size
}

// Commit implements storage.Writer. A sync that has begun is not interrupted by the context: it is short, since
// writeback started long before, and its outcome would be unknown.
func (w *writer) Commit(ctx context.Context) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.admit(ctx, 0); err != nil {
		return fmt.Errorf("fs: commit %s: %w", w.key, err)
	}
	if err := w.persist(ctx); err != nil {
		_ = w.discard()
		return err
	}
	w.settled = true
	w.store.pending.remove(w.key)
	w.lease.release()
	return nil
}

// persist needs w.mu.
func (w *writer) persist(ctx context.Context) error {
	if w.declared >= 0 && w.size != w.declared {
		return fmt.Errorf("fs: commit %s: %w: %d bytes, declared %d", w.key, storage.ErrInvalid, w.size, w.declared)
	}
	if err := w.file.Sync(); err != nil {
		return unavailable("sync", w.key, err)
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("fs: commit %s: %w", w.key, err)
	}
	if err := w.lease.sync(); err != nil {
		return unavailable("sync folder of", w.key, err)
	}
	if err := w.file.Close(); err != nil {
		return unavailable("close", w.key, err)
	}
	return nil
}

// Abort implements storage.Writer.
func (w *writer) Abort() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.settled {
		return nil
	}
	return w.discard()
}

// discard removes the file, then the folders that it leaves empty. It needs w.mu.
func (w *writer) discard() error {
	w.settled = true
	_ = w.file.Close() // it may be closed already; what it held is not wanted
	err := w.store.root.Remove(fileOf(w.key))
	w.store.pending.remove(w.key)
	w.lease.release()
	w.store.folders.prune(path.Dir(fileOf(w.key)))
	if err != nil && !isAbsent(err) {
		return unavailable("abort", w.key, err)
	}
	return nil
}
