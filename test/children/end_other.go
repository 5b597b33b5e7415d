//go:build !linux

package children

import "syscall"

// dieTogether needs Linux to end a process with this one; elsewhere Kill has to. An interrupt from the terminal is for
// this one alone.
func dieTogether() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
