package testserver

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// The test's process is killed, with nobody left to clean up: its servers end all
// the same, those of several processes and those that are halted too.
func TestServersEndWithTheProcess(t *testing.T) {
	servers := map[string]struct {
		find  func(TB) string
		start func(TB) (n *node, dir string)
	}{
		"redis":    {redisBinary, func(tb TB) (*node, string) { return &Redis(tb).node, "" }},
		"postgres": {postgresBin, func(tb TB) (*node, string) { s := Postgres(tb); return &s.node, filepath.Dir(s.dir) }},
	}
	if name := os.Getenv("TESTSERVER_VICTIM"); name != "" {
		name, halted, _ := strings.Cut(name, " ")
		n, dir := servers[name].start(t)
		if halted != "" {
			n.Pause()
		}
		fmt.Println("victim", dir, family(n.proc.pid))
		select {}
	}
	t.Parallel()
	for name, server := range servers {
		for _, how := range []string{"", " halted"} {
			t.Run(name+how, func(t *testing.T) {
				t.Parallel()
				server.find(t)
				outlive(t, name+how)
			})
		}
	}
}

// outlive kills a process that has started a server, and waits for the end of the
// server.
func outlive(t *testing.T, victim string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestServersEndWithTheProcess$", "-test.timeout=60s")
	cmd.Env = append(os.Environ(), "TESTSERVER_VICTIM="+victim)
	if strings.HasPrefix(victim, "redis") {
		cmd.Env = append(cmd.Env, "TMPDIR="+t.TempDir()) // what it leaves goes with this test
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	line := ""
	for !strings.HasPrefix(line, "victim ") {
		if !lines.Scan() {
			t.Fatalf("the victim ends after %q: %v", line, lines.Err())
		}
		line = lines.Text()
	}
	cmd.Process.Kill()
	cmd.Wait()
	dir, list, _ := strings.Cut(strings.TrimPrefix(line, "victim "), " ")
	if dir != "" {
		defer os.RemoveAll(dir)
		defer (&PostgresServer{dir: filepath.Join(dir, "data")}).forget()
	}
	pids := strings.Fields(strings.Trim(list, "[]"))
	if len(pids) == 0 || dir != "" && len(pids) < 5 {
		t.Errorf("%s: processes %v", victim, pids)
	}
	for _, text := range pids {
		pid, err := strconv.Atoi(text)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		err = poll(ctx, func() error {
			if exists(pid) && !dead(pid) {
				return errors.New("lives")
			}
			return nil
		})
		cancel()
		if err != nil {
			t.Errorf("%s: process %d outlives the test", victim, pid)
		}
	}
}
