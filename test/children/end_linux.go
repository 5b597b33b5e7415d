package children

import "syscall"

// dieTogether ends a process with this one, however that ends. An interrupt from the terminal is for this one alone.
func dieTogether() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
}
