//go:build !linux

package testserver

import "syscall"

// dieWithParent can do nothing here: servers end with the test, but a process
// that dies without its cleanup leaves them behind.
func dieWithParent(*syscall.SysProcAttr) {}
