//go:build linux

package fleet

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"
)

// addrVar is the environment variable that makes a test binary a server at an address.
const addrVar = "UPRUNG_FLEET_ADDR"

// seenFile is the descriptor of the file in which the servers of a fleet note requests.
const seenFile = 3

// starting is how long a process may take to listen.
const starting = 20 * time.Second

// Main runs the tests, or, in a process of a fleet, a server. Call it in TestMain.
func Main(m *testing.M, serve func(l net.Listener, s *Service) error) {
	addr := os.Getenv(addrVar)
	if addr == "" {
		os.Exit(m.Run())
	}
	// Each request is a byte at the end of the file, which remains when the process is
	// killed.
	seen, noted := os.NewFile(seenFile, "seen"), []byte{1}
	s := newService(func() { _, _ = seen.Write(noted) }, func() {})
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, slowSignal, quickSignal)
	go s.obey(signals)
	l, err := net.Listen("tcp", addr)
	if err == nil {
		err = serve(l, s)
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

// The signals by which a process is made slow, and quick again.
const (
	slowSignal  = syscall.SIGUSR1
	quickSignal = syscall.SIGUSR2
)

func (s *Service) obey(signals <-chan os.Signal) {
	for sig := range signals {
		s.slowBy.Store(1)
		if sig == slowSignal {
			s.slowBy.Store(SlowBy)
		}
	}
}

// Processes is a fleet of real ones.
type Processes struct {
	addrs []string
	seen  *os.File

	mu      sync.Mutex
	running [Backends]*exec.Cmd // guarded by mu
}

// Start starts a fleet, which ends with the test. Have one at a time in a process: two
// that start together could take the same address.
func Start(tb testing.TB) *Processes {
	tb.Helper()
	f := &Processes{}
	var err error
	if f.seen, err = os.OpenFile(filepath.Join(tb.TempDir(), "seen"), os.O_CREATE|os.O_APPEND|os.O_RDWR, 0o600); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(f.close)
	if f.addrs, err = freeAddrs(); err != nil {
		tb.Fatal(err)
	}
	for i := range f.addrs {
		if err := f.start(i); err != nil {
			tb.Fatal(err)
		}
	}
	for _, addr := range f.addrs {
		if err := await(addr); err != nil {
			tb.Fatal(err)
		}
	}
	return f
}

// freeAddrs returns addresses at which nobody listens and nobody will: their host is
// that of this process alone.
func freeAddrs() ([]string, error) {
	pid := os.Getpid()
	host := net.IPv4(127, byte(pid>>16), byte(pid>>8), byte(pid))
	var addrs []string
	for range Backends {
		l, err := net.ListenTCP("tcp", &net.TCPAddr{IP: host})
		if err != nil {
			return nil, err
		}
		defer func() { _ = l.Close() }() // of all at once, so that they differ
		addrs = append(addrs, l.Addr().String())
	}
	return addrs, nil
}

// start starts the process at an index.
func (f *Processes) start(i int) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), addrVar+"="+f.addrs[i], "GOMAXPROCS=1")
	cmd.Stderr = os.Stderr
	cmd.ExtraFiles = []*os.File{f.seen}
	// Also one that is stopped ends when the test does, even if that is killed.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.running[i] = cmd
	return nil
}

// await waits until somebody listens at an address.
func await(addr string) error {
	for deadline := time.Now().Add(starting); ; time.Sleep(5 * time.Millisecond) {
		conn, err := net.Dial("tcp", addr)
		if err == nil {
			return conn.Close()
		}
		if time.Now().After(deadline) {
			return err
		}
	}
}

// Addrs returns the addresses of all servers.
func (f *Processes) Addrs() []string { return f.addrs }

// Seen returns how many requests the servers have seen, all together, also those that
// nobody waited for any longer.
func (f *Processes) Seen() (int64, error) {
	info, err := f.seen.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

// Strike implements [Fleet].
func (f *Processes) Strike(fault Fault, begins bool) error {
	if fault.Kind == Killed && !begins {
		return f.start(fault.Backend)
	}
	signals := map[Kind][2]syscall.Signal{
		Killed:  {syscall.SIGKILL},
		Stalled: {syscall.SIGSTOP, syscall.SIGCONT},
		Slowed:  {slowSignal, quickSignal},
	}[fault.Kind]
	f.mu.Lock()
	cmd := f.running[fault.Backend]
	f.mu.Unlock()
	if !begins {
		return cmd.Process.Signal(signals[1])
	}
	err := cmd.Process.Signal(signals[0])
	if fault.Kind == Killed {
		_ = cmd.Wait() // its error is that it was killed
	}
	return err
}

// close ends all processes.
func (f *Processes) close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, cmd := range f.running {
		if cmd != nil && cmd.ProcessState == nil {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
	}
	_ = f.seen.Close()
}
