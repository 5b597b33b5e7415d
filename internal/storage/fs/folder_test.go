package fs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	iofs "io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/berthregistry/berth/internal/storage"
	"github.com/berthregistry/berth/internal/storage/internal/buffer"
)

func newStore(t *testing.T) (*Store, string) {
	t.Helper()
	dir := t.TempDir()
	s, err := New(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s, dir
}

func put(t *testing.T, s *Store, key string, data []byte) {
	t.Helper()
	w, err := s.Create(t.Context(), key, int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := w.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// tree lists files and folders below dir with their modes.
func tree(t *testing.T, dir string) map[string]iofs.FileMode {
	t.Helper()
	all := map[string]iofs.FileMode{}
	err := filepath.Walk(dir, func(name string, info iofs.FileInfo, err error) error {
		if err == nil && name != dir {
			all[name[len(dir)+1:]] = info.Mode()
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestLayout(t *testing.T) {
	s, dir := newStore(t)
	put(t, s, "2026-01-02/session/object", []byte("data"))
	want := map[string]iofs.FileMode{
		"2026-01-02": 0o700 | iofs.ModeDir, "2026-01-02/session+object": 0o600,
	}
	if got := tree(t, dir); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("layout = %v, want %v", got, want)
	}
	if err := s.Delete(t.Context(), "2026-01-02/session/object"); err != nil {
		t.Fatal(err)
	}
	if got := tree(t, dir); len(got) > 0 {
		t.Errorf("left: %v", got)
	}
}

// TestFoldersAreSyncedOnce holds the cost of durability: a folder's own name is synced for its first object only.
func TestFoldersAreSyncedOnce(t *testing.T) {
	s, _ := newStore(t)
	durable := func(dir string) bool {
		s.folders.mu.Lock()
		defer s.folders.mu.Unlock()
		entry := s.folders.known[dir]
		return entry != nil && entry.durable
	}
	w, err := s.Create(t.Context(), "day/session/a", -1)
	if err != nil {
		t.Fatal(err)
	}
	if durable("day") {
		t.Error("the folder counts as durable before the first Commit")
	}
	if err := w.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !durable("day") {
		t.Error("the folder does not count as durable after the first Commit")
	}
	if err := s.Delete(t.Context(), "day/session/a"); err != nil {
		t.Fatal(err)
	}
	if durable("day") {
		t.Error("a removed folder counts as durable")
	}
}

// TestEarlierLayout finds, lists and deletes files where they were before: each segment but the last a folder.
func TestEarlierLayout(t *testing.T) {
	s, dir := newStore(t)
	put(t, s, "day/session/new", []byte("new"))
	if err := os.Mkdir(filepath.Join(dir, "day", "session"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "day", "session", "old"), []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	r, err := s.Open(t.Context(), "day/session/old", 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(r); err != nil || string(got) != "old" {
		t.Errorf("read %q, %v", got, err)
	}
	_ = r.Close()
	keys := map[string]bool{}
	if err := s.List(t.Context(), "day", func(o storage.Object) error { keys[o.Key] = true; return nil }); err != nil {
		t.Fatal(err)
	}
	if len(keys) != 2 || !keys["day/session/old"] || !keys["day/session/new"] {
		t.Errorf("List = %v", keys)
	}
	if err := s.Delete(t.Context(), "day/session/old", "day/session/new"); err != nil {
		t.Fatal(err)
	}
	if got := tree(t, dir); len(got) > 0 {
		t.Errorf("left: %v", got)
	}
}

// TestLongNames keeps keys whose segments together are longer than a name may be.
func TestLongNames(t *testing.T) {
	s, dir := newStore(t)
	key := "day/" + strings.Repeat("s", 200) + "/" + strings.Repeat("n", 200)
	put(t, s, key, []byte("data"))
	var keys []string
	err := s.List(t.Context(), "day", func(o storage.Object) error { keys = append(keys, o.Key); return nil })
	if err != nil || fmt.Sprint(keys) != fmt.Sprint([]string{key}) {
		t.Errorf("List = %v, %v", keys, err)
	}
	if err := s.Delete(t.Context(), key); err != nil {
		t.Fatal(err)
	}
	if got := tree(t, dir); len(got) > 0 {
		t.Errorf("left: %v", got)
	}
}

// TestFolderSyncsAreShared holds that nobody goes on before a sync that began after their own name was there, and that
// those who wait for one share the next.
func TestFolderSyncsAreShared(t *testing.T) {
	s, _ := newStore(t)
	l, err := s.folders.acquire("day")
	if err != nil {
		t.Fatal(err)
	}
	defer l.release()
	e := l.chain[0]
	const waiting = 20
	e.syncing.Lock() // as while one is going on
	var wg sync.WaitGroup
	for range waiting {
		wg.Go(func() {
			if err := e.sync(s.folders); err != nil {
				t.Error(err)
			}
		})
	}
	for e.asked.Load() < waiting {
		runtime.Gosched()
	}
	if e.synced != 0 {
		t.Errorf("synced up to %d while nobody could", e.synced)
	}
	e.syncing.Unlock()
	wg.Wait()
	if e.synced != waiting {
		t.Errorf("synced up to %d of %d", e.synced, waiting)
	}
	if err := s.root.Remove("day"); err != nil {
		t.Fatal(err)
	}
	e.syncing.Lock()
	var failed atomic.Int64
	for range waiting {
		wg.Go(func() {
			if e.sync(s.folders) != nil {
				failed.Add(1)
			}
		})
	}
	for e.asked.Load() < 2*waiting {
		runtime.Gosched()
	}
	e.syncing.Unlock()
	wg.Wait()
	if failed.Load() != waiting || e.failed != 2*waiting || e.synced != waiting {
		t.Errorf("%d of %d were told, failed up to %d, synced up to %d", failed.Load(), waiting, e.failed, e.synced)
	}
	if err := s.root.Mkdir("day", folderMode); err != nil {
		t.Fatal(err)
	}
	if err := e.sync(s.folders); err != nil {
		t.Errorf("after a failure: %v", err)
	}
}

// TestFolderRemovedByOthers is about a second process, such as a collector, that removes empty folders.
func TestFolderRemovedByOthers(t *testing.T) {
	s, dir := newStore(t)
	put(t, s, "day/session/a", nil)
	if err := os.RemoveAll(filepath.Join(dir, "day")); err != nil {
		t.Fatal(err)
	}
	put(t, s, "day/session/b", []byte("b"))
	if err := s.Delete(t.Context(), "day/session/a", "day/session/b"); err != nil {
		t.Fatal(err)
	}
	if got := tree(t, dir); len(got) > 0 {
		t.Errorf("left: %v", got)
	}
}

// TestFolderRaces has many leases and prunings of the same folders meet. Every leased folder must exist.
func TestFolderRaces(t *testing.T) {
	s, dir := newStore(t)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for j := range 300 {
				folder := fmt.Sprintf("day/s%d", (i+j)%2)
				l, err := s.folders.acquire(folder)
				if err != nil {
					t.Errorf("acquire: %v", err)
					return
				}
				s.folders.prune(folder)
				if _, err := s.root.Stat(folder); err != nil {
					t.Errorf("leased folder: %v", err)
				}
				l.release()
				s.folders.prune(folder)
			}
		})
	}
	wg.Wait()
	if got := tree(t, dir); len(got) > 0 {
		t.Errorf("left: %v", got)
	}
	if len(s.folders.known) > 0 {
		t.Errorf("%d folders are remembered", len(s.folders.known))
	}
}

func TestIdleFoldersAreForgotten(t *testing.T) {
	s, _ := newStore(t)
	for i := range 3 * maxIdleFolders {
		s.folders.mu.Lock()
		s.folders.lookup(fmt.Sprintf("day/s%d", i))
		s.folders.mu.Unlock()
	}
	if n := len(s.folders.known); n > maxIdleFolders {
		t.Errorf("%d folders are remembered", n)
	}
}

// TestFileInPlaceOfFolder makes sure that pruning never removes an object.
func TestFileInPlaceOfFolder(t *testing.T) {
	s, dir := newStore(t)
	put(t, s, "object", []byte("data"))
	if err := s.Delete(t.Context(), "object/below"); err != nil {
		t.Errorf("Delete: %v", err)
	}
	if _, err := s.Open(t.Context(), "object/below", 0, -1); !errors.Is(err, storage.ErrNotFound) {
		t.Errorf("Open: %v, want ErrNotFound", err)
	}
	if _, err := s.Create(t.Context(), "object/below", -1); !errors.Is(err, storage.ErrUnavailable) {
		t.Errorf("Create: %v, want ErrUnavailable", err)
	}
	if got := tree(t, dir); len(got) != 1 {
		t.Errorf("tree = %v", got)
	}
}

func TestSymlinksDoNotEscape(t *testing.T) {
	s, dir := newStore(t)
	outside := t.TempDir()
	if err := os.WriteFile(filepath.Join(outside, "secret"), []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(outside, filepath.Join(dir, "day")); err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	if r, err := s.Open(ctx, "day/secret", 0, -1); err == nil {
		_ = r.Close()
		t.Error("read through a link that leads outside")
	}
	if _, err := s.Create(ctx, "day/new", -1); err == nil {
		t.Error("wrote through a link that leads outside")
	}
	_ = s.Delete(ctx, "day/secret")
	_ = s.List(ctx, "day", func(o storage.Object) error { t.Errorf("listed %s", o.Key); return nil })
	if got := tree(t, outside); len(got) != 1 {
		t.Errorf("outside: %v", got)
	}
}

// TestForeignEntries passes over what is no object.
func TestForeignEntries(t *testing.T) {
	s, dir := newStore(t)
	put(t, s, "day/session/object", nil)
	if err := os.WriteFile(filepath.Join(dir, "day", "no key"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("session+object", filepath.Join(dir, "day", "session+link")); err != nil {
		t.Fatal(err)
	}
	var keys []string
	err := s.List(t.Context(), "day", func(o storage.Object) error { keys = append(keys, o.Key); return nil })
	if err != nil || fmt.Sprint(keys) != "[day/session/object]" {
		t.Errorf("List = %v, %v", keys, err)
	}
}

// TestSendfileForm holds the form of reader from which the network takes bytes without copying them.
func TestSendfileForm(t *testing.T) {
	s, _ := newStore(t)
	data := bytes.Repeat([]byte("x"), 2*buffer.SendStep+5)
	put(t, s, "day/object", data)
	r, err := s.Open(t.Context(), "day/object", 3, int64(len(data))-4)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = r.Close() }()
	var sink fileSink
	n, err := io.Copy(&sink, r)
	if err != nil || n != int64(len(data))-4 || sink.calls != 3 {
		t.Errorf("copied %d bytes in %d calls, %v", n, sink.calls, err)
	}
}

// fileSink takes bytes only as a TCP connection takes them by sendfile.
type fileSink struct{ calls int }

func (s *fileSink) Write([]byte) (int, error) { return 0, errors.New("the bytes came one by one") }

func (s *fileSink) ReadFrom(r io.Reader) (int64, error) {
	s.calls++
	limited, ok := r.(*io.LimitedReader)
	if !ok {
		return 0, fmt.Errorf("reader is a %T", r)
	}
	if _, ok := limited.R.(*os.File); !ok {
		return 0, fmt.Errorf("below the limit is a %T", limited.R)
	}
	return io.Copy(io.Discard, r)
}

// TestTruncatedFile is about a disk that lost bytes: no reader may end in silence.
func TestTruncatedFile(t *testing.T) {
	for name, rest := range map[string]func(io.Reader) error{
		"Read":    func(r io.Reader) error { _, err := io.ReadAll(struct{ io.Reader }{r}); return err },
		"WriteTo": func(r io.Reader) error { _, err := io.Copy(io.Discard, r); return err },
	} {
		t.Run(name, func(t *testing.T) {
			s, dir := newStore(t)
			put(t, s, "day/object", make([]byte, 1000))
			r, err := s.Open(t.Context(), "day/object", 0, -1)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = r.Close() }()
			if err := os.Truncate(filepath.Join(dir, "day", "object"), 500); err != nil {
				t.Fatal(err)
			}
			if err := rest(r); !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Errorf("%v, want ErrUnexpectedEOF", err)
			}
		})
	}
}

// TestCrashedWriter leaves an unfinished file, as a crash does: it is an orphan that can be listed and deleted.
func TestCrashedWriter(t *testing.T) {
	s, dir := newStore(t)
	w, err := s.Create(context.Background(), "day/session/object", -1)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte("half")); err != nil {
		t.Fatal(err)
	}
	again, err := New(dir) // as the next process sees it
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = again.Close() }()
	var keys []string
	err = again.List(t.Context(), "day", func(o storage.Object) error { keys = append(keys, o.Key); return nil })
	if err != nil || fmt.Sprint(keys) != "[day/session/object]" {
		t.Errorf("List = %v, %v", keys, err)
	}
	if err := again.Delete(t.Context(), keys...); err != nil {
		t.Errorf("Delete: %v", err)
	}
	if got := tree(t, dir); len(got) > 0 {
		t.Errorf("left: %v", got)
	}
	_ = w.Abort()
}

func TestCheckFailsWithoutFolder(t *testing.T) {
	s, dir := newStore(t)
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	if err := s.Check(t.Context()); !errors.Is(err, storage.ErrUnavailable) {
		t.Errorf("Check = %v, want ErrUnavailable", err)
	}
	if _, err := s.Create(t.Context(), "day/object", -1); !errors.Is(err, storage.ErrUnavailable) {
		t.Errorf("Create = %v, want ErrUnavailable", err)
	}
}
