package testenv

import "syscall"

// dieWithParent has the kernel signal the process when the tests end in a way that lets them stop nothing.
func dieWithParent(attr *syscall.SysProcAttr, sig syscall.Signal) { attr.Pdeathsig = sig }
