package testserver

import (
	"context"
	"fmt"
	"net"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// RedisServer is a running Redis or Valkey. Its methods are safe for concurrent
// use.
type RedisServer struct {
	node
	password string
}

// Redis starts a Redis or Valkey server and ends it with the test. Further
// arguments are settings as on its command line ("--maxmemory", "10mb"). Without
// them it keeps nothing on disk, so that Restart and Kill lose all data;
// "--appendonly", "yes" keeps it.
func Redis(tb TB, settings ...string) *RedisServer {
	tb.Helper()
	return startRedis(tb, settings)
}

// RedisCluster starts three masters that share the slots of a Redis Cluster in
// equal parts, and returns once each of them calls the cluster healthy. When one
// is killed the two others go on to serve their slots.
func RedisCluster(tb TB, settings ...string) [3]*RedisServer {
	tb.Helper()
	settings = append([]string{
		"--cluster-enabled", "yes",
		"--cluster-node-timeout", "1000",
		"--cluster-require-full-coverage", "no",
	}, settings...)
	var nodes [3]*RedisServer
	for i := range nodes {
		nodes[i] = startRedis(tb, settings)
	}
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	const slots = 16384
	for i, n := range nodes {
		// Distinct epochs from the start spare the nodes the resolution of a conflict.
		n.must(ctx, "CLUSTER", "SET-CONFIG-EPOCH", strconv.Itoa(i+1))
		add := []string{"CLUSTER", "ADDSLOTS"}
		for slot := i * slots / len(nodes); slot < (i+1)*slots/len(nodes); slot++ {
			add = append(add, strconv.Itoa(slot))
		}
		n.must(ctx, add...)
		for _, peer := range nodes[:i] {
			n.must(ctx, "CLUSTER", "MEET", "127.0.0.1", strconv.Itoa(peer.port))
		}
	}
	for _, n := range nodes {
		if err := poll(ctx, func() error { return n.clusterHealthy(ctx, len(nodes)) }); err != nil {
			tb.Fatalf("%s: %v", n.name, err)
		}
	}
	return nodes
}

func redisBinary(tb TB) string {
	tb.Helper()
	return find(tb, "apt-get install redis-server, or brew install redis", []string{"redis-server", "valkey-server"})
}

func startRedis(tb TB, settings []string) *RedisServer {
	tb.Helper()
	binary := redisBinary(tb)
	s := &RedisServer{}
	for i := range len(settings) - 1 {
		if settings[i] == "--requirepass" {
			s.password = settings[i+1]
		}
	}
	dir := tb.TempDir()
	s.tb, s.name, s.term = tb, filepath.Base(binary), sigterm
	s.logFile = filepath.Join(dir, "log")
	s.ready = func(ctx context.Context) error {
		_, err := s.do(ctx, "PING")
		return err
	}
	s.start = func() *exec.Cmd {
		return exec.Command(binary, append([]string{
			"--port", strconv.Itoa(s.port),
			"--bind", "127.0.0.1",
			"--dir", dir,
			"--save", "",
			"--appendonly", "no",
			"--daemonize", "no",
			"--databases", "16",
		}, settings...)...)
	}
	boot(tb, &s.node)
	return s
}

// Do sends a command and returns the reply: a string, an int64, nil, a []any of
// these, or the server's error. Each call is a connection of its own: it is
// meant for arranging and inspecting, not for load.
func (s *RedisServer) Do(ctx context.Context, args ...string) (any, error) {
	return s.do(ctx, args...)
}

func (s *RedisServer) do(ctx context.Context, args ...string) (any, error) {
	conn, err := dialRedis(ctx, s.Addr())
	if err != nil {
		return nil, err
	}
	defer conn.close()
	if s.password != "" {
		if _, err := conn.do("AUTH", s.password); err != nil {
			return nil, err
		}
	}
	return conn.do(args...)
}

func (s *RedisServer) must(ctx context.Context, args ...string) {
	s.tb.Helper()
	if _, err := s.do(ctx, args...); err != nil {
		s.tb.Fatalf("%s: %s: %v", s.name, strings.Join(args[:2], " "), err)
	}
}

// clusterHealthy is nil once the node sees all slots served by nodes it knows.
func (s *RedisServer) clusterHealthy(ctx context.Context, nodes int) error {
	info, err := s.do(ctx, "CLUSTER", "INFO")
	if err != nil {
		return err
	}
	text, _ := info.(string)
	for _, want := range []string{"cluster_state:ok", "cluster_slots_ok:16384", fmt.Sprintf("cluster_size:%d\r", nodes)} {
		if !strings.Contains(text, want) {
			return fmt.Errorf("no %s in %s", strings.TrimSpace(want), text)
		}
	}
	return nil
}

// dialRedis connects under ctx, whose deadline holds for the whole exchange.
func dialRedis(ctx context.Context, addr string) (*redisConn, error) {
	var d net.Dialer
	c, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	deadline, ok := ctx.Deadline()
	if !ok {
		deadline = time.Now().Add(startTimeout)
	}
	if err := c.SetDeadline(deadline); err != nil {
		return nil, err
	}
	return newRedisConn(c), nil
}
