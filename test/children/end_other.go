//go:build !linux

package children

import "syscall"

// dieTogether needs Linux to end a process with this one; elsewhere Kill has to.
func dieTogether() *syscall.SysProcAttr { return nil }
