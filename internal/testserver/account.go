package testserver

import (
	"os"
	"os/exec"
	"os/user"
	"strconv"
	"syscall"
)

// account is the user that a server runs as: database servers refuse to run as
// root.
type account struct {
	uid, gid int // -1 for that of the test
}

// unprivileged returns the first of the named users that there is, or nobody, if
// the test runs as root, and the test's own user otherwise.
func unprivileged(tb TB, names ...string) account {
	tb.Helper()
	if os.Geteuid() != 0 {
		return account{-1, -1}
	}
	for _, name := range append(names, "nobody") {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err1 := strconv.Atoi(u.Uid)
		gid, err2 := strconv.Atoi(u.Gid)
		if err1 == nil && err2 == nil {
			return account{uid, gid}
		}
	}
	tb.Fatalf("the server refuses to run as root, and there is no user of %q or nobody", names)
	return account{}
}

// tempDir returns a directory that belongs to the account. That of the test does
// not do: other users cannot enter it, and its path may be too long for a socket.
func (a account) tempDir(tb TB) string {
	tb.Helper()
	dir, err := os.MkdirTemp("", "uprung")
	if err != nil {
		tb.Fatalf("%v", err)
	}
	tb.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			tb.Errorf("%v", err)
		}
	})
	if a.uid >= 0 {
		if err := os.Chown(dir, a.uid, a.gid); err != nil {
			tb.Fatalf("%v", err)
		}
	}
	return dir
}

// command prepares a program that runs as the account, with a clean environment.
func (a account) command(home, path string, args ...string) *exec.Cmd {
	cmd := exec.Command(path, args...)
	cmd.Dir = home
	cmd.Env = []string{"PATH=/usr/local/bin:/usr/bin:/usr/sbin:/bin", "LC_ALL=C", "HOME=" + home, "TZ=UTC"}
	cmd.SysProcAttr = &syscall.SysProcAttr{}
	if a.uid >= 0 {
		become(cmd.SysProcAttr, a)
	}
	return cmd
}
