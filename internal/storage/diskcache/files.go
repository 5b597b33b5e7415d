package diskcache

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	iofs "io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/maypok86/otter/v2"

	"github.com/berthregistry/berth/internal/storage"
)

const (
	folderMode = 0o700
	// growing is the folder of what is being fetched. A start empties it.
	growing = "fetching"
	// block is the unit in which sizes are counted, in bytes: what file systems give at least.
	block = 4 << 10
)

// files are the copies in a folder: <first byte of the name in hex>/<name>, where the name is the SHA-256 of the key. An index
// knows which there are, and decides which have to go.
type files struct {
	dir   string
	index *otter.Cache[string, int64] // sizes by name
}

func nameOf(key string) string {
	sum := sha256.Sum256([]byte(key))
	return hex.EncodeToString(sum[:])
}

func openFiles(dir string, size int64) (*files, error) {
	f := &files{dir: dir}
	if err := os.RemoveAll(filepath.Join(dir, growing)); err != nil {
		return nil, unusable(err)
	}
	if err := os.MkdirAll(filepath.Join(dir, growing), folderMode); err != nil {
		return nil, unusable(err)
	}
	probe, err := f.create()
	if err != nil {
		return nil, unusable(err)
	}
	f.discard(probe)
	f.index = otter.Must(&otter.Options[string, int64]{
		MaximumWeight:    uint64(size / block),
		Weigher:          func(_ string, size int64) uint32 { return uint32(min(blocks(size), 1<<31)) },
		ExpiryCalculator: otter.ExpiryAccessing[string, int64](MaxIdle),
		// Within the removal from the index: afterwards, another copy may be there.
		OnAtomicDeletion: func(e otter.DeletionEvent[string, int64]) {
			if e.Cause != otter.CauseReplacement {
				_ = os.Remove(f.path(e.Key)) // what stays is found by the next start
			}
		},
	})
	return f, nil
}

func unusable(err error) error {
	return fmt.Errorf("disk cache: %w: the folder cannot be used: %w", storage.ErrUnavailable, err)
}

func blocks(size int64) int64 { return (size + block - 1) / block }

func (f *files) path(name string) string { return filepath.Join(f.dir, name[:2], name) }

// open opens the copy of that name, if it has size bytes at least.
func (f *files) open(name string, size int64) (*os.File, bool) {
	have, ok := f.index.GetIfPresent(name)
	if !ok || have < size {
		return nil, false
	}
	file, err := os.Open(f.path(name))
	if err != nil {
		f.drop(name) // somebody else has removed it
		return nil, false
	}
	return file, true
}

// openGrowing opens what is being fetched, or has just been.
func (f *files) openGrowing(path, name string) (*os.File, bool) {
	file, err := os.Open(path) //nolint:gosec // a path that create made
	if errors.Is(err, iofs.ErrNotExist) {
		file, err = os.Open(f.path(name))
	}
	return file, err == nil
}

// create makes the file of a fetch. Its errors are those of os.
func (f *files) create() (*os.File, error) {
	return os.CreateTemp(filepath.Join(f.dir, growing), "") //nolint:wrapcheck // by the callers
}

// discard removes the file of a fetch.
func (f *files) discard(file *os.File) {
	_ = file.Close() // what it held is not wanted
	_ = os.Remove(file.Name())
}

// keep makes a copy of the file of a fetch. It is on disk before it has its name: what a later start finds is whole. Its
// errors are those of os; then the file is to be discarded.
func (f *files) keep(file *os.File, name string, size int64) error {
	if err := file.Sync(); err != nil {
		return err //nolint:wrapcheck // by the caller
	}
	if err := file.Close(); err != nil {
		return err //nolint:wrapcheck // by the caller
	}
	err := os.Rename(file.Name(), f.path(name))
	if errors.Is(err, iofs.ErrNotExist) {
		if err = os.Mkdir(filepath.Dir(f.path(name)), folderMode); err == nil || errors.Is(err, iofs.ErrExist) {
			err = os.Rename(file.Name(), f.path(name))
		}
	}
	if err != nil {
		return err //nolint:wrapcheck // by the caller
	}
	f.index.Set(name, size)
	return nil
}

// drop removes a copy.
func (f *files) drop(name string) { f.index.Invalidate(name) }

// limit sets the most bytes that copies take.
func (f *files) limit(size int64) { f.index.SetMaximum(uint64(max(size, 0) / block)) }

// bytes is what the copies take.
func (f *files) bytes() int64 { return int64(f.index.WeightedSize()) * block }

func (f *files) close() { f.index.StopAllGoroutines() }

// found is a copy that an earlier process left.
type found struct {
	name     string
	size     int64
	modified time.Time
}

// scan puts what lies in the folder into the index, the oldest first, and returns how many copies there are. It ends early
// when stop says so. What it cannot read it leaves out.
func (f *files) scan(stop func() bool) (int, error) {
	var all []found
	var failed error
	for first := range 256 {
		if stop() {
			return 0, nil
		}
		some, err := f.scanFolder(hex.EncodeToString([]byte{byte(first)}))
		all, failed = append(all, some...), errors.Join(failed, err)
	}
	slices.SortFunc(all, func(a, b found) int { return a.modified.Compare(b.modified) })
	for _, copied := range all {
		f.index.SetIfAbsent(copied.name, copied.size)
	}
	return len(all), failed
}

func (f *files) scanFolder(folder string) ([]found, error) {
	entries, err := os.ReadDir(filepath.Join(f.dir, folder))
	if errors.Is(err, iofs.ErrNotExist) {
		return nil, nil
	}
	var all []found
	for _, entry := range entries {
		if !entry.Type().IsRegular() || len(entry.Name()) != hex.EncodedLen(sha256.Size) || entry.Name()[:2] != folder {
			continue
		}
		if info, err := entry.Info(); err == nil { // else it has gone
			all = append(all, found{entry.Name(), info.Size(), info.ModTime()})
		}
	}
	return all, err //nolint:wrapcheck // by the caller
}
