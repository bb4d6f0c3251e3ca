//go:build !unix

package testserver

import "syscall"

const (
	supported = false // find skips every test before any of this is reached

	sigterm = syscall.Signal(0)
	sigquit = syscall.Signal(0)
	sigint  = syscall.Signal(0)
	sigkill = syscall.Signal(0)
	sigstop = syscall.Signal(0)
	sigcont = syscall.Signal(0)
)

func signal(int, syscall.Signal) error { return nil }

func exists(int) bool { return false }

func ownGroup(*syscall.SysProcAttr) {}

func become(*syscall.SysProcAttr, account) {}
