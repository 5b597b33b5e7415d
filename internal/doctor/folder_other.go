//go:build unix && !linux

package doctor

import "golang.org/x/sys/unix"

// kindOf knows only Linux.
func kindOf(*unix.Statfs_t) string { return "" }
