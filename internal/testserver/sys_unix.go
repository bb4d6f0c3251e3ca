//go:build unix

package testserver

import (
	"errors"
	"syscall"
)

const (
	supported = true

	sigterm = syscall.SIGTERM
	sigquit = syscall.SIGQUIT
	sigint  = syscall.SIGINT
	sigkill = syscall.SIGKILL
	sigstop = syscall.SIGSTOP
	sigcont = syscall.SIGCONT
)

// signal sends a signal; that the process has gone meanwhile is no error.
func signal(pid int, sig syscall.Signal) error {
	if err := syscall.Kill(pid, sig); !errors.Is(err, syscall.ESRCH) {
		return err
	}
	return nil
}

// exists reports whether there is such a process, dead and unreaped ones included.
func exists(pid int) bool { return !errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) }

// ownGroup gives the child a process group of its own: the terminal's interrupt
// would otherwise end it before the test has.
func ownGroup(attr *syscall.SysProcAttr) { attr.Setpgid = true }

// become runs the child as another user.
func become(attr *syscall.SysProcAttr, a account) {
	attr.Credential = &syscall.Credential{Uid: uint32(a.uid), Gid: uint32(a.gid)}
}
