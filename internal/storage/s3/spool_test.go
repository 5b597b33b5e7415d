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

// TestSpoolMemory holds the rules of the budget: it is never exceeded nor waited for, large spools leave most of it to
// first blocks, and what goes to disk leaves nothing in memory.
func TestSpoolMemory(t *testing.T) {
	const blocks = 2 * laterShare
	owner := testSpools(t, blocks*blockSize, 0)
	var all []*spool
	write := func(size int, want int64) {
		t.Helper()
		sp := owner.newSpool()
		if n, err := sp.Write(make([]byte, size)); n != size || err != nil {
			t.Fatal(n, err)
		}
		all = append(all, sp)
		if got := owner.stats().MemoryBytes / blockSize; got != want {
			t.Errorf("%d spools take %d blocks, want %d", len(all), got, want)
		}
		if sp.size() != int64(size) {
			t.Errorf("a spool holds %d bytes", sp.size())
		}
	}
	write(2*blockSize, 2)             // as far as blocks after the first one may go
	write(2*blockSize, 2)             // on disk
	write(2*maxBlocks*blockSize+1, 2) // on disk
	for i := range blocks {
		write(blockSize, int64(min(i+3, blocks)))
	}
	for _, sp := range all {
		sp.release()
	}
	if stats := owner.stats(); stats != (SpoolStats{}) {
		t.Errorf("left: %+v", stats)
	}
}

// TestSpoolSpillsAsAWhole holds that a spool for which there is no room on disk keeps what it has, and goes on later.
func TestSpoolSpillsAsAWhole(t *testing.T) {
	owner := testSpools(t, 2*blockSize, 3*blockSize)
	first, other := owner.newSpool(), owner.newSpool()
	content := bytes.Repeat([]byte("0123456789abcdef"), blockSize/8)
	if n, err := other.Write(content[:blockSize]); n != blockSize || err != nil {
		t.Fatal(n, err)
	}
	if n, err := first.Write(content[:blockSize]); n != blockSize || err != nil {
		t.Fatal(n, err)
	}
	if !reserve(&owner.disk, 5*blockSize/2, 3*blockSize) {
		t.Fatal("no room for a start")
	}
	if n, err := first.Write(content[blockSize:]); n != 0 || !errors.Is(err, errFull) {
		t.Fatalf("Write = %d, %v, want errFull", n, err)
	}
	owner.giveDisk(5 * blockSize / 2)
	if n, err := first.Write(content[blockSize:]); n != blockSize || err != nil {
		t.Fatalf("Write = %d, %v", n, err)
	}
	if got, err := io.ReadAll(first.reader()); err != nil || !bytes.Equal(got, content) || first.crc != crc32.Checksum(content, castagnoli) {
		t.Errorf("read back %d bytes, %v", len(got), err)
	}
	if stats := owner.stats(); stats.MemoryBytes != blockSize || stats.DiskBytes != 2*blockSize {
		t.Errorf("in use: %+v", stats)
	}
	first.release()
	other.release()
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
