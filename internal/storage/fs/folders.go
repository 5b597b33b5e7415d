package fs

import (
	"errors"
	"fmt"
	iofs "io/fs"
	"os"
	"path"
	"sync"
	"sync/atomic"
)

// maxIdleFolders bounds what is remembered about folders that nobody uses at the moment. Forgetting costs one more
// fsync of the parent when the folder is used again.
const maxIdleFolders = 4096

// folders creates folders when they are first needed, syncs their parents once, and removes them when they are empty,
// none of which may race with the others: a folder in use by a lease is never removed.
type folders struct {
	root *os.Root

	mu    sync.Mutex // guards known and every folder's refs; never held across a system call
	known map[string]*folder
}

// folder is what is known about one folder below the root.
type folder struct {
	path string
	refs int // leases that need it, and whoever is removing it

	mu      sync.Mutex // held across the system calls that change what follows
	present bool       // it was seen to exist
	durable bool       // its name in the parent folder is on disk

	asked   atomic.Uint64 // syncs of its names that were wanted so far
	syncing sync.Mutex    // held while they are synced
	synced  uint64        // up to which of asked they are; needs syncing, as the next two
	failed  uint64        // up to which of asked a sync has failed, and with what
	failure error
}

// lease keeps a folder and its parents from being removed. chain goes from the folder itself up to the root's child.
type lease struct {
	owner *folders
	chain []*folder
}

func newFolders(root *os.Root) *folders {
	return &folders{root: root, known: map[string]*folder{}}
}

// acquire leases the folder dir and makes it exist. The caller releases the lease unless there was an error.
func (f *folders) acquire(dir string) (*lease, error) {
	l := &lease{owner: f}
	f.mu.Lock()
	for d := dir; d != "."; d = path.Dir(d) {
		entry := f.lookup(d)
		entry.refs++
		l.chain = append(l.chain, entry)
	}
	f.mu.Unlock()

	if err := l.ensure(); err != nil {
		l.release()
		return nil, err
	}
	return l, nil
}

// lookup needs f.mu.
func (f *folders) lookup(dir string) *folder {
	entry, ok := f.known[dir]
	if !ok {
		f.evict()
		entry = &folder{path: dir}
		f.known[dir] = entry
	}
	return entry
}

// evict needs f.mu.
func (f *folders) evict() {
	if len(f.known) < maxIdleFolders {
		return
	}
	for dir, entry := range f.known {
		if entry.refs == 0 {
			delete(f.known, dir)
		}
	}
}

// ensure creates the leased folders that are not there.
func (l *lease) ensure() error {
	for i := len(l.chain) - 1; i >= 0; i-- {
		if err := l.chain[i].ensure(l.owner.root); err != nil {
			return err
		}
	}
	return nil
}

func (e *folder) ensure(root *os.Root) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.present {
		return nil
	}
	if err := root.Mkdir(e.path, folderMode); err != nil && !errors.Is(err, iofs.ErrExist) {
		return fmt.Errorf("mkdir: %w", err)
	}
	e.present = true
	return nil
}

// recreate is for a folder that vanished under its lease, because another process found it empty.
func (l *lease) recreate() error {
	for _, entry := range l.chain {
		entry.mu.Lock()
		entry.present, entry.durable = false, false
		entry.mu.Unlock()
	}
	return l.ensure()
}

// sync makes the names in the leased folder durable, and the folder's own name where that is not yet certain.
func (l *lease) sync() error {
	if len(l.chain) == 0 {
		return l.owner.syncFolder(".")
	}
	if err := l.chain[0].sync(l.owner); err != nil {
		return err
	}
	for _, entry := range l.chain {
		if err := entry.syncName(l.owner); err != nil {
			return err
		}
	}
	return nil
}

// sync makes the names in the folder durable that were there when it was called. A sync that begins later does that too, so
// of those who come while one is going on, the first syncs for all.
func (e *folder) sync(f *folders) error {
	mine := e.asked.Add(1)
	e.syncing.Lock()
	defer e.syncing.Unlock()
	switch {
	case e.synced >= mine:
		return nil
	case e.failed >= mine: // the system tells an error once; a second sync would succeed without the names
		return e.failure
	}
	all := e.asked.Load()
	if err := f.syncFolder(e.path); err != nil {
		e.failed, e.failure = all, err
		return err
	}
	e.synced = all
	return nil
}

func (e *folder) syncName(f *folders) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.durable {
		return nil
	}
	if err := f.syncFolder(path.Dir(e.path)); err != nil {
		return err
	}
	e.durable = true
	return nil
}

// release ends the lease. It may be called once.
func (l *lease) release() {
	l.owner.mu.Lock()
	defer l.owner.mu.Unlock()
	for _, entry := range l.chain {
		entry.refs--
	}
}

// prune removes dir and its parents as far as they are empty and unused. It returns the nearest folder that remains.
func (f *folders) prune(dir string) string {
	for dir != "." && f.removeIdle(dir) {
		dir = path.Dir(dir)
	}
	return dir
}

// removeIdle reports whether dir is gone. The two looks at refs make removal safe: a lease taken before the second one
// prevents it, and a lease taken after it waits for entry.mu and then finds that it must create the folder.
func (f *folders) removeIdle(dir string) bool {
	f.mu.Lock()
	entry := f.lookup(dir)
	if entry.refs > 0 {
		f.mu.Unlock()
		return false
	}
	entry.refs++
	f.mu.Unlock()

	entry.mu.Lock()
	defer entry.mu.Unlock()
	f.mu.Lock()
	alone := entry.refs == 1
	f.mu.Unlock()

	removed := alone && f.remove(dir)
	if removed {
		entry.present, entry.durable = false, false
	}

	f.mu.Lock()
	defer f.mu.Unlock()
	if entry.refs--; entry.refs == 0 && removed {
		delete(f.known, dir)
	}
	return removed
}

// remove looks first, because os.Root.Remove would remove a file as well.
func (f *folders) remove(dir string) bool {
	info, err := f.root.Lstat(dir)
	if err == nil && !info.IsDir() {
		return false
	}
	if err == nil {
		err = f.root.Remove(dir)
	}
	return err == nil || isAbsent(err)
}

// syncFolder makes the names in a folder durable.
func (f *folders) syncFolder(dir string) error {
	d, err := f.root.Open(dir)
	if err != nil {
		return fmt.Errorf("open folder: %w", err)
	}
	return syncAndClose(d)
}

func syncAndClose(f *os.File) error {
	if err := f.Sync(); err != nil {
		_ = f.Close()
		return fmt.Errorf("sync: %w", err)
	}
	if err := f.Close(); err != nil {
		return fmt.Errorf("close: %w", err)
	}
	return nil
}
