package s3

import (
	"bytes"
	"errors"
	"hash/crc32"
	"io"
	"os"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"github.com/berthregistry/berth/internal/storage"
)

func testSpools(t *testing.T, memory, disk int64) *spools {
	t.Helper()
	s, err := newSpools(Options{UploadMemory: memory, SpoolMax: disk, SpoolDir: t.TempDir()}.withDefaults())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestSpoolProperties compares a spool with a buffer, whatever the writes, the reads and the memory.
func TestSpoolProperties(t *testing.T) {
	dir := t.TempDir()
	rapid.Check(t, func(t *rapid.T) {
		owner, err := newSpools(Options{
			UploadMemory: rapid.SampledFrom([]int64{-1, 1, blockSize, 3 * blockSize, 100 * blockSize}).Draw(t, "memory"), SpoolDir: dir,
		}.withDefaults())
		if err != nil {
			t.Fatal(err)
		}
		sp := owner.newSpool()
		var want bytes.Buffer
		for _, n := range rapid.SliceOfN(rapid.IntRange(0, 2*blockSize+1), 0, 12).Draw(t, "writes") {
			p := bytes.Repeat([]byte{byte(n), byte(n >> 8), 7}, n/3+1)[:n]
			want.Write(p)
			if k, err := sp.Write(p); k != n || err != nil {
				t.Fatalf("Write = %d, %v", k, err)
			}
		}
		size := int64(want.Len())
		if sp.size() != size || sp.crc != crc32.Checksum(want.Bytes(), castagnoli) {
			t.Fatalf("size %d, CRC %x", sp.size(), sp.crc)
		}
		got, err := io.ReadAll(sp.reader())
		if err != nil || !bytes.Equal(got, want.Bytes()) {
			t.Fatalf("read %d of %d bytes, %v", len(got), size, err)
		}
		off := rapid.Int64Range(0, size).Draw(t, "offset")
		length := rapid.Int64Range(0, size-off).Draw(t, "length")
		p := make([]byte, length)
		if n, err := sp.ReadAt(p, off); int64(n) != length || (err != nil && !errors.Is(err, io.EOF)) || !bytes.Equal(p, want.Bytes()[off:off+length]) {
			t.Fatalf("ReadAt(%d, %d) = %d, %v", off, length, n, err)
		}
		sp.release()
		sp.release()
		if stats := owner.stats(); stats != (SpoolStats{}) {
			t.Fatalf("left: %+v", stats)
		}
	})
}

func TestSpoolAfterRelease(t *testing.T) {
	sp := testSpools(t, 0, 0).newSpool()
	if _, err := sp.Write([]byte("one tenant's bytes")); err != nil {
		t.Fatal(err)
	}
	late := sp.reader()
	sp.release()
	if n, err := late.Read(make([]byte, 10)); n != 0 || !errors.Is(err, os.ErrClosed) {
		t.Errorf("Read after release = %d, %v", n, err)
	}
}

// TestSpoolMemory holds the two rules of the budget: it is never exceeded nor waited for, and large spools leave most
// of it to first blocks.
func TestSpoolMemory(t *testing.T) {
	const blocks = 2 * laterShare
	owner := testSpools(t, blocks*blockSize, 0)
	write := func() *spool {
		sp := owner.newSpool()
		if _, err := sp.Write(make([]byte, 2*maxBlocks*blockSize)); err != nil {
			t.Fatal(err)
		}
		return sp
	}
	var all []*spool
	for i, want := range []int64{2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 16, 16} {
		all = append(all, write())
		if got := owner.stats().MemoryBytes / blockSize; got != want {
			t.Errorf("%d spools take %d blocks, want %d", i+1, got, want)
		}
	}
	for _, sp := range all {
		if sp.size() != 2*maxBlocks*blockSize {
			t.Errorf("a spool holds %d bytes", sp.size())
		}
		sp.release()
	}
	if stats := owner.stats(); stats != (SpoolStats{}) {
		t.Errorf("left: %+v", stats)
	}
}

func TestSpoolDisk(t *testing.T) {
	owner := testSpools(t, -1, 1000)
	first, second := owner.newSpool(), owner.newSpool()
	if _, err := first.Write(make([]byte, 900)); err != nil {
		t.Fatal(err)
	}
	if n, err := second.Write(make([]byte, 101)); n != 0 || !errors.Is(err, storage.ErrUnavailable) {
		t.Errorf("Write beyond the limit = %d, %v", n, err)
	}
	if _, err := second.Write(make([]byte, 100)); err != nil {
		t.Errorf("Write up to the limit: %v", err)
	}
	first.release()
	if _, err := second.Write(make([]byte, 900)); err != nil {
		t.Errorf("Write after a release: %v", err)
	}
	second.release()
	if stats := owner.stats(); stats != (SpoolStats{}) {
		t.Errorf("left: %+v", stats)
	}
}

func TestSpoolFolderGone(t *testing.T) {
	owner := testSpools(t, -1, 0)
	if err := os.Remove(owner.dir); err != nil {
		t.Fatal(err)
	}
	sp := owner.newSpool()
	defer sp.release()
	if _, err := sp.Write([]byte("x")); !errors.Is(err, storage.ErrUnavailable) {
		t.Errorf("Write = %v, want ErrUnavailable", err)
	}
}

func TestSpoolsConcurrently(t *testing.T) {
	owner := testSpools(t, 20*blockSize, 0)
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			for range 10 {
				sp := owner.newSpool()
				want := bytes.Repeat([]byte{byte(i)}, 3*blockSize)
				if _, err := sp.Write(want); err != nil {
					t.Errorf("Write: %v", err)
				}
				if got, err := io.ReadAll(sp.reader()); err != nil || !bytes.Equal(got, want) {
					t.Errorf("read back %d bytes, %v", len(got), err)
				}
				if used := owner.stats().MemoryBytes; used > 20*blockSize {
					t.Errorf("%d bytes of memory in use", used)
				}
				sp.release()
			}
		})
	}
	wg.Wait()
	if stats := owner.stats(); stats != (SpoolStats{}) {
		t.Errorf("left: %+v", stats)
	}
}
