package diskcache

import "os"

// Settle waits for the evictions that are due.
func (s *Store) Settle() { s.files.index.CleanUp() }

// CopyOf is the path of the copy of an object, and whether there is one.
func (s *Store) CopyOf(key string) (string, bool) {
	path := s.files.path(nameOf(key))
	_, err := os.Stat(path)
	return path, err == nil
}

// WaitIdle waits until nothing is being fetched or looked for.
func (s *Store) WaitIdle() { s.running.Wait() }
