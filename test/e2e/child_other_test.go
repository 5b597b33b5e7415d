//go:build !linux

package e2e

import "syscall"

// dieTogether ends a process with the tests, where the system can do that.
func dieTogether() *syscall.SysProcAttr { return nil }
