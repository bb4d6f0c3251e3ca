package testserver

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
)

// TB is what this package needs of a test or benchmark; [testing.TB] has it.
// It is an interface of our own so that programs that start servers do not carry
// package testing with them.
type TB interface {
	Helper()
	TempDir() string
	Cleanup(func())
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
	Skipf(format string, args ...any)
}

// RequireEnv is the environment variable that turns a skip for want of a binary
// into a failure, when it is "1".
const RequireEnv = "UPRUNG_REQUIRE_SERVERS"

// ErrMissing is returned by [Run] where a binary is not on the machine.
var ErrMissing = errors.New("testserver: not installed")

// find returns the path of the first of the named binaries that is there, in
// PATH or in one of the directories, which may be glob patterns.
func find(tb TB, install string, names []string, dirs ...string) string {
	tb.Helper()
	if !supported {
		tb.Skipf("servers are started on Unix only")
	}
	for _, name := range names {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
		for _, dir := range dirs {
			if path := newest(dir + "/" + name); path != "" {
				return path
			}
		}
	}
	message := fmt.Sprintf("needs %s, which is not installed: %s", strings.Join(names, " or "), install)
	if os.Getenv(RequireEnv) == "1" {
		tb.Fatalf("%s (%s=1 makes this a failure)", message, RequireEnv)
	}
	tb.Skipf("%s", message)
	return ""
}

// Run calls f with a TB for programs that are no tests, and ends what f started
// when f returns. A Fatalf or Skipf ends f early. The error joins what was
// reported; it matches [ErrMissing] where a binary is not on the machine.
func Run(f func(TB)) error {
	s := &scope{}
	done := make(chan any, 1)
	go func() {
		defer func() {
			// A panic of f is re-raised in the caller, after the cleanup.
			p := recover()
			s.cleanup()
			done <- p
		}()
		f(s)
	}()
	if p := <-done; p != nil {
		panic(p)
	}
	return errors.Join(s.errs...)
}

// scope is the TB of Run. Errorf may be called from any goroutine.
type scope struct {
	mu       sync.Mutex
	errs     []error  // guarded by mu
	cleanups []func() // guarded by mu
}

func (*scope) Helper() {}

func (s *scope) Cleanup(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cleanups = append(s.cleanups, f)
}

func (s *scope) TempDir() string {
	dir, err := os.MkdirTemp("", "testserver")
	if err != nil {
		s.Fatalf("%v", err)
	}
	s.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			s.Errorf("%v", err)
		}
	})
	return dir
}

func (s *scope) report(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.errs = append(s.errs, err)
}

func (s *scope) Errorf(format string, args ...any) {
	s.report(fmt.Errorf("testserver: "+format, args...))
}

func (s *scope) Fatalf(format string, args ...any) {
	s.Errorf(format, args...)
	runtime.Goexit()
}

func (s *scope) Skipf(format string, args ...any) {
	s.report(fmt.Errorf("%w: "+format, append([]any{ErrMissing}, args...)...))
	runtime.Goexit()
}

// cleanup runs what was registered, last first, and what that registers.
func (s *scope) cleanup() {
	for {
		s.mu.Lock()
		n := len(s.cleanups)
		if n == 0 {
			s.mu.Unlock()
			return
		}
		last := s.cleanups[n-1]
		s.cleanups = s.cleanups[:n-1]
		s.mu.Unlock()
		last()
	}
}
