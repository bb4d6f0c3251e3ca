package testserver

import "syscall"

// dieWithParent has the kernel kill the child when this process ends.
func dieWithParent(attr *syscall.SysProcAttr) { attr.Pdeathsig = syscall.SIGKILL }
