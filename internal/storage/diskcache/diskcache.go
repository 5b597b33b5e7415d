// Package diskcache keeps copies of what is read from a remote store on a local disk, so that what many clients pull is
// fetched once, and leaves from a file without passing through the program.
//
// Nothing depends on the copies. Objects never change and keys are never used again, so a copy cannot be out of date;
// whether anybody may read a blob, and where its bytes lie, has been asked of the database before a key reaches a store.
// What is wrong with the disk costs a read from the store behind, never an answer.
//
// The first that reads an object from its beginning has it fetched into a file, and reads from that while it grows, as does
// everybody who asks meanwhile. A fetch that nobody waits for any more is given up. A copy is a prefix: as much
// as was asked for, never more.
package diskcache

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/berthregistry/berth/internal/storage"
)

const (
	// MinSize is the least that a cache may take of the disk, in bytes: a few chunks.
	MinSize = 64 << 20
	// share is which part of the cache one object, and all that is being fetched, may take.
	share = 4
	// near is how far beyond what has been fetched somebody waits for, in bytes, instead of asking for it alone.
	near = 16 << 20
	// pause is for how long nothing is fetched into the cache after its disk failed.
	pause = 30 * time.Second
	// MaxIdle is after how long a copy goes that nobody reads. What has been deleted nobody can read.
	MaxIdle = 7 * 24 * time.Hour
)

// Options say where copies are kept, and how many.
type Options struct {
	// Dir is the folder, made where it is missing. Nothing else should be in it. What an earlier process left is used.
	Dir string
	// Size is the most that the copies take, in bytes, with what is being fetched: at least MinSize. Eviction runs
	// behind, so that it may be exceeded for a moment. Objects over a quarter of it are not kept.
	Size int64
	// Logger hears of a disk that fails. Nil: slog.Default().
	Logger *slog.Logger
	// Clock tells the time. Nil: time.Now.
	Clock func() time.Time
}

// Store is a store whose reads are answered from copies where there are any. All else goes to the store behind.
type Store struct {
	storage.Store
	options Options
	files   *files

	mu       sync.Mutex
	fetches  map[string]*fetch // by the name of the copy
	reserved int64             // bytes that they take, or will
	resting  time.Time         // until when nothing is fetched
	closed   bool
	running  sync.WaitGroup

	hits, misses, shared atomic.Int64
}

var _ storage.Store = (*Store)(nil)

// New puts a cache before a store, which it closes with itself. It returns storage.ErrInvalid for a size below MinSize
// and storage.ErrUnavailable for a folder that cannot be used.
func New(behind storage.Store, options Options) (*Store, error) {
	if options.Size < MinSize {
		return nil, fmt.Errorf("disk cache: %w: %d bytes are less than %d", storage.ErrInvalid, options.Size, MinSize)
	}
	if options.Logger == nil {
		options.Logger = slog.Default()
	}
	if options.Clock == nil {
		options.Clock = time.Now
	}
	files, err := openFiles(options.Dir, options.Size)
	if err != nil {
		return nil, err
	}
	s := &Store{Store: behind, options: options, files: files, fetches: map[string]*fetch{}}
	s.running.Go(s.findCopies)
	return s, nil
}

// findCopies takes over what an earlier process left. Until it is done, some of it is fetched again.
func (s *Store) findCopies() {
	found, err := s.files.scan(s.isClosed)
	if err != nil {
		s.options.Logger.Warn("the blob cache's folder cannot be read in full", slog.String("error", err.Error()))
	}
	s.options.Logger.Info("the blob cache has been looked through", slog.Int("copies", found))
}

func (s *Store) isClosed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closed
}

// Stats are the figures of a Store.
type Stats struct {
	// Hits are the reads that a copy answered, Shared those that joined a fetch, Misses those that the store behind did.
	Hits, Shared, Misses int64
	// Bytes is what copies take of the disk.
	Bytes int64
}

// Stats tells of how much use the copies are.
func (s *Store) Stats() Stats {
	return Stats{Hits: s.hits.Load(), Shared: s.shared.Load(), Misses: s.misses.Load(), Bytes: s.files.bytes()}
}

// Open implements storage.Store.
func (s *Store) Open(ctx context.Context, key string, offset, length int64) (io.ReadCloser, error) {
	if length <= 0 || storage.ValidateKey(key) != nil || storage.ValidateRange(offset, length) != nil {
		return s.Store.Open(ctx, key, offset, length) //nolint:wrapcheck // the store's own answer
	}
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("disk cache: open %s: %w", key, err)
	}
	r := &reader{store: s, ctx: ctx, key: key, name: nameOf(key), at: offset, end: offset + length}
	if s.openCopy(r) {
		s.hits.Add(1)
		return r, nil
	}
	opened, err := s.openFetch(r)
	if opened || err != nil {
		return orNil(r, err)
	}
	s.misses.Add(1)
	return s.Store.Open(ctx, key, offset, length) //nolint:wrapcheck // the store's own answer
}

func orNil(r *reader, err error) (io.ReadCloser, error) {
	if err != nil {
		return nil, err
	}
	return r, nil
}

// openCopy tells whether a copy has what r wants.
func (s *Store) openCopy(r *reader) bool {
	file, ok := s.files.open(r.name, r.end)
	return ok && r.take(file)
}

// openFetch has r read from a fetch that is under way, or begins one. It tells whether there is any. Its error is that of
// the store behind.
func (s *Store) openFetch(r *reader) (bool, error) {
	f, first := s.join(r)
	if f == nil {
		return false, nil
	}
	if first {
		if err := s.begin(r.ctx, f, r.key); err != nil {
			s.leave(f)
			if errors.As(err, new(*diskError)) {
				return false, nil
			}
			return false, err
		}
	}
	if !s.follow(r, f) {
		s.leave(f)
		return false, nil
	}
	if first {
		s.misses.Add(1)
	} else {
		s.shared.Add(1)
	}
	return true, nil
}

// follow lets r read from f once the store behind has answered; it tells whether that is possible.
func (s *Store) follow(r *reader, f *fetch) bool {
	select {
	case <-f.opened:
	case <-r.ctx.Done():
		return false
	}
	if f.refused {
		return false
	}
	file, ok := s.files.openGrowing(f.path, f.name)
	if !ok {
		return false
	}
	r.fetch = f
	return r.take(file)
}

// Close gives up what is being fetched and closes the store behind. The copies stay.
func (s *Store) Close() error {
	s.mu.Lock()
	s.closed = true
	for _, f := range s.fetches {
		f.cancel()
	}
	s.mu.Unlock()
	s.running.Wait()
	s.files.close()
	return s.Store.Close() //nolint:wrapcheck // the store's own answer
}
