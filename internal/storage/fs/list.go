package fs

import (
	"context"
	"errors"
	"fmt"
	"io"
	iofs "io/fs"
	"os"
	"path"
	"strings"

	"github.com/berthregistry/berth/internal/storage"
)

// listStep is how many names are read from a folder at once.
const listStep = 512

// List implements storage.Store. Objects that this process is still writing do not appear.
func (s *Store) List(ctx context.Context, prefix string, yield func(storage.Object) error) error {
	folder, err := storage.ValidatePrefix(prefix)
	if err != nil {
		return fmt.Errorf("fs: list: %w", err)
	}
	day, rest, _ := strings.Cut(folder, "/")
	if rest == "" {
		return s.walk(ctx, day, yield)
	}
	return s.walk(ctx, day, func(o storage.Object) error {
		if !strings.HasPrefix(o.Key, folder+"/") {
			return nil
		}
		return yield(o)
	})
}

// walk yields what is below folder. A folder that vanishes meanwhile has nothing more to yield.
func (s *Store) walk(ctx context.Context, folder string, yield func(storage.Object) error) error {
	dir, err := s.root.Open(folder)
	if isAbsent(err) {
		return nil
	}
	if err != nil {
		return unavailable("list", folder, err)
	}
	defer func() { _ = dir.Close() }()
	for {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("fs: list %s: %w", folder, err)
		}
		entries, err := dir.ReadDir(listStep)
		for _, entry := range entries {
			if err := s.visit(ctx, path.Join(folder, entry.Name()), entry, yield); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) || isAbsent(err) {
			return nil
		}
		if err != nil {
			return unavailable("list", folder, err)
		}
	}
}

func (s *Store) visit(ctx context.Context, name string, e os.DirEntry, yield func(storage.Object) error) error {
	key := keyOf(name)
	if storage.ValidateKey(key) != nil {
		return nil // not ours
	}
	if e.IsDir() {
		return s.walk(ctx, name, yield)
	}
	if s.pending.has(key) {
		return nil
	}
	info, err := s.root.Lstat(name)
	if isAbsent(err) {
		return nil
	}
	if err != nil {
		return unavailable("list", name, err)
	}
	if info.Mode().Type() != iofs.FileMode(0) {
		return nil
	}
	return yield(storage.Object{Key: key, Size: info.Size(), Modified: info.ModTime()})
}
