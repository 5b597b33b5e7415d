// Package diskcache keeps copies of what is read from a remote store on a local disk, so that what many clients pull is
// fetched once, and leaves from a file without passing through the program.
//
// Nothing depends on the copies. Objects never change and keys are never used again, so a copy cannot be out of date;
// whether anybody may read a blob, and where its bytes lie, has been asked of the database before a key reaches a store.
// A disk that fails costs a read from the store behind.
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
	// share is which part of the cache is kept for what is being fetched, and for what slow readers hold after it had to go.
	// So it bounds one object, too.
	share = 4
	// maxFetches is how many objects are being fetched at a time, and synced. Each has a goroutine and a file.
	maxFetches = 64
	// near is how far beyond what has been fetched somebody waits for, in bytes, instead of asking for it alone.
	near = 16 << 20
	// pause is for how long nothing is fetched into the cache after its disk failed.
	pause = 30 * time.Second
	// MaxIdle is after how long a copy goes that nobody reads. What has been deleted nobody can read.
	MaxIdle = 7 * 24 * time.Hour
)

// Options say where copies are kept, and how many.
type Options struct {
	// Dir is the folder, made where it is missing, for one process at a time. Nothing else should be in it. What an earlier
	// process left is used.
	Dir string
	// Size is the most that the cache takes of the disk, in bytes: copies, what is being fetched, and what had to go but is
	// still being read. At least MinSize. Objects over a quarter of it are not kept.
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
	fetches  map[name]*fetch     // which others can join
	active   map[*fetch]struct{} // all that run
	resting  time.Time           // until when nothing is fetched
	fetching sync.WaitGroup

	closed   chan struct{}
	searched chan struct{} // closed once the folder has been looked through
	tending  sync.WaitGroup

	hits, misses, shared atomic.Int64
}

var _ storage.Store = (*Store)(nil)

// New puts a cache before a store, which it closes with itself. It returns storage.ErrInvalid for a size below MinSize or
// a folder that cannot be one, and storage.ErrUnavailable for a folder on a disk that fails, or that another process uses.
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
	files, err := openFiles(options.Dir, options.Size-options.Size/share, options.Clock)
	if err != nil {
		return nil, err
	}
	s := &Store{
		Store: behind, options: options, files: files, fetches: map[name]*fetch{}, active: map[*fetch]struct{}{},
		closed: make(chan struct{}), searched: make(chan struct{}),
	}
	s.tending.Go(s.tend)
	return s, nil
}

// tend looks after the copies until the store is closed.
func (s *Store) tend() {
	s.findCopies()
	close(s.searched)
	ticker := time.NewTicker(touchEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			s.files.expire()
		case <-s.closed:
			return
		}
	}
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
	select {
	case <-s.closed:
		return true
	default:
		return false
	}
}

// Stats are the figures of a Store.
type Stats struct {
	// Hits are the reads that a copy answered, Shared those that joined a fetch, Misses those that the store behind did.
	Hits, Shared, Misses int64
	// Bytes is what the cache takes of the disk: copies, what is being fetched, and what had to go but is still read.
	Bytes int64
}

// Stats tells of how much use the copies are.
func (s *Store) Stats() Stats {
	s.mu.Lock()
	reserved := s.reserved()
	s.mu.Unlock()
	kept, held := s.files.sizes()
	return Stats{Hits: s.hits.Load(), Shared: s.shared.Load(), Misses: s.misses.Load(), Bytes: kept + held + reserved}
}

// reserved is what all fetches take of the disk, or will. It needs s.mu.
func (s *Store) reserved() (bytes int64) {
	for f := range s.active {
		bytes += onDisk(f.size)
	}
	return bytes
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
		return r, nil
	}
	f, first := s.join(r)
	if f == nil {
		if s.openCopy(r) { // made meanwhile
			return r, nil
		}
		return s.pass(r)
	}
	opened, err := s.follow(r, f)
	switch {
	case err != nil:
		return nil, err
	case !opened:
		return s.pass(r)
	case first:
		s.misses.Add(1)
	default:
		s.shared.Add(1)
	}
	return r, nil
}

// pass leaves a read to the store behind.
func (s *Store) pass(r *reader) (io.ReadCloser, error) {
	s.misses.Add(1)
	return s.Store.Open(r.ctx, r.key, r.at, r.end-r.at) //nolint:wrapcheck // the store's own answer
}

// openCopy tells whether a copy has what r wants.
func (s *Store) openCopy(r *reader) bool {
	file, e, err := s.files.open(r.name, r.end)
	if err != nil {
		s.rest(err)
	}
	if file == nil || !r.take(file, e) {
		return false
	}
	s.hits.Add(1)
	return true
}

// follow has r read from a fetch, once the store behind has answered. It tells whether that is possible: not where the
// cache's own disk fails. Its errors are those of the store and the context's.
func (s *Store) follow(r *reader, f *fetch) (bool, error) {
	select {
	case <-f.opened:
	case <-r.ctx.Done():
		s.leave(f)
		return false, fmt.Errorf("disk cache: open %s: %w", r.key, r.ctx.Err())
	}
	if f.refused != nil {
		s.leave(f)
		if errors.As(f.refused, new(*diskError)) {
			return false, nil
		}
		return false, f.refused
	}
	file, ok := s.files.openGrowing(f.entry)
	if !ok || !r.take(file, f.entry) {
		s.leave(f)
		return false, nil
	}
	r.fetch = f
	return true, nil
}

// Close gives up what is being fetched and closes the store behind. The copies stay.
func (s *Store) Close() error {
	s.mu.Lock()
	close(s.closed)
	for f := range s.active {
		f.cancel()
	}
	s.mu.Unlock()
	s.fetching.Wait()
	s.tending.Wait()
	s.files.close()
	return s.Store.Close() //nolint:wrapcheck // the store's own answer
}
