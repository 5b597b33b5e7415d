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
		if err := s.remove(key); err != nil {
			failures = append(failures, err)
			continue
		}
		touched[path.Dir(key)] = struct{}{}
	}
	failures = append(failures, s.settleFolders(touched))
	return errors.Join(failures...)
}

// remove unlinks one file.
func (s *Store) remove(key string) error {
	if s.pending.has(key) {
		return nil
	}
	info, err := s.root.Lstat(key)
	if isAbsent(err) || (err == nil && info.IsDir()) {
		return nil
	}
	if err == nil {
		err = s.root.Remove(key)
	}
	if err != nil && !isAbsent(err) {
		return unavailable("delete", key, err)
	}
	return nil
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
