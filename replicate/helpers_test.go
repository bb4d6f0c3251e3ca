package replicate

import (
	"context"
	"database/sql"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/uprung/uprung/internal/memsql"
)

// The statements that the model of a database knows.
const (
	selectValue = `SELECT value FROM kv WHERE key = $1`
	updateValue = `UPDATE kv SET value = $2 WHERE key = $1`
	returnValue = `UPDATE kv SET value = $2 WHERE key = $1 RETURNING value`
	sneakyWrite = `SELECT write_value($1, $2)`
)

// world is a cluster over a model of a database.
type world struct {
	servers *memsql.Cluster
	cluster *Cluster
	db      *sql.DB
}

// nodesOf returns the servers of a model: p, r1, r2 and so on.
func nodesOf(servers *memsql.Cluster, n int) []Node {
	names := []string{"p", "r1", "r2", "r3"}
	var nodes []Node
	for i := range n {
		nodes = append(nodes, Node{Name: names[i], Connector: servers.Node(i)})
	}
	return nodes
}

// in runs a test in a bubble, with a primary and two replicas, probed once.
func in(t *testing.T, o Options, test func(t *testing.T, w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := open(t, o)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- w.cluster.Run(ctx) }()
		defer func() {
			cancel()
			if err := <-ended; err != nil {
				t.Errorf("Run returned %v", err)
			}
		}()
		w.settle()
		test(t, w)
	})
}

// open returns a world whose cluster nobody probes.
func open(tb testing.TB, o Options) *world {
	tb.Helper()
	w := &world{servers: memsql.New(2)}
	c, err := New(nodesOf(w.servers, 3), &o)
	if err != nil {
		tb.Fatal(err)
	}
	w.cluster, w.db = c, sql.OpenDB(c.Connector())
	tb.Cleanup(func() {
		if err := w.db.Close(); err != nil {
			tb.Errorf("Close returned %v", err)
		}
		for _, n := range c.Stats().Nodes {
			if n.Open != 0 || n.Idle != 0 {
				tb.Errorf("%s has %d connections after Close, %d of them idle", n.Name, n.Open, n.Idle)
			}
		}
	})
	return w
}

// settle lets two rounds of probes pass.
func (w *world) settle() {
	time.Sleep(2*DefaultProbe + 10*time.Millisecond)
	synctest.Wait()
}

// read returns a value and the node that it came from.
func (w *world) read(ctx context.Context, tb testing.TB, key string) (value int64, node string) {
	tb.Helper()
	if w.cluster.BookmarkOf(ctx) == nil {
		ctx = WithLevel(w.cluster.WithBookmark(ctx, nil), levelOf(ctx, w.cluster))
	}
	err := w.db.QueryRowContext(ctx, selectValue, key).Scan(&value)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		tb.Fatalf("read: %v", err)
	}
	node, _ = w.cluster.NodeOf(ctx)
	return value, node
}

func levelOf(ctx context.Context, c *Cluster) Level {
	if w := wishOf(ctx); w != nil && w.hasLevel {
		return w.level
	}
	return c.level
}

func (w *world) write(ctx context.Context, tb testing.TB, key string, value int64) {
	tb.Helper()
	if _, err := w.db.ExecContext(ctx, updateValue, key, value); err != nil {
		tb.Fatalf("write: %v", err)
	}
}
