package testserver

import (
	"context"
	"errors"
	"net"
	"os"
	"strings"
	"testing"
	"time"
)

func TestRedisAnswers(t *testing.T) {
	t.Parallel()
	s := Redis(t)
	want(t, s, "OK", "SET", "k", "v")
	want(t, s, "v", "GET", "k")
	want(t, s, nil, "GET", "absent")
	want(t, s, int64(1), "DEL", "k")
	if _, err := s.Do(t.Context(), "NONSENSE"); err == nil {
		t.Error("an unknown command gives no error")
	}
	if got, err := s.Do(t.Context(), "MGET", "a", "b"); err != nil || len(got.([]any)) != 2 {
		t.Errorf("MGET gives %v, %v; want two nils", got, err)
	}
}

func TestRedisSettings(t *testing.T) {
	t.Parallel()
	s := Redis(t, "--requirepass", "secret", "--appendonly", "yes", "--appendfsync", "always")
	want(t, s, "OK", "SET", "k", "v")
	s.Kill()
	s.Restart()
	want(t, s, "v", "GET", "k")
}

func TestRedisFaults(t *testing.T) {
	t.Parallel()
	s := Redis(t)
	addr := s.Addr()
	want(t, s, "OK", "SET", "k", "v")

	held, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()

	s.Pause()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	if _, err := s.Do(ctx, "PING"); !errors.Is(err, os.ErrDeadlineExceeded) && !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a paused server answers %v, want a timeout", err)
	}
	cancel()
	s.Resume()
	want(t, s, "v", "GET", "k")

	s.Kill()
	if _, err := held.Read(make([]byte, 1)); err == nil {
		t.Error("a connection outlives the server")
	}
	if _, err := s.Do(t.Context(), "PING"); err == nil {
		t.Error("a killed server answers")
	}
	s.Kill() // again: nothing

	s.Restart()
	if s.Addr() != addr {
		t.Errorf("restarted at %s, want %s", s.Addr(), addr)
	}
	want(t, s, nil, "GET", "k")

	s.Pause()
	s.Kill()
	s.Restart()
	want(t, s, "PONG", "PING")
	s.Stop()
	if _, err := s.Do(t.Context(), "PING"); err == nil {
		t.Error("a stopped server answers")
	}
}

func TestRedisCluster(t *testing.T) {
	t.Parallel()
	nodes := RedisCluster(t)
	// CLUSTER KEYSLOT is CRC16 mod 16384; "foo" is in 12182, of the third node.
	want(t, nodes[2], "OK", "SET", "foo", "bar")
	_, err := nodes[0].Do(t.Context(), "GET", "foo")
	if err == nil || !strings.HasPrefix(err.Error(), "MOVED 12182 "+nodes[2].Addr()) {
		t.Errorf("GET at the wrong node gives %v, want MOVED to %s", err, nodes[2].Addr())
	}
	nodes[2].Kill()
	want(t, nodes[0], nil, "GET", "bar") // slot 5061: its own slots go on
}

// want checks the reply to a command.
func want(t *testing.T, s *RedisServer, reply any, args ...string) {
	t.Helper()
	if got, err := s.Do(t.Context(), args...); err != nil || got != reply {
		t.Errorf("%v gives %v, %v; want %v", args, got, err, reply)
	}
}
