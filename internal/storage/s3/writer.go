package s3

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/berthregistry/berth/internal/storage"
)

// maxObject is the largest object that one PutObject takes, in bytes.
const maxObject = 5 * gib

// writer spools one object and sends it at Commit.
type writer struct {
	store    *Store
	ctx      context.Context // the context of Create covers the writing
	key      string
	declared int64 // -1 when unknown

	mu      sync.Mutex
	spool   *spool
	size    int64
	settled bool
	unclear bool // Commit failed, and the server may have stored the object all the same
}

// Create implements storage.Store. Objects of more than 5 GiB yield storage.ErrInvalid, here or from Write. A taken
// key is only found at Commit.
func (s *Store) Create(ctx context.Context, key string, size int64) (storage.Writer, error) {
	if err := storage.ValidateKey(key); err != nil {
		return nil, fmt.Errorf("s3: create: %w", err)
	}
	if size > maxObject {
		return nil, fmt.Errorf("s3: create %s: %w: %d bytes exceed %d", key, storage.ErrInvalid, size, int64(maxObject))
	}
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("s3: create %s: %w", key, err)
	}
	return &writer{store: s, ctx: ctx, key: key, declared: size, spool: s.spools.newSpool()}, nil
}

// Write implements storage.Writer. When the disk space for spools is used up, it waits for some to come back, at most
// maxWait and as long as the context of Create lasts. Meanwhile Abort works.
func (w *writer) Write(p []byte) (n int, err error) {
	err = w.store.spools.patiently(w.ctx, func() error {
		k, err := w.write(p[n:])
		n += k
		return err
	})
	return n, err
}

func (w *writer) write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.admit(w.ctx, int64(len(p))); err != nil {
		return 0, fmt.Errorf("s3: write %s: %w", w.key, err)
	}
	n, err := w.spool.Write(p)
	w.size += int64(n)
	if err != nil {
		return n, fmt.Errorf("s3: write %s: %w", w.key, err)
	}
	return n, nil
}

// admit says whether n more bytes may be written. It needs w.mu.
func (w *writer) admit(ctx context.Context, n int64) error {
	limit := int64(maxObject)
	if w.declared >= 0 {
		limit = w.declared
	}
	switch {
	case w.settled:
		return fmt.Errorf("%w: writer is settled", storage.ErrInvalid)
	case n > limit-w.size:
		return fmt.Errorf("%w: more than %d bytes", storage.ErrInvalid, limit)
	}
	return ctx.Err()
}

// Size implements storage.Writer.
func (w *writer) Size() int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.size
}

// Commit implements storage.Writer.
func (w *writer) Commit(ctx context.Context) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.admit(ctx, 0); err != nil {
		return fmt.Errorf("s3: commit %s: %w", w.key, err)
	}
	w.settled = true
	defer w.spool.release()
	if w.declared >= 0 && w.size != w.declared {
		return fmt.Errorf("s3: commit %s: %w: %d bytes, declared %d", w.key, storage.ErrInvalid, w.size, w.declared)
	}
	err := w.store.put(ctx, w.key, w.spool)
	w.unclear = errors.Is(err, errUnclear)
	return err
}

// Abort implements storage.Writer.
func (w *writer) Abort() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.settled = true
	w.spool.release()
	if !w.unclear {
		return nil
	}
	w.unclear = false
	return w.store.expunge(w.ctx, w.key)
}
