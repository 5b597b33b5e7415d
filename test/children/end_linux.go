package children

import "syscall"

// dieTogether ends a process with this one, however that ends.
func dieTogether() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
