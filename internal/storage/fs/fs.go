// Package fs keeps objects as files in one folder.
//
// The object "<day>/<session>/<name>" is the file "<session>+<name>" in the folder "<day>", written there from its first
// byte: no temporary name, no rename, no fan-out, which gain nothing when the rows of a database decide what exists.
// Within the process a file is hidden until its Commit returned. After a crash an unfinished file may remain at its key; it
// is then an orphan like any other, which no row names and the sweeper removes. Files at "<day>/<session>/<name>", where
// they were before, are found as well.
//
// Durability: Commit syncs the file, the folder that names it, and the parents of every folder that is not yet known
// to be on disk. Commits that end at the same time share the sync of their folder. Every path goes through os.Root, so no
// key and no symbolic link leads out of the folder.
//
// One process writes to a folder at a time. Others may read it and delete from it.
package fs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/berthregistry/berth/internal/storage"
)

const (
	fileMode   = 0o600
	folderMode = 0o700
)

// Store keeps objects in a folder. It implements storage.Store.
type Store struct {
	root    *os.Root
	folders *folders
	pending pending
}

var _ storage.Store = (*Store)(nil)

// New opens the folder dir, creating it durably with mode 0700 where it is missing. It returns
// storage.ErrUnavailable when the folder can be neither opened nor created.
func New(dir string) (*Store, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, unavailable("resolve", dir, err)
	}
	if err := makeDurable(dir); err != nil {
		return nil, unavailable("create", dir, err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, unavailable("open", dir, err)
	}
	return &Store{root: root, folders: newFolders(root), pending: newPending()}, nil
}

// Presign returns storage.ErrUnsupported: a folder has no URLs.
func (s *Store) Presign(context.Context, string, storage.Presign) (string, error) {
	return "", fmt.Errorf("fs: presign: %w", storage.ErrUnsupported)
}

// Check returns storage.ErrUnavailable when the folder is gone, replaced or not writable, as after a read-only remount.
func (s *Store) Check(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("fs: check: %w", err)
	}
	if err := s.checkFolder(); err != nil {
		return unavailable("check", s.root.Name(), err)
	}
	return nil
}

// errReplaced says that the path leads elsewhere than when the store was opened: the folder was removed, or something
// was mounted over it.
var errReplaced = errors.New("the folder was replaced")

func (s *Store) checkFolder() error {
	dir, err := s.root.Open(".")
	if err != nil {
		return fmt.Errorf("open: %w", err)
	}
	defer func() { _ = dir.Close() }()
	opened, err := dir.Stat()
	if err != nil {
		return fmt.Errorf("stat: %w", err)
	}
	named, err := os.Stat(s.root.Name())
	if err != nil {
		return fmt.Errorf("stat: %w", err)
	}
	if !os.SameFile(opened, named) {
		return errReplaced
	}
	return checkWritable(dir)
}

// Limits suggests large chunks: a file takes any length, so chunks only bound what one failure loses.
func (s *Store) Limits() storage.Limits {
	return storage.Limits{ChunkSize: 256 << 20, MinChunk: 0, Pipeline: 2}
}

// Close releases the folder. Writers and readers that are still open fail afterwards or leave orphans.
func (s *Store) Close() error {
	if err := s.root.Close(); err != nil {
		return fmt.Errorf("fs: close: %w", err)
	}
	return nil
}

// makeDurable creates the folder of an absolute path and syncs the parent of each folder that was missing.
func makeDurable(dir string) error {
	var parents []string
	for d := dir; ; d = filepath.Dir(d) {
		if _, err := os.Stat(d); err == nil || filepath.Dir(d) == d {
			break
		}
		parents = append(parents, filepath.Dir(d))
	}
	if err := os.MkdirAll(dir, folderMode); err != nil {
		return fmt.Errorf("mkdir: %w", err)
	}
	for _, parent := range parents {
		f, err := os.Open(parent)
		if err != nil {
			return fmt.Errorf("open parent: %w", err)
		}
		if err := syncAndClose(f); err != nil {
			return err
		}
	}
	return nil
}
