package diskcache_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/berthregistry/berth/internal/storage"
	"github.com/berthregistry/berth/internal/storage/diskcache"
)

func TestDiskFailsAtLast(t *testing.T) {
	b, dir := newBehind(t), t.TempDir()
	s := open(t, b, diskcache.Options{Dir: dir})
	s.WaitIdle()
	s.FailSync()
	data := put(t, s, "day/object", mib)
	r, err := s.Open(t.Context(), "day/object", 0, mib)
	if err != nil {
		t.Fatal(err)
	}
	s.WaitIdle()
	if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, data) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	wantOpens(t, b, 2)
	if bytes, count := sizeOf(t, dir); bytes != 0 || count != 1 { // the lock
		t.Errorf("%d files of %d bytes stay", count, bytes)
	}
}

func TestDamagedCopies(t *testing.T) {
	for name, damage := range map[string]func(path string) error{
		"removed":    os.Remove,
		"truncated":  func(path string) error { return os.Truncate(path, 1000) },
		"unopenable": func(path string) error { return errors.Join(os.Remove(path), os.Symlink(path, path)) },
	} {
		t.Run(name, func(t *testing.T) {
			b := newBehind(t)
			s := open(t, b, diskcache.Options{})
			data := put(t, s, "day/object", mib)
			read(t, s, "day/object", data, 0, len(data))
			s.WaitIdle()
			path, ok := s.CopyOf("day/object")
			if !ok {
				t.Fatal("there is no copy")
			}
			if err := damage(path); err != nil {
				t.Fatal(err)
			}
			read(t, s, "day/object", data, 0, len(data))
			s.WaitIdle()
			read(t, s, "day/object", data, 0, len(data))
			wantOpens(t, b, 2+map[string]int64{"truncated": 1, "unopenable": 3}[name])
		})
	}
}

func TestDiskFails(t *testing.T) {
	dir, now, b := filepath.Join(t.TempDir(), "cache"), newClock(), newBehind(t)
	s := open(t, b, diskcache.Options{Dir: dir, Clock: now.get})
	s.WaitIdle()
	data := put(t, s, "day/object", mib)
	if err := errors.Join(os.RemoveAll(dir), os.WriteFile(dir, nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	read(t, s, "day/object", data, 0, len(data))
	s.WaitIdle()
	wantOpens(t, b, 3) // one of them for nothing
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	read(t, s, "day/object", data, 0, len(data)) // not tried again yet
	wantOpens(t, b, 5)
	now.advance(time.Minute)
	read(t, s, "day/object", data, 0, len(data)) // somebody has removed the folder, which is made anew
	s.WaitIdle()
	read(t, s, "day/object", data, 0, len(data))
	wantOpens(t, b, 6)
}

func sizeOf(t *testing.T, dir string) (bytes int64, count int) {
	t.Helper()
	err := filepath.WalkDir(dir, func(_ string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		bytes, count = bytes+info.Size(), count+1
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return bytes, count
}

func TestBounded(t *testing.T) {
	b, dir := newBehind(t), t.TempDir()
	s := open(t, b, diskcache.Options{Dir: dir})
	for i := range 30 {
		key := fmt.Sprintf("day/object-%d", i)
		read(t, s, key, put(t, s, key, 4*mib), 0, 4*mib)
		s.WaitIdle()
		if _, ok := s.CopyOf(key); !ok {
			t.Errorf("there is no copy of what was read last, %d", i)
		}
	}
	const room = diskcache.MinSize - diskcache.MinSize/diskcache.Share
	if bytes, count := sizeOf(t, dir); bytes != room || count != room/(4*mib)+1 || // the lock
		s.Stats().Bytes != bytes {
		t.Errorf("%d copies take %d bytes of %d, and %+v", count, bytes, room, s.Stats())
	}
	for i := range 30 { // what was read last is what has stayed
		if _, ok := s.CopyOf(fmt.Sprintf("day/object-%d", i)); ok != (i >= 18) {
			t.Errorf("object %d has a copy: %v", i, ok)
		}
	}
	data := put(t, s, "day/large", diskcache.MinSize/diskcache.Share+1)
	read(t, s, "day/large", data, 0, len(data))
	s.WaitIdle()
	if _, ok := s.CopyOf("day/large"); ok {
		t.Error("there is a copy of what takes more than a quarter")
	}
}

func TestRestart(t *testing.T) {
	b, dir := newBehind(t), t.TempDir()
	s := wrap(t, b, diskcache.Options{Dir: dir, Size: 2 * diskcache.MinSize})
	const objects, size = 12, 8 * mib
	data := put(t, s, "day/object-0", size)
	read(t, s, "day/object-0", data, 0, size)
	for i := 1; i < objects; i++ {
		key := fmt.Sprintf("day/object-%d", i)
		put(t, s, key, size)
		read(t, s, key, data, 0, size)
		s.WaitIdle()
		path, _ := s.CopyOf(key)
		read := time.Now().Add(time.Duration(i-objects) * time.Hour)
		if err := os.Chtimes(path, read, read); err != nil {
			t.Fatal(err)
		}
	}
	read(t, s, "day/object-1", data, 0, 1) // so lately that its file need not tell
	path, _ := s.CopyOf("day/object-2")
	old := time.Now().Add(-diskcache.MaxIdle - time.Minute)
	if err := os.Chtimes(path, old, old); err != nil {
		t.Fatal(err)
	}
	opens := b.opens.Load()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	rest, foreign := filepath.Join(dir, "fetching", "rest"), filepath.Join(dir, "ab", "foreign")
	if err := errors.Join(os.MkdirAll(filepath.Dir(foreign), 0o700), os.WriteFile(rest, data, 0o600), os.WriteFile(foreign, data, 0o600)); err != nil {
		t.Fatal(err)
	}

	s = open(t, b, diskcache.Options{Dir: dir}) // smaller: six objects
	s.WaitIdle()
	var kept []int
	for i := range objects {
		if _, ok := s.CopyOf(fmt.Sprintf("day/object-%d", i)); ok {
			kept = append(kept, i)
		}
	}
	if want := []int{0, 7, 8, 9, 10, 11}; !slices.Equal(kept, want) { // 0 was not touched: it is of now
		t.Errorf("copies of %v, want %v", kept, want)
	}
	read(t, s, "day/object-0", data, 0, size)
	read(t, s, "day/object-11", data, 0, size)
	wantOpens(t, b, opens)
	if _, err := os.Stat(rest); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the rest of a fetch: %v", err)
	}
	if _, err := os.Stat(foreign); err != nil {
		t.Errorf("a file that is not the cache's: %v", err)
	}
	if bytes, _ := sizeOf(t, dir); bytes != 7*size { // with the foreign one
		t.Errorf("%d bytes in the folder", bytes)
	}
}

func TestReadIsMarked(t *testing.T) {
	b, dir, now := newBehind(t), t.TempDir(), newClock()
	s := open(t, b, diskcache.Options{Dir: dir, Clock: now.get})
	data := put(t, s, "day/object", 1000)
	read(t, s, "day/object", data, 0, 1000)
	s.WaitIdle()
	path, _ := s.CopyOf("day/object")
	now.advance(3 * 24 * time.Hour)
	read(t, s, "day/object", data, 0, 1000)
	if info, err := os.Stat(path); err != nil || !info.ModTime().Equal(now.get()) {
		t.Errorf("%v, %v", info.ModTime(), err)
	}
}

type clock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *clock { return &clock{now: time.Now().Truncate(time.Second)} }

func (c *clock) get() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func TestIdleCopiesGo(t *testing.T) {
	b, dir := newBehind(t), t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		s := open(t, b, diskcache.Options{Dir: dir})
		for _, key := range []string{"day/read", "day/idle"} {
			read(t, s, key, put(t, s, key, 1000), 0, 1000)
		}
		s.WaitIdle()
		for range 3 {
			time.Sleep(diskcache.MaxIdle / 2)
			r, err := s.Open(t.Context(), "day/read", 0, 1000)
			if err != nil {
				t.Fatal(err)
			}
			if err := r.Close(); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		if _, ok := s.CopyOf("day/read"); !ok {
			t.Error("a copy has gone that is read")
		}
		if _, ok := s.CopyOf("day/idle"); ok {
			t.Error("a copy has stayed that nobody reads")
		}
	})
}

func TestHeldBySlowReaders(t *testing.T) {
	b, dir := newBehind(t), t.TempDir()
	s := open(t, b, diskcache.Options{Dir: dir})
	const size, objects = 8 * mib, 20
	var readers []io.ReadCloser
	for i := range objects {
		key := fmt.Sprintf("day/object-%d", i)
		put(t, s, key, size)
		r, err := s.Open(t.Context(), key, 0, size)
		if err != nil {
			t.Fatal(err)
		}
		readers = append(readers, r)
		s.WaitIdle()
	}
	// Six copies and, in a quarter, two more that are held: whatever came then was not fetched into the cache.
	if got := s.Stats().Bytes; got > diskcache.MinSize {
		t.Errorf("the cache takes %d bytes, want %d at most", got, diskcache.MinSize)
	}
	for _, r := range readers {
		if n, err := io.Copy(io.Discard, r); err != nil || n != size {
			t.Errorf("%d bytes, %v", n, err)
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}
	if bytes, _ := sizeOf(t, dir); s.Stats().Bytes != bytes {
		t.Errorf("%d bytes, where the folder has %d", s.Stats().Bytes, bytes)
	}
	read(t, s, "day/object-19", put(t, s, "day/last", size), 0, size)
	s.WaitIdle()
	if _, ok := s.CopyOf("day/object-19"); !ok {
		t.Error("nothing is fetched any more")
	}
}

func TestBadOptions(t *testing.T) {
	if _, err := diskcache.New(nil, diskcache.Options{Dir: t.TempDir(), Size: diskcache.MinSize - 1}); !errors.Is(err, storage.ErrInvalid) {
		t.Errorf("too small: %v", err)
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := diskcache.New(nil, diskcache.Options{Dir: file, Size: diskcache.MinSize}); !errors.Is(err, storage.ErrInvalid) {
		t.Errorf("a file for a folder: %v", err)
	}
	dir := t.TempDir()
	open(t, newBehind(t), diskcache.Options{Dir: dir})
	if _, err := diskcache.New(nil, diskcache.Options{Dir: dir, Size: diskcache.MinSize}); !errors.Is(err, storage.ErrUnavailable) {
		t.Errorf("the folder of another: %v", err)
	}
}
