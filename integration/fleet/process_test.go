//go:build linux

package fleet

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestMain(m *testing.M) {
	Main(m, func(l net.Listener, s *Service) error { return (&http.Server{Handler: s}).Serve(l) })
}

// A plan is carried out with processes as it says: each fault shows, and its end too.
func TestFaults(t *testing.T) {
	f := Start(t)
	ask := func(work, patience time.Duration) (time.Duration, error) {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		c := &http.Client{Transport: rewritten{f.addrs[0]}}
		began := time.Now()
		err := SendHTTP([]*http.Client{c})(ctx, 0, work)
		return time.Since(began), err
	}
	strike := func(k Kind, begins bool) {
		if err := f.Strike(Fault{Kind: k}, begins); err != nil {
			t.Fatal(err)
		}
	}
	well := func() {
		t.Helper()
		if _, err := ask(0, starting); err != nil {
			t.Fatal(err)
		}
	}
	// Signals take a moment.
	soon := func(otherwise string, is func() bool) {
		t.Helper()
		for range 100 {
			if is() {
				return
			}
		}
		t.Error(otherwise)
	}
	well()
	strike(Stalled, true)
	soon("a stopped server answers", func() bool {
		_, err := ask(0, 100*time.Millisecond)
		return errors.Is(err, context.DeadlineExceeded)
	})
	strike(Stalled, false)
	well()
	strike(Killed, true)
	if _, err := ask(0, starting); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("a killed server: %v, want a refused connection", err)
	}
	strike(Killed, false)
	if err := await(f.addrs[0]); err != nil {
		t.Fatal(err)
	}
	well()
	const work = 100 * time.Millisecond
	strike(Slowed, true)
	slow := func() bool { took, err := ask(work, starting); return err == nil && took >= SlowBy*work }
	soon("a slowed server is quick", slow)
	strike(Slowed, false)
	soon("a server stays slow", func() bool { return !slow() })
}

// rewritten sends requests to an address, over connections of their own.
type rewritten struct{ addr string }

func (r rewritten) RoundTrip(request *http.Request) (*http.Response, error) {
	request = request.Clone(request.Context())
	request.URL.Host = r.addr
	return (&http.Transport{DisableKeepAlives: true}).RoundTrip(request)
}

// doomedVar makes the following test the one that is killed.
const doomedVar = "UPRUNG_FLEET_DOOMED"

// No process outlives a test that is killed, not even one that is stopped.
func TestProcessesEndWithTest(t *testing.T) {
	if os.Getenv(doomedVar) != "" {
		f := Start(t)
		if err := f.Strike(Fault{Backend: 1, Kind: Stalled}, true); err != nil {
			t.Fatal(err)
		}
		for _, cmd := range f.running {
			fmt.Println("pid", cmd.Process.Pid)
		}
		select {}
	}
	ctx, cancel := context.WithTimeout(t.Context(), starting)
	defer cancel()
	cmd := exec.CommandContext(ctx, os.Args[0], "-test.run=^"+t.Name()+"$")
	cmd.Env = append(os.Environ(), doomedVar+"=1", "TMPDIR="+t.TempDir()) // which it leaves behind
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var pids []int
	for lines := bufio.NewScanner(out); len(pids) < Backends && lines.Scan(); {
		if number, ok := strings.CutPrefix(lines.Text(), "pid "); ok {
			pid, err := strconv.Atoi(number)
			if err != nil {
				t.Fatal(err)
			}
			pids = append(pids, pid)
		}
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	if len(pids) != Backends {
		t.Fatalf("%d processes were started, want %d", len(pids), Backends)
	}
	for _, pid := range pids {
		for deadline := time.Now().Add(starting); runs(pid); time.Sleep(5 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("process %d outlives the test", pid)
			}
		}
	}
}

// runs reports whether a process is there that is not only to be waited for.
func runs(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	_, state, _ := strings.Cut(string(stat), ") ")
	return !strings.HasPrefix(state, "Z")
}
