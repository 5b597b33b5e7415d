package fs

import (
	"context"
	"errors"
	"fmt"
	"path"

	"github.com/berthregistry/berth/internal/storage"
)

// Delete implements storage.Store. It also removes the folders that become empty, and syncs once for each folder that
// remains, so that what was deleted stays deleted. An object that is being written counts as absent.
func (s *Store) Delete(ctx context.Context, keys ...string) error {
	for _, key := range keys {
		if err := storage.ValidateKey(key); err != nil {
			return fmt.Errorf("fs: delete: %w", err)
		}
	}
	var failures []error
	touched := map[string]struct{}{}
	for _, key := range keys {
		if err := ctx.Err(); err != nil {
			failures = append(failures, fmt.Errorf("fs: delete %s: %w", key, err))
			break
		}
		dir, err := s.remove(key)
		if err != nil {
			failures = append(failures, err)
			continue
		}
		touched[dir] = struct{}{}
	}
	failures = append(failures, s.settleFolders(touched))
	return errors.Join(failures...)
}

// remove unlinks one object and tells from which folder, or where it would be.
func (s *Store) remove(key string) (dir string, err error) {
	name := fileOf(key)
	if s.pending.has(key) {
		return path.Dir(name), nil
	}
	info, err := s.root.Lstat(name)
	if isAbsent(err) && name != key {
		name = key // where it was before
		info, err = s.root.Lstat(name)
	}
	if isAbsent(err) || (err == nil && info.IsDir()) {
		return path.Dir(name), nil
	}
	if err == nil {
		err = s.root.Remove(name)
	}
	if err != nil && !isAbsent(err) {
		return "", unavailable("delete", key, err)
	}
	return path.Dir(name), nil
}

// settleFolders prunes the folders from which files went and syncs those that remain.
func (s *Store) settleFolders(touched map[string]struct{}) error {
	remaining := map[string]struct{}{}
	for dir := range touched {
		remaining[s.folders.prune(dir)] = struct{}{}
	}
	var failures []error
	for dir := range remaining {
		if err := s.syncNearest(dir); err != nil {
			failures = append(failures, unavailable("sync folder", dir, err))
		}
	}
	return errors.Join(failures...)
}

// syncNearest syncs dir, or what is left above it when it vanished meanwhile.
func (s *Store) syncNearest(dir string) error {
	for {
		err := s.folders.syncFolder(dir)
		if err == nil || !isAbsent(err) || dir == "." {
			return err
		}
		dir = path.Dir(dir)
	}
}
