package s3

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/berthregistry/berth/internal/storage"
)

const (
	// blockSize is the unit of spool memory. Nearly all small objects fit into one.
	blockSize = 64 << 10
	// maxBlocks is the most that one spool takes; what exceeds it goes to disk, where the page cache takes it.
	maxBlocks = 8
	// maxWait is how long a write waits for disk space that other spools hold. Theirs are on the way to the server, so
	// it comes back soon; when all of them wait for one another, the first to give up lets the others go on.
	maxWait = 30 * time.Second
)

// errFull says that other spools hold the disk space that a write needs. It is also a storage.ErrUnavailable.
var errFull = fmt.Errorf("%w: the disk space for spools is in use", storage.ErrUnavailable)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// SpoolStats tells what the spools of a store hold.
type SpoolStats struct {
	// Spools is the number of objects being written.
	Spools int64
	// MemoryBytes is the memory that they occupy.
	MemoryBytes int64
	// DiskBytes is the disk space that they occupy.
	DiskBytes int64
}

type block [blockSize]byte

// spools accounts for all spools of a store. Memory is never waited for, disk space is: see patiently.
type spools struct {
	dir       string
	maxMemory int64
	maxDisk   int64
	open      atomic.Int64
	memory    atomic.Int64
	disk      atomic.Int64
	free      sync.Pool

	mu    sync.Mutex
	freed chan struct{} // closed, and replaced, when disk space came back
}

func newSpools(o Options) (*spools, error) {
	info, err := os.Stat(o.SpoolDir)
	if err != nil {
		return nil, fmt.Errorf("s3: spool folder: %w: %w", storage.ErrInvalid, err)
	}
	if !info.IsDir() {
		return nil, fmt.Errorf("s3: spool folder: %w: %s is no folder", storage.ErrInvalid, o.SpoolDir)
	}
	return &spools{
		dir: o.SpoolDir, maxMemory: o.UploadMemory, maxDisk: o.SpoolMax, freed: make(chan struct{}),
		free: sync.Pool{New: func() any { return new(block) }},
	}, nil
}

func (s *spools) stats() SpoolStats {
	return SpoolStats{Spools: s.open.Load(), MemoryBytes: s.memory.Load(), DiskBytes: s.disk.Load()}
}

// laterShare is the part of the memory, one in so many, that blocks after the first of a spool may take.
const laterShare = 8

// take returns a block, or nil when there is none to spare. Most of the memory is for first blocks only: so large
// uploads, which go to disk sooner or later, do not drive the small ones there, nor fill the memory for nothing.
func (s *spools) take(first bool) *block {
	limit := s.maxMemory
	if !first {
		limit /= laterShare
	}
	if !reserve(&s.memory, blockSize, limit) {
		return nil
	}
	b, _ := s.free.Get().(*block) // it holds nothing else
	return b
}

func (s *spools) give(b *block) {
	s.memory.Add(-blockSize)
	s.free.Put(b)
}

// giveDisk returns disk space and wakes whoever waits for it.
func (s *spools) giveDisk(n int64) {
	if n == 0 {
		return
	}
	s.disk.Add(-n)
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.freed)
	s.freed = make(chan struct{})
}

// nextFreed returns a channel that is closed when disk space comes back after this call.
func (s *spools) nextFreed() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.freed
}

// patiently calls write again for as long as that returns errFull: each time when another spool gave disk space back,
// until maxWait is over or ctx is done. write must hold no lock that a release needs.
func (s *spools) patiently(ctx context.Context, write func() error) error {
	err := write()
	if !errors.Is(err, errFull) {
		return err
	}
	timer := time.NewTimer(maxWait)
	defer timer.Stop()
	for {
		freed := s.nextFreed() // before the attempt: no release goes unnoticed
		if err = write(); !errors.Is(err, errFull) {
			return err
		}
		select {
		case <-freed:
		case <-timer.C:
			return err
		case <-ctx.Done():
			return fmt.Errorf("s3: wait for spool space: %w", ctx.Err())
		}
	}
}

// reserve adds n to used unless that would exceed limit.
func reserve(used *atomic.Int64, n, limit int64) bool {
	for {
		now := used.Load()
		if now+n > limit {
			return false
		}
		if used.CompareAndSwap(now, now+n) {
			return true
		}
	}
}

// spool holds the bytes of one object until they are sent: in blocks of memory, or, once it has outgrown them, in a file
// and no longer in memory. So memory is for the many small objects, however many large ones are under way.
type spool struct {
	owner *spools
	crc   uint32

	mu     sync.RWMutex // keeps late readers from blocks that belong to another spool already
	blocks []*block
	inMem  int64
	file   *os.File
	inFile int64
	freed  bool
}

func (s *spools) newSpool() *spool {
	s.open.Add(1)
	return &spool{owner: s}
}

func (s *spool) size() int64 { return s.inMem + s.inFile }

// Write implements io.Writer and does not wait. It returns errFull when other spools have left no room, and
// storage.ErrUnavailable when there can be none or the disk is full.
func (s *spool) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for n < len(p) && s.file == nil {
		room := s.room()
		if room == nil {
			if err := s.spill(); err != nil {
				return n, err
			}
			break
		}
		k := copy(room, p[n:])
		s.sum(p[n : n+k])
		s.inMem += int64(k)
		n += k
	}
	if n == len(p) {
		return n, nil
	}
	k, err := s.writeFile(p[n:])
	return n + k, err
}

// room returns the free part of the last block, or of a new one, or nil.
func (s *spool) room() []byte {
	if used := s.inMem - int64(len(s.blocks)-1)*blockSize; len(s.blocks) > 0 && used < blockSize {
		return s.blocks[len(s.blocks)-1][used:]
	}
	if len(s.blocks) == maxBlocks {
		return nil
	}
	b := s.owner.take(len(s.blocks) == 0)
	if b == nil {
		return nil
	}
	s.blocks = append(s.blocks, b)
	return b[:]
}

// spill moves the object to a file and gives its memory back, or changes nothing.
func (s *spool) spill() error {
	if err := s.reserveDisk(s.inMem); err != nil {
		return err
	}
	file, err := s.copyToFile()
	if err != nil {
		s.owner.giveDisk(s.inMem)
		return fmt.Errorf("s3: spool: %w: %w", storage.ErrUnavailable, err)
	}
	s.file, s.inFile = file, s.inMem
	s.dropBlocks()
	return nil
}

// copyToFile makes the temporary file, which has no name from the start and so vanishes with the process.
func (s *spool) copyToFile() (*os.File, error) {
	f, err := os.CreateTemp(s.owner.dir, "berth-spool-*")
	if err != nil {
		return nil, err
	}
	err = os.Remove(f.Name())
	for i, b := range s.blocks {
		if err == nil {
			_, err = f.Write(b[:min(s.inMem-int64(i)*blockSize, blockSize)])
		}
	}
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	return f, nil
}

func (s *spool) dropBlocks() {
	for _, b := range s.blocks {
		s.owner.give(b)
	}
	s.blocks, s.inMem = nil, 0
}

func (s *spool) reserveDisk(n int64) error {
	if s.inFile+n > s.owner.maxDisk { // whatever the others give back
		return fmt.Errorf("s3: spool: %w: more than %d bytes of disk", storage.ErrUnavailable, s.owner.maxDisk)
	}
	if !reserve(&s.owner.disk, n, s.owner.maxDisk) {
		return fmt.Errorf("s3: spool: %w", errFull)
	}
	return nil
}

func (s *spool) writeFile(p []byte) (int, error) {
	if err := s.reserveDisk(int64(len(p))); err != nil {
		return 0, err
	}
	n, err := s.file.Write(p)
	s.owner.giveDisk(int64(len(p) - n))
	s.inFile += int64(n)
	s.sum(p[:n])
	if err != nil {
		return n, fmt.Errorf("s3: spool: %w: %w", storage.ErrUnavailable, err)
	}
	return n, nil
}

// patientSpool is a spool whose Write waits for disk space.
type patientSpool struct {
	ctx context.Context // covers all the writing
	*spool
}

// Write implements io.Writer.
func (s patientSpool) Write(p []byte) (n int, err error) {
	err = s.owner.patiently(s.ctx, func() error {
		k, err := s.spool.Write(p[n:])
		n += k
		return err
	})
	return n, err
}

func (s *spool) sum(p []byte) { s.crc = crc32.Update(s.crc, castagnoli, p) }

// ReadAt implements io.ReaderAt.
func (s *spool) ReadAt(p []byte, off int64) (int, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.freed {
		return 0, os.ErrClosed
	}
	if s.file != nil {
		return s.file.ReadAt(p, off) //nolint:wrapcheck // io.EOF is to stay what it is
	}
	n := 0
	for n < len(p) && off < s.inMem {
		b := s.blocks[off/blockSize]
		end := min(s.inMem-off/blockSize*blockSize, blockSize)
		k := copy(p[n:], b[off%blockSize:end])
		n += k
		off += int64(k)
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// reader returns all the bytes, seekable so that a request can be sent again.
func (s *spool) reader() *io.SectionReader { return io.NewSectionReader(s, 0, s.size()) }

// release gives everything back. It may be called repeatedly.
func (s *spool) release() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.freed {
		return
	}
	s.freed = true
	s.dropBlocks()
	if s.file != nil {
		_ = s.file.Close() // what it held is not wanted any more
	}
	s.owner.giveDisk(s.inFile)
	s.owner.open.Add(-1)
}
