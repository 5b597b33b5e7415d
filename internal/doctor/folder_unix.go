//go:build unix

package doctor

import (
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

func volumeOf(path string) (volume, error) {
	var stat unix.Statfs_t
	if err := unix.Statfs(path, &stat); err != nil {
		return volume{}, fmt.Errorf("look at the file system: %w", err)
	}
	unit := int64(stat.Bsize) //nolint:unconvert // its type differs by platform
	return volume{kind: kindOf(&stat), free: int64(stat.Bavail) * unit, size: int64(stat.Blocks) * unit}, nil
}

func sameDevice(a, b os.FileInfo) bool {
	one, okOne := a.Sys().(*syscall.Stat_t)
	other, okOther := b.Sys().(*syscall.Stat_t)
	return !okOne || !okOther || one.Dev == other.Dev
}
