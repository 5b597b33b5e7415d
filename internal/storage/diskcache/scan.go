package diskcache

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	iofs "io/fs"
	"os"
	"path/filepath"
	"slices"
)

// scan takes over what lies in the folder, the longest unread first, as each comes before it. It returns how many files there
// were, and ends early when stop says so. What it cannot read it leaves out.
func (f *files) scan(stop func() bool) (int, error) {
	var all []*entry
	var failed error
	for first := range 256 {
		if stop() {
			return 0, nil
		}
		some, err := f.scanFolder(hex.EncodeToString([]byte{byte(first)}))
		all, failed = append(all, some...), errors.Join(failed, err)
	}
	slices.SortFunc(all, func(a, b *entry) int { return a.touched.Compare(b.touched) })
	for _, e := range all {
		f.add(e, e.touched)
	}
	return len(all), failed
}

func (f *files) scanFolder(folder string) ([]*entry, error) {
	entries, err := os.ReadDir(filepath.Join(f.dir, folder))
	if errors.Is(err, iofs.ErrNotExist) {
		return nil, nil
	}
	var all []*entry
	for _, file := range entries {
		if e := asCopy(folder, file); e != nil {
			all = append(all, e)
		}
	}
	return all, err //nolint:wrapcheck // by the caller
}

// asCopy is the entry of a file that is the cache's own and still there, else nil.
func asCopy(folder string, file os.DirEntry) *entry {
	text, ok := nameIn(file.Name())
	raw, err := hex.DecodeString(text)
	if !ok || err != nil || text[:2] != folder || !file.Type().IsRegular() {
		return nil
	}
	info, err := file.Info()
	if err != nil {
		return nil
	}
	return &entry{name: name(raw), size: info.Size(), file: file.Name(), touched: info.ModTime()}
}

// nameIn is the name in hex that the name of a file begins with.
func nameIn(file string) (text string, ok bool) {
	const length = 2 * sha256.Size
	if len(file) < length+2 || file[length] != '-' {
		return "", false
	}
	return file[:length], true
}
