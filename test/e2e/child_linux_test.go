package e2e

import "syscall"

// dieTogether ends a process with the tests, however they end.
func dieTogether() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
