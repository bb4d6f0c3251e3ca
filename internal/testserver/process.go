package testserver

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// How long a server may take to answer after its start, and to end after it was
// told to.
const (
	startTimeout = 30 * time.Second
	stopTimeout  = 20 * time.Second
	queryTimeout = 60 * time.Second // of a statement that arranges something
)

// node is one server: the process that runs now, and what starts it again.
type node struct {
	tb      TB
	name    string // for messages
	port    int
	logFile string
	start   func() *exec.Cmd                // a fresh command on the same data and port
	ready   func(ctx context.Context) error // nil once the server answers
	term    syscall.Signal                  // ends it cleanly
	quick   syscall.Signal                  // ends it when the test is over; 0 means SIGKILL

	mu     sync.Mutex
	proc   *process // guarded by mu; nil before the first start
	paused *keeper  // guarded by mu; nil while it runs
}

// Addr is the host:port that the server listens on. It never changes.
func (n *node) Addr() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(n.port)) }

// Port is the port that the server listens on.
func (n *node) Port() int { return n.port }

// Kill ends the server at once, as a crash does: nothing is flushed or said to
// its clients. Killing a server that does not run does nothing.
func (n *node) Kill() { n.end(sigkill) }

// Stop ends the server cleanly and waits until it has ended.
func (n *node) Stop() {
	n.Resume()
	n.end(n.term)
}

// Pause halts the server with its connections open: the system still accepts
// connections for it, but nothing answers.
func (n *node) Pause() {
	n.tb.Helper()
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.proc.running() || n.paused != nil {
		n.tb.Errorf("%s: pause: it does not run", n.name)
		return
	}
	keeper, err := halt(n.proc.pid)
	if err != nil {
		n.tb.Errorf("%s: pause: %v", n.name, err)
	}
	n.paused = keeper
}

// Resume lets a paused server go on. On one that is not paused it does nothing.
func (n *node) Resume() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.resume()
}

// resume needs mu.
func (n *node) resume() {
	if n.paused != nil {
		n.paused.release()
		n.paused = nil
	}
}

// Restart starts the server again on the same port and data, after ending it
// cleanly if it runs, and returns once it answers.
func (n *node) Restart() {
	n.tb.Helper()
	n.Stop()
	if err := n.run(); err != nil {
		n.tb.Errorf("%v", err)
	}
}

// end sends a signal and waits. A server that does not end in time is killed,
// and that is an error.
func (n *node) end(sig syscall.Signal) {
	n.tb.Helper()
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.proc.running() {
		return
	}
	victims := []int{n.proc.pid}
	if sig == sigkill {
		victims = family(n.proc.pid)
	}
	for _, pid := range victims {
		_ = signal(pid, sig)
	}
	n.resume() // a halted process dies of SIGKILL, and its keeper is done
	select {
	case <-n.proc.exited:
	case <-time.After(stopTimeout):
		n.tb.Errorf("%s: still runs %v after %v; killed\n%s", n.name, stopTimeout, sig, n.tail())
		for _, pid := range family(n.proc.pid) {
			_ = signal(pid, sigkill)
		}
		<-n.proc.exited
	}
	if sig == sigkill {
		awaitGone(victims)
	}
}

// boot gives the node a port, starts it, and ends it with the test. Between the
// search for a free port and its use somebody else may take it: then with another.
func boot(tb TB, n *node) {
	tb.Helper()
	var err error
	for range 3 {
		n.port = freePort(tb)
		if err = n.run(); err == nil {
			break
		}
		n.Kill()
	}
	tb.Cleanup(func() {
		n.Resume()
		n.end(cmp.Or(n.quick, sigkill))
	})
	if err != nil {
		tb.Fatalf("%v", err)
	}
}

// run starts the server and waits until it answers.
func (n *node) run() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.proc.running() {
		return fmt.Errorf("%s: runs already", n.name)
	}
	proc, err := launch(n.start(), n.logFile)
	if err != nil {
		return fmt.Errorf("%s: %w", n.name, err)
	}
	n.proc = proc
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	err = poll(ctx, func() error {
		if !proc.running() {
			return errEnded
		}
		return n.ready(ctx)
	})
	if err != nil {
		return fmt.Errorf("%s: does not answer on port %d: %w\n%s", n.name, n.port, err, n.tail())
	}
	return nil
}

// errEnded ends the waiting for a server that has ended by itself.
var errEnded = errors.New("the process has ended")

// poll calls f every few milliseconds until it returns nil, ctx ends, or
// the process has ended; then it returns the last error of f.
func poll(ctx context.Context, f func() error) error {
	for {
		err := f()
		if err == nil || errors.Is(err, errEnded) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// tail returns the last lines of the server's log.
func (n *node) tail() string {
	log, err := os.ReadFile(n.logFile)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(log)), "\n")
	return strings.Join(lines[max(0, len(lines)-20):], "\n")
}

// process is a child that has been started.
type process struct {
	pid    int
	exited chan struct{} // closed once it has ended and was waited for
}

// running reports whether the process has not ended yet. A nil process never ran.
func (p *process) running() bool {
	if p == nil {
		return false
	}
	select {
	case <-p.exited:
		return false
	default:
		return true
	}
}

// launch starts a command that ends with this process, whatever happens, and
// writes what it prints to the end of a file.
func launch(cmd *exec.Cmd, logFile string) (*process, error) {
	log, err := os.OpenFile(logFile, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return nil, err
	}
	defer log.Close() //nolint:errcheck // the child has its own copy
	cmd.Stdout, cmd.Stderr = log, log
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	ownGroup(cmd.SysProcAttr)
	dieWithParent(cmd.SysProcAttr)
	p := &process{exited: make(chan struct{})}
	started := make(chan error)
	go func() {
		// The signal at the parent's death is one at the death of the thread that forked.
		// Locked and never unlocked, this thread lives as long as the child.
		runtime.LockOSThread()
		err := cmd.Start()
		if err == nil {
			p.pid = cmd.Process.Pid
		}
		started <- err
		if err == nil {
			_ = cmd.Wait() // how it ended does not matter: servers are killed here
			close(p.exited)
		}
	}()
	return p, <-started
}

// command runs a tool to its end.
func command(cmd *exec.Cmd) error {
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", filepath.Base(cmd.Path), err, bytes.TrimSpace(out))
	}
	return nil
}

// keeper watches over halted processes.
type keeper struct {
	pids []int
	cmd  *exec.Cmd
}

// halt stops a process and its descendants. A halted child does not notice that
// its parent has died, so a shell waits for the end of this process and kills
// them: it reads a pipe that closes with it.
func halt(pid int) (*keeper, error) {
	k := &keeper{}
	for {
		fresh := slices.DeleteFunc(family(pid), func(pid int) bool { return slices.Contains(k.pids, pid) })
		if len(fresh) == 0 {
			break
		}
		for _, pid := range fresh {
			if err := signal(pid, sigstop); err != nil {
				return k, err
			}
		}
		k.pids = append(k.pids, fresh...)
	}
	args := []string{"-c", `read -r line || kill -KILL "$@"`, "sh"}
	for _, pid := range k.pids {
		args = append(args, strconv.Itoa(pid))
	}
	k.cmd = exec.Command("/bin/sh", args...)
	k.cmd.SysProcAttr = &syscall.SysProcAttr{}
	ownGroup(k.cmd.SysProcAttr)
	if _, err := k.cmd.StdinPipe(); err != nil { // closed by Wait
		return k, err
	}
	return k, k.cmd.Start()
}

// release lets the processes go on. The children come first: the parent then
// finds them alive.
func (k *keeper) release() {
	if k.cmd != nil && k.cmd.Process != nil {
		_ = k.cmd.Process.Kill() // before its pipe closes
		_ = k.cmd.Wait()
	}
	for _, pid := range slices.Backward(k.pids) {
		_ = signal(pid, sigcont)
	}
}

// family returns a process and its descendants, parents first. Servers give
// their children sessions of their own, so that no signal to a group reaches all.
func family(root int) []int {
	children := parents()
	all := []int{root}
	for i := 0; i < len(all); i++ {
		all = append(all, children[all[i]]...)
	}
	return all
}

// parents returns the children of each process on the machine.
func parents() map[int][]int {
	children := make(map[int][]int)
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, file := range stats {
		stat, err := os.ReadFile(file)
		if err != nil {
			continue // it has ended
		}
		// pid (name) state ppid ..., where the name may hold anything
		_, rest, _ := strings.Cut(string(stat[bytes.LastIndexByte(stat, ')')+1:]), " ")
		fields := strings.Fields(rest)
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(file)))
		if err != nil || len(fields) < 2 {
			continue
		}
		if parent, err := strconv.Atoi(fields[1]); err == nil {
			children[parent] = append(children[parent], pid)
		}
	}
	if len(stats) > 0 {
		return children
	}
	out, _ := exec.Command("ps", "-A", "-o", "pid=,ppid=").Output()
	for line := range strings.Lines(string(out)) {
		var pid, parent int
		if _, err := fmt.Sscan(line, &pid, &parent); err == nil {
			children[parent] = append(children[parent], pid)
		}
	}
	return children
}

// awaitGone waits until killed processes no longer exist. Those that are not
// our children are reaped by somebody else, in their time: a dead one counts as gone.
func awaitGone(pids []int) {
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	_ = poll(ctx, func() error {
		for _, pid := range pids {
			if exists(pid) && !dead(pid) {
				return errors.New("lives")
			}
		}
		return nil
	})
}

// dead reports whether a process has ended and only waits to be reaped.
func dead(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && strings.HasPrefix(string(stat[bytes.LastIndexByte(stat, ')')+1:]), " Z")
}

// ports remembers what was given out, so that two servers that start at the
// same time do not get the same port.
var ports struct {
	sync.Mutex
	taken map[int]bool
}

// The range of ports lies below those that Linux gives to outgoing connections
// (32768 and up), and so does the second port of a Redis Cluster node, at
// busOffset above the first.
const (
	firstPort = 12_000
	portCount = 10_000
	busOffset = 10_000
)

// freePort returns a port that nobody listens on.
func freePort(tb TB) int {
	tb.Helper()
	ports.Lock()
	defer ports.Unlock()
	if ports.taken == nil {
		ports.taken = make(map[int]bool)
	}
	for range portCount {
		port := firstPort + rand.IntN(portCount)
		if !ports.taken[port] && free(port) && free(port+busOffset) {
			ports.taken[port] = true
			return port
		}
	}
	tb.Fatalf("no free port from %d to %d", firstPort, firstPort+portCount)
	return 0
}

func free(port int) bool {
	l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err != nil {
		return false
	}
	return l.Close() == nil
}

// newest returns the last match of a pattern in the order of version numbers.
func newest(pattern string) string {
	matches, _ := filepath.Glob(pattern)
	slices.SortFunc(matches, compareVersions)
	if len(matches) == 0 {
		return ""
	}
	return matches[len(matches)-1]
}

// compareVersions orders /usr/lib/postgresql/9.6/bin before .../15/bin: at the first
// difference, the longer number is the greater.
func compareVersions(a, b string) int {
	i := 0
	for i < len(a) && i < len(b) && a[i] == b[i] {
		i++
	}
	return cmp.Or(cmp.Compare(digits(a[i:]), digits(b[i:])), strings.Compare(a, b))
}

// digits counts the digits that s begins with.
func digits(s string) int { return len(s) - len(strings.TrimLeft(s, "0123456789")) }
