package diskcache

import (
	"errors"
	"os"
)

// CopyOf is the path of the copy of an object, and whether there is one.
func (s *Store) CopyOf(key string) (string, bool) {
	s.files.mu.Lock()
	defer s.files.mu.Unlock()
	e := s.files.copies[nameOf(key)]
	if e == nil {
		return "", false
	}
	path := s.files.path(e.file)
	_, err := os.Stat(path)
	return path, err == nil
}

// WaitIdle waits until nothing is being fetched or looked for.
func (s *Store) WaitIdle() {
	<-s.searched
	s.fetching.Wait()
}

// FailSync has the disk fail when a copy is to be made durable.
func (s *Store) FailSync() {
	s.files.sync = func(*os.File) error { return errors.New("the disk has failed") }
}

// Share, MaxFetches and Block are the bounds.
const (
	Share      = share
	MaxFetches = maxFetches
	Block      = block
)

// Followers is how many read the fetch of an object.
func (s *Store) Followers(key string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if f := s.fetches[nameOf(key)]; f != nil {
		return f.followers
	}
	return 0
}
