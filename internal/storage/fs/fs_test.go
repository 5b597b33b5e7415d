package fs_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/berthregistry/berth/internal/storage"
	"github.com/berthregistry/berth/internal/storage/fs"
	"github.com/berthregistry/berth/internal/storage/storagetest"
)

func TestStore(t *testing.T) { storagetest.Run(t, open) }

func BenchmarkStore(b *testing.B) { storagetest.Bench(b, open) }

// open returns a store over a folder that must hold neither files nor folders at the end.
func open(tb testing.TB) storage.Store {
	tb.Helper()
	dir := filepath.Join(tb.TempDir(), "new", "objects")
	store, err := fs.New(dir)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		entries, err := os.ReadDir(dir)
		if err != nil {
			tb.Error(err)
		}
		for _, e := range entries {
			tb.Errorf("left over: %s", e.Name())
		}
	})
	return store
}
