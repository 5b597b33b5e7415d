package diskcache

import (
	"container/list"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	iofs "io/fs"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/berthregistry/berth/internal/storage"
)

const (
	folderMode = 0o700
	// growing is the folder of what is being fetched. A start empties it.
	growing = "fetching"
	// block is the unit in which copies are counted, in bytes. It bounds their number, and so the memory for knowing them.
	block = 64 << 10
	// touchEvery is how often a copy that is read is marked as such on the disk, for the next start.
	touchEvery = time.Hour
)

// name is what a copy is called: the SHA-256 of the object's key.
type name [sha256.Size]byte

func nameOf(key string) name { return sha256.Sum256([]byte(key)) }

func (n name) String() string { return hex.EncodeToString(n[:]) }

// onDisk is what a file of that size takes, in bytes, generously.
func onDisk(size int64) int64 { return (size + block - 1) / block * block }

// entry is a file of the cache: a copy, or one in the making. No two have the same file, whatever they are copies of.
type entry struct {
	name name
	size int64
	file string // the name of the file, set before it is a copy

	// Under the mu of files:
	place   *list.Element // among the copies
	read    time.Time     // when it was opened last
	touched time.Time     // when it was last marked as read on the disk
	readers int
	gone    bool // nobody can open it any more
}

// files are the copies in a folder: <first byte of the name in hex>/<name>-<random>. What was not read for the longest time
// has to go first.
type files struct {
	dir   string
	limit int64 // of kept
	lock  *os.File
	clock func() time.Time
	sync  func(*os.File) error

	mu     sync.Mutex
	copies map[name]*entry
	order  list.List // of *entry, what was read last in front
	kept   int64     // bytes of copies
	held   int64     // bytes of what has gone but is still being read
}

func openFiles(dir string, limit int64, clock func() time.Time) (*files, error) {
	f := &files{dir: dir, limit: limit, clock: clock, sync: (*os.File).Sync, copies: map[name]*entry{}}
	if err := f.prepare(); err != nil {
		return nil, err
	}
	return f, nil
}

// prepare makes the folders, takes the lock, and sees that files can be written.
func (f *files) prepare() error {
	if err := os.MkdirAll(f.dir, folderMode); err != nil {
		return unusable(err)
	}
	lock, err := lockFolder(f.dir)
	if err != nil {
		return unusable(err)
	}
	f.lock = lock
	err = os.RemoveAll(filepath.Join(f.dir, growing))
	if err == nil {
		var probe *os.File
		if probe, err = f.create(name{}); err == nil {
			err = errors.Join(probe.Close(), os.Remove(probe.Name()))
		}
	}
	if err != nil {
		f.close()
		return unusable(err)
	}
	return nil
}

// unusable tells a folder that cannot be one from a disk that fails.
func unusable(err error) error {
	kind := storage.ErrUnavailable
	if errors.Is(err, iofs.ErrPermission) || errors.Is(err, syscall.ENOTDIR) {
		kind = storage.ErrInvalid
	}
	return fmt.Errorf("disk cache: %w: the folder cannot be used: %w", kind, err)
}

func (f *files) close() { _ = f.lock.Close() } // and with it the lock goes

// path is where a copy lies.
func (f *files) path(file string) string { return filepath.Join(f.dir, file[:2], file) }

// has tells whether there is a copy with size bytes at least.
func (f *files) has(n name, size int64) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	e := f.copies[n]
	return e != nil && e.size >= size
}

// open opens the copy of that name, if it has size bytes at least. Whoever gets a file has to release its entry. A copy that
// cannot be opened goes, unless the process has no descriptor left; its error is told where it is the disk's.
func (f *files) open(n name, size int64) (*os.File, *entry, error) {
	e, mark := f.find(n, size)
	if e == nil {
		return nil, nil, nil
	}
	path := f.path(e.file)
	file, err := os.Open(path)
	if err != nil {
		f.release(e)
		if errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) {
			return nil, nil, nil
		}
		f.drop(e)
		if errors.Is(err, iofs.ErrNotExist) { // somebody else has removed it
			return nil, nil, nil
		}
		return nil, nil, err //nolint:wrapcheck // by the caller
	}
	if mark {
		now := f.clock()
		_ = os.Chtimes(path, now, now) // else it goes sooner after a start
	}
	return file, e, nil
}

// find takes a copy for reading, and says whether that is to be marked on the disk.
func (f *files) find(n name, size int64) (e *entry, mark bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	e = f.copies[n]
	now := f.clock()
	if e == nil || e.size < size {
		return nil, false
	}
	f.order.MoveToFront(e.place)
	e.read = now
	e.readers++
	if now.Sub(e.touched) < touchEvery {
		return e, false
	}
	e.touched = now
	return e, true
}

// openGrowing opens what is being fetched, or has just been. Whoever gets a file has to release its entry.
func (f *files) openGrowing(e *entry) (*os.File, bool) {
	f.hold(e)
	file, err := os.Open(filepath.Join(f.dir, growing, e.file))
	if errors.Is(err, iofs.ErrNotExist) {
		file, err = os.Open(f.path(e.file))
	}
	if err != nil {
		f.release(e)
	}
	return file, err == nil
}

// create makes the file of a fetch. Its errors are those of os.
func (f *files) create(n name) (*os.File, error) {
	dir := filepath.Join(f.dir, growing)
	file, err := os.CreateTemp(dir, n.String()+"-*")
	if errors.Is(err, iofs.ErrNotExist) {
		if err = os.MkdirAll(dir, folderMode); err == nil {
			file, err = os.CreateTemp(dir, n.String()+"-*")
		}
	}
	return file, err //nolint:wrapcheck // by the callers
}

// discard removes the file of a fetch.
func (f *files) discard(file *os.File, e *entry) {
	_ = file.Close() // what it held is not wanted
	_ = os.Remove(file.Name())
	f.mu.Lock()
	defer f.mu.Unlock()
	f.lose(e)
}

// keep makes a copy of the file of a fetch. It is on disk before it lies among the copies: what a later start finds there is
// whole. Its errors are those of os; then the file is to be discarded.
func (f *files) keep(file *os.File, e *entry) error {
	if err := f.sync(file); err != nil {
		return err
	}
	if err := file.Close(); err != nil {
		return err //nolint:wrapcheck // by the caller
	}
	path := f.path(e.file)
	err := os.Rename(file.Name(), path)
	if errors.Is(err, iofs.ErrNotExist) {
		if err = os.MkdirAll(filepath.Dir(path), folderMode); err == nil {
			err = os.Rename(file.Name(), path)
		}
	}
	if err != nil {
		return err //nolint:wrapcheck // by the caller
	}
	now := f.clock()
	e.touched = now
	f.add(e, now)
	return nil
}

// add puts a copy among the others, where it belongs by when it was read, and removes what there is no more room for.
func (f *files) add(e *entry, read time.Time) {
	f.remove(func() (lost []*entry) {
		if old := f.copies[e.name]; old != nil {
			if old.size >= e.size {
				f.lose(e)
				return []*entry{e}
			}
			lost = append(lost, f.takeOut(old))
		}
		e.read = read
		e.place = f.insert(e)
		f.copies[e.name] = e
		f.kept += onDisk(e.size)
		return append(lost, f.surplus(f.limit)...)
	})
}

// insert needs f.mu. A copy that was just made comes in front at once, those that a start finds are few steps away from where
// they belong.
func (f *files) insert(e *entry) *list.Element {
	for at := f.order.Front(); at != nil; at = at.Next() {
		if other, _ := at.Value.(*entry); !other.read.After(e.read) {
			return f.order.InsertBefore(e, at)
		}
	}
	return f.order.PushBack(e)
}

// surplus takes out what is beyond a number of bytes, or was not read for too long. It needs f.mu.
func (f *files) surplus(limit int64) (lost []*entry) {
	for last := f.order.Back(); last != nil; last = f.order.Back() {
		e, _ := last.Value.(*entry)
		if f.kept <= limit && f.clock().Sub(e.read) <= MaxIdle {
			break
		}
		lost = append(lost, f.takeOut(e))
	}
	return lost
}

// takeOut needs f.mu.
func (f *files) takeOut(e *entry) *entry {
	f.order.Remove(e.place)
	delete(f.copies, e.name)
	f.kept -= onDisk(e.size)
	f.lose(e)
	return e
}

// lose says that nobody can open a file any more. Its bytes stay on the disk while somebody reads them. It needs f.mu.
func (f *files) lose(e *entry) {
	if !e.gone && e.readers > 0 {
		f.held += onDisk(e.size)
	}
	e.gone = true
}

// remove takes copies out under f.mu, and then their files, which may take a while, without it.
func (f *files) remove(takeOut func() []*entry) {
	f.mu.Lock()
	lost := takeOut()
	f.mu.Unlock()
	for _, e := range lost {
		_ = os.Remove(f.path(e.file)) // what stays is found by the next start
	}
}

// drop removes a copy.
func (f *files) drop(e *entry) {
	f.remove(func() []*entry {
		if f.copies[e.name] != e {
			return nil
		}
		return []*entry{f.takeOut(e)}
	})
}

// evict removes copies of so many bytes at least, and expire those that nobody has read for too long.
func (f *files) evict(bytes int64) {
	f.remove(func() []*entry { return f.surplus(f.kept - bytes) })
}

func (f *files) expire() { f.evict(0) }

// hold says that a file is being read, and release that it is no more.
func (f *files) hold(e *entry) {
	f.mu.Lock()
	defer f.mu.Unlock()
	e.readers++
	if e.gone && e.readers == 1 {
		f.held += onDisk(e.size)
	}
}

func (f *files) release(e *entry) {
	f.mu.Lock()
	defer f.mu.Unlock()
	e.readers--
	if e.gone && e.readers == 0 {
		f.held -= onDisk(e.size)
	}
}

// sizes are the bytes of copies, and of what has gone but is still being read.
func (f *files) sizes() (kept, held int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.kept, f.held
}
