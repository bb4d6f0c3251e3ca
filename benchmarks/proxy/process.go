package proxy

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"time"
)

// process is one that was started for the suite.
type process struct {
	addrs  []string // at which it serves
	cmd    *exec.Cmd
	ended  chan struct{} // closed when it has ended
	dir    string        // to be removed; may be empty
	alive  io.Closer     // tells it to end by being closed; may be nil
	stderr *tail
}

// patience is how long a process may take to start or to end.
const patience = 10 * time.Second

// begin starts a command.
func begin(p *process) error {
	p.stderr, p.ended = &tail{}, make(chan struct{})
	p.cmd.Stderr = p.stderr
	p.cmd.WaitDelay = patience // for children that keep it open
	if err := p.cmd.Start(); err != nil {
		return err
	}
	go func() {
		_ = p.cmd.Wait() // it is told to end, or its failure shows otherwise
		close(p.ended)
	}()
	return nil
}

// Close ends the process and waits for that.
func (p *process) Close() {
	if p.alive != nil {
		_ = p.alive.Close()
	} else {
		_ = p.cmd.Process.Signal(syscall.SIGTERM)
	}
	select {
	case <-p.ended:
	case <-time.After(patience):
		_ = p.cmd.Process.Kill()
		<-p.ended
	}
	if p.dir != "" {
		_ = os.RemoveAll(p.dir)
	}
}

// tail keeps the first bytes that are written to it, which say why a process failed.
// Only the process writes, and it is read once that has ended.
type tail struct{ text []byte }

func (t *tail) Write(p []byte) (int, error) {
	t.text = append(t.text, p[:min(len(p), 2000-len(t.text))]...)
	return len(p), nil
}

// roleVar is the environment variable that makes this program one of the processes of
// the suite. Its value is empty, or a role: the names of suite and proxy, or backendsRole. The
// arguments are the addresses of the backends.
const roleVar = "UPRUNG_BENCHMARKS_PROXY"

// backendsRole is that of serving as two backends.
const backendsRole = "backends"

// Child makes the program one of the processes that the suites start, if it is one of
// them, and does not return then. The program calls it first, with the handlers of other
// suites by the names of those.
func Child(others map[string][]Handler) {
	role := os.Getenv(roleVar)
	if role == "" {
		return
	}
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin) // until the parent has ended or says so
		os.Exit(0)
	}()
	fmt.Fprintln(os.Stderr, serveRole(role, os.Args[1:], others))
	os.Exit(1)
}

// serveRole prints the addresses at which it serves, and serves.
func serveRole(role string, backends []string, others map[string][]Handler) error {
	serve := []func(net.Listener) error{serveBackend, serveBackend}
	if role != backendsRole {
		suite, name, _ := strings.Cut(role, "/")
		of := others[suite]
		if suite == suiteName {
			of = handlers
		}
		at := slices.IndexFunc(of, func(h Handler) bool { return h.Name == name })
		if at < 0 {
			return fmt.Errorf("%s is %q, want the name of a proxy", roleVar, role)
		}
		h, err := of[at].Make(backends)
		if err != nil {
			return err
		}
		serve = []func(net.Listener) error{(&http.Server{Handler: h}).Serve}
	}
	errs := make(chan error)
	var addrs []string
	for _, serve := range serve {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		addrs = append(addrs, l.Addr().String())
		go func() { errs <- serve(l) }() // ends with the process
	}
	fmt.Println(strings.Join(addrs, " "))
	return <-errs
}

// startSelf starts this program in a role.
func startSelf(role string, backends ...string) (*process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	p := &process{cmd: exec.Command(self, backends...)}
	p.cmd.Env = append(os.Environ(), roleVar+"="+role)
	if p.alive, err = p.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	// Not a StdoutPipe, which Wait would close under the reader.
	out, in, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer func() { _ = out.Close() }()
	p.cmd.Stdout = in
	err = begin(p)
	_ = in.Close()
	if err != nil {
		return nil, err
	}
	if err := out.SetReadDeadline(time.Now().Add(patience)); err != nil {
		p.Close()
		return nil, err
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		p.Close()
		return nil, fmt.Errorf("does not start: %w: %s", err, p.stderr.text)
	}
	p.addrs = strings.Fields(line)
	return p, nil
}

// awaitListener waits until somebody listens at the address of a process.
func (p *process) awaitListener() error {
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		conn, err := net.Dial("tcp", p.addrs[0])
		if err == nil {
			return conn.Close()
		}
		select {
		case <-p.ended:
			return fmt.Errorf("does not start: %s", p.stderr.text)
		case <-time.After(10 * time.Millisecond):
		}
	}
	return errors.New("does not listen")
}
