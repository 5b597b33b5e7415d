package fs

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// startWriteback asks the kernel to begin writing n dirty bytes at off, without waiting for them. Its failure is of no
// consequence: the fsync of Commit writes what is left and reports what went wrong.
func startWriteback(f *os.File, off, n int64) {
	_ = unix.SyncFileRange(int(f.Fd()), off, n, unix.SYNC_FILE_RANGE_WRITE)
}

// checkWritable fails when the folder lies on a file system that is, or became, read-only to this process.
func checkWritable(dir *os.File) error {
	if err := unix.Faccessat(int(dir.Fd()), ".", unix.W_OK|unix.X_OK, 0); err != nil {
		return fmt.Errorf("access: %w", err)
	}
	return nil
}
