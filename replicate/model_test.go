package replicate

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/uprung/uprung/internal/memsql"
)

// client is one session of the model: it writes its own key, with values that grow, and
// reads its own and others'. What it must not see is the model: for each key a floor.
type client struct {
	id      int
	random  *rand.Rand
	ctx     context.Context //nolint:containedctx // of the request that it is in
	value   int64
	written int64         // the last value that was acknowledged
	seen    map[int]int64 // the highest value of each key that was read
}

// tally is what all clients have found.
type tally struct {
	reads, atReplica, writes, failed   atomic.Int64
	ownViolations, monotonicViolations atomic.Int64
}

// play lets clients write and read until each has done so many operations, and servers
// lag, pause, crash, be promoted and come back.
func play(t *testing.T, level Level, seed uint64, operations int) *tally {
	t.Helper()
	found := &tally{}
	synctest.Test(t, func(t *testing.T) {
		const clients = 16
		servers := memsql.New(2)
		keys := [][]byte{[]byte("a key that both processes have")}
		ctx, stop := context.WithCancel(t.Context())
		var background sync.WaitGroup
		var dbs []*sql.DB
		var clusters []*Cluster
		for range 2 { // two processes
			c, err := New(nodesOf(servers, 3), &Options{Level: level, Token: TokenOptions{Keys: keys}})
			if err != nil {
				t.Fatal(err)
			}
			clusters = append(clusters, c)
			db := sql.OpenDB(c.Connector())
			dbs = append(dbs, db)
			background.Go(func() { _ = c.Run(ctx) })
		}
		background.Go(func() { chaosMonkey(ctx, servers, rand.New(rand.NewPCG(seed, 0))) })
		time.Sleep(300 * time.Millisecond)
		var working sync.WaitGroup
		for id := range clients {
			working.Go(func() {
				c := &client{id: id, random: rand.New(rand.NewPCG(seed, uint64(id+1))), seen: map[int]int64{}}
				process := 0
				c.ctx = clusters[0].WithBookmark(t.Context(), nil)
				for range operations / clients {
					if c.random.IntN(8) == 0 { // the next request, maybe at the other process
						token := clusters[process].Token(c.ctx, clusters[process].BookmarkOf(c.ctx))
						process = c.random.IntN(2)
						b, err := clusters[process].Open(token)
						if err != nil {
							t.Errorf("Open: %v", err)
						}
						c.ctx = clusters[process].WithBookmark(t.Context(), b)
					}
					c.step(clusters[process], dbs[process], clients, found)
				}
			})
		}
		working.Wait()
		stop()
		background.Wait()
		for _, db := range dbs {
			if err := db.Close(); err != nil {
				t.Error(err)
			}
		}
	})
	return found
}

// step is one operation.
func (c *client) step(cluster *Cluster, db *sql.DB, clients int, found *tally) {
	if c.random.IntN(3) > 0 {
		time.Sleep(time.Duration(c.random.IntN(int(30 * time.Millisecond))))
	}
	if c.random.IntN(4) == 0 {
		c.value++
		found.writes.Add(1)
		var err error
		switch c.random.IntN(3) {
		case 0:
			_, err = db.ExecContext(c.ctx, updateValue, c.id, c.value)
		case 1:
			err = db.QueryRowContext(c.ctx, returnValue, c.id, c.value).Scan(new(int64))
		default:
			var tx *sql.Tx
			if tx, err = db.BeginTx(c.ctx, nil); err == nil {
				if _, err = tx.ExecContext(c.ctx, updateValue, c.id, c.value); err == nil {
					err = tx.Commit()
				} else {
					_ = tx.Rollback()
				}
			}
		}
		if err != nil {
			found.failed.Add(1)
			return
		}
		c.written = c.value
		return
	}
	key := c.id
	if c.random.IntN(2) == 0 {
		key = c.random.IntN(clients)
	}
	var value int64
	err := db.QueryRowContext(c.ctx, selectValue, key).Scan(&value)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		found.failed.Add(1)
		return
	}
	found.reads.Add(1)
	if node, _ := cluster.NodeOf(c.ctx); node != cluster.nameOf(cluster.view.Load().primary) {
		found.atReplica.Add(1)
	}
	if key == c.id && value < c.written {
		found.ownViolations.Add(1)
	}
	if value < c.seen[key] {
		found.monotonicViolations.Add(1)
	}
	c.seen[key] = max(c.seen[key], value)
}

// chaosMonkey disturbs the servers until ctx ends.
func chaosMonkey(ctx context.Context, servers *memsql.Cluster, random *rand.Rand) {
	sleep := func(d time.Duration) bool {
		timer := time.NewTimer(d)
		defer timer.Stop()
		select {
		case <-timer.C:
			return true
		case <-ctx.Done():
			return false
		}
	}
	primary := 0
	for sleep(time.Duration(200+random.IntN(800)) * time.Millisecond) {
		replica := (primary + 1 + random.IntN(2)) % 3
		n := servers.Node(replica)
		switch random.IntN(8) {
		case 0, 1:
			n.SetLag(time.Duration(random.IntN(300)) * time.Millisecond)
		case 2:
			n.Pause(true)
			sleep(time.Duration(random.IntN(1000)) * time.Millisecond)
			n.Pause(false)
		case 3:
			n.Crash()
			sleep(time.Duration(random.IntN(500)) * time.Millisecond)
			n.Start()
		case 4:
			servers.Node(primary).KillConnections()
		case 5:
			n.SetLag(0)
		case 6:
			servers.Node(primary).Crash() // and back as it was
			sleep(time.Duration(random.IntN(200)) * time.Millisecond)
			servers.Node(primary).Start()
		case 7:
			old := servers.Node(primary)
			old.Crash()
			sleep(time.Duration(random.IntN(300)) * time.Millisecond)
			n.SetLag(0)
			n.Promote()
			primary = replica
			if !sleep(400 * time.Millisecond) {
				return
			}
			old.Start() // as the primary that it was
			if !sleep(time.Duration(300+random.IntN(500)) * time.Millisecond) {
				return
			}
			old.Rewind()
		}
	}
}

func TestNobodyNoticesReplication(t *testing.T) {
	t.Parallel()
	operations := 60_000
	if os.Getenv("UPRUNG_FULL_MODELS") == "1" {
		operations = 2_000_000
	}
	const seed = 1
	found := play(t, Session, seed, operations)
	t.Log(found)
	if found.ownViolations.Load()+found.monotonicViolations.Load() > 0 {
		t.Errorf("seed %d: %v, want no violations", seed, found)
	}
	if found.atReplica.Load()*2 < found.reads.Load() {
		t.Errorf("seed %d: %v, want at least half of the reads at replicas", seed, found)
	}
}

// The model must be able to fail.
func TestEventualReadsAreNoticed(t *testing.T) {
	t.Parallel()
	found := play(t, Eventual, 1, 20_000)
	if found.ownViolations.Load() < 10 || found.monotonicViolations.Load() < 10 {
		t.Errorf("%v, want violations of both kinds", found)
	}
}

// String tells what was found.
func (f *tally) String() string {
	return fmt.Sprintf("%d reads, %d at replicas, %d writes, %d failed; %d of own writes and %d of monotonic reads violated",
		f.reads.Load(), f.atReplica.Load(), f.writes.Load(), f.failed.Load(), f.ownViolations.Load(), f.monotonicViolations.Load())
}
