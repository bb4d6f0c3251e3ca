package replicate

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"
	"gorm.io/driver/postgres"
	"gorm.io/gorm"
	"gorm.io/gorm/logger"

	"github.com/uprung/uprung/internal/testserver"
	"github.com/uprung/uprung/replicate"
)

// fleet is a primary and two standbys, and a cluster over them.
type fleet struct {
	servers []*testserver.PostgresServer
	cluster *replicate.Cluster
	db      *sql.DB
}

// byPGX and byPQ are the two drivers.
func byPGX(t *testing.T, dsn string) driver.Connector {
	t.Helper()
	config, err := pgx.ParseConfig(dsn)
	if err != nil {
		t.Fatal(err)
	}
	return stdlib.GetConnector(*config)
}

func byPQ(t *testing.T, dsn string) driver.Connector {
	t.Helper()
	connector, err := pq.NewConnector(dsn)
	if err != nil {
		t.Fatal(err)
	}
	return connector
}

// start starts servers and a cluster that runs.
func start(t *testing.T, o replicate.Options, by func(*testing.T, string) driver.Connector) *fleet {
	t.Helper()
	primary := testserver.Postgres(t)
	f := &fleet{servers: []*testserver.PostgresServer{primary, primary.Replica(), primary.Replica()}}
	f.over(t, o, by)
	if _, err := f.db.ExecContext(t.Context(), `CREATE TABLE kv (key int PRIMARY KEY, value bigint NOT NULL)`); err != nil {
		t.Fatal(err)
	}
	if _, err := f.db.ExecContext(t.Context(), `INSERT INTO kv SELECT i, 0 FROM generate_series(0, 63) i`); err != nil {
		t.Fatal(err)
	}
	time.Sleep(300 * time.Millisecond) // three probes
	return f
}

// over makes a cluster over the servers.
func (f *fleet) over(t *testing.T, o replicate.Options, by func(*testing.T, string) driver.Connector) {
	t.Helper()
	var nodes []replicate.Node
	for i, s := range f.servers {
		nodes = append(nodes, replicate.Node{Name: fmt.Sprint("db-", i), Connector: by(t, s.DSN())})
	}
	var err error
	if f.cluster, err = replicate.New(nodes, &o); err != nil {
		t.Fatal(err)
	}
	f.db = sql.OpenDB(f.cluster.Connector())
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = f.cluster.Run(ctx) })
	t.Cleanup(func() {
		stop()
		running.Wait()
		if err := f.db.Close(); err != nil {
			t.Logf("Close: %v", err) // connections to servers that were killed
		}
	})
}

func full() bool { return os.Getenv("UPRUNG_FULL_MODELS") == "1" }

// found is what the clients of a test have noticed.
type found struct {
	reads, replicas, afterWrite, afterWriteAtReplica atomic.Int64
	own, monotonic, failedReads, failedWrites, acked atomic.Int64
}

func (f *found) String() string {
	return fmt.Sprintf("%d reads, %d at replicas (after a write %d of %d), %d writes; %d reads and %d writes failed; violated: own writes %d, monotonic reads %d",
		f.reads.Load(), f.replicas.Load(), f.afterWriteAtReplica.Load(), f.afterWrite.Load(), f.acked.Load(),
		f.failedReads.Load(), f.failedWrites.Load(), f.own.Load(), f.monotonic.Load())
}

// watch has clients write their own keys and read their own and others' for a while, and
// compares what they see with what they have written and seen. It returns the last value
// of every key that was acknowledged.
func (f *fleet) watch(t *testing.T, d, think time.Duration) (*found, []int64) {
	t.Helper()
	const clients = 16
	result := &found{}
	last := make([]int64, clients)
	until := time.Now().Add(d)
	var working sync.WaitGroup
	for id := range clients {
		working.Go(func() {
			random := rand.New(rand.NewPCG(1, uint64(id)))
			ctx := f.cluster.WithBookmark(context.Background(), nil)
			seen := map[int]int64{}
			var value int64
			for time.Now().Before(until) {
				if random.IntN(8) == 0 { // the next request
					b, err := f.cluster.Open(f.cluster.Token(ctx, f.cluster.BookmarkOf(ctx)))
					if err != nil {
						t.Errorf("Open: %v", err)
					}
					ctx = f.cluster.WithBookmark(context.Background(), b)
				}
				wrote := random.IntN(5) == 0
				if wrote {
					value++
					if _, err := f.db.ExecContext(ctx, `UPDATE kv SET value = $2 WHERE key = $1`, id, value); err != nil {
						result.failedWrites.Add(1)
						time.Sleep(2 * time.Millisecond)
						continue
					}
					last[id] = value
					result.acked.Add(1)
					time.Sleep(think)
				}
				key := id
				if !wrote && random.IntN(2) == 0 {
					key = random.IntN(clients)
				}
				var got int64
				if err := f.db.QueryRowContext(ctx, `SELECT value FROM kv WHERE key = $1`, key).Scan(&got); err != nil {
					result.failedReads.Add(1)
					time.Sleep(2 * time.Millisecond)
					continue
				}
				result.reads.Add(1)
				node, _ := f.cluster.NodeOf(ctx)
				replica := f.role(node) == replicate.Replica
				if replica {
					result.replicas.Add(1)
				}
				if wrote {
					result.afterWrite.Add(1)
					if replica {
						result.afterWriteAtReplica.Add(1)
					}
				}
				if key == id && got < last[id] {
					result.own.Add(1)
				}
				if got < seen[key] {
					result.monotonic.Add(1)
				}
				seen[key] = max(seen[key], got)
			}
		})
	}
	working.Wait()
	return result, last
}

// further returns the standby that has received more, and the other.
func (f *fleet) further(t *testing.T) (heir, other int) {
	var received [3]int64
	for i := 1; i <= 2; i++ {
		rows, err := f.servers[i].Query(context.Background(), `SELECT (pg_last_wal_receive_lsn() - '0/0')::bigint`)
		if err != nil || len(rows) != 1 {
			t.Errorf("db-%d: %v, %v", i, rows, err)
			continue
		}
		if received[i], err = strconv.ParseInt(rows[0][0], 10, 64); err != nil {
			t.Error(err)
		}
	}
	if received[2] > received[1] {
		return 2, 1
	}
	return 1, 2
}

func (f *fleet) role(name string) replicate.Role {
	for _, n := range f.cluster.Stats().Nodes {
		if n.Name == name {
			return n.Role
		}
	}
	return replicate.UnknownRole
}

func TestNobodyNoticesReplication(t *testing.T) {
	f := start(t, replicate.Options{}, byPGX)
	length := 2 * time.Second
	if full() {
		length = 15 * time.Second
	}
	f.servers[1].Delay(200 * time.Millisecond)
	f.servers[2].Delay(200 * time.Millisecond)
	var disturbing sync.WaitGroup
	disturbing.Go(func() {
		time.Sleep(length / 3)
		f.servers[2].PauseReplay()
		time.Sleep(length / 3)
		f.servers[2].ResumeReplay()
	})
	result, _ := f.watch(t, length, 0)
	disturbing.Wait()
	t.Log(result)
	if result.own.Load()+result.monotonic.Load()+result.failedReads.Load()+result.failedWrites.Load() > 0 || result.replicas.Load() == 0 {
		t.Errorf("%v: want reads at replicas, no violations and no failures", result)
	}

	// Without the promise it is noticed.
	plain := &fleet{servers: f.servers}
	plain.over(t, replicate.Options{Level: replicate.Eventual}, byPGX)
	time.Sleep(300 * time.Millisecond)
	if result, _ = plain.watch(t, length, 0); result.own.Load() < 100 || result.monotonic.Load() < 10 {
		t.Errorf("eventual: %v: want violations of both kinds", result)
	}
	t.Log("eventual: ", result)
}

func TestReadsAfterWritesAreAtReplicasOnceTheLagIsBelowTheThinkTime(t *testing.T) {
	f := start(t, replicate.Options{}, byPGX)
	f.servers[1].Delay(100 * time.Millisecond)
	f.servers[2].Delay(100 * time.Millisecond)
	time.Sleep(300 * time.Millisecond)
	result, _ := f.watch(t, 3*time.Second, 400*time.Millisecond)
	t.Log(result)
	if share := float64(result.afterWriteAtReplica.Load()) / float64(result.afterWrite.Load()); share < 0.95 || result.own.Load() > 0 {
		t.Errorf("%v: want 0.95 of the reads after a write at replicas, is %.3f", result, share)
	}
}

func TestTrap7CrashPromotionAndAReturningOldPrimary(t *testing.T) {
	f := start(t, replicate.Options{}, byPGX)
	// What is acknowledged is at both standbys, and the one that has more is promoted: a
	// promotion loses nothing, also nothing that was seen before it was acknowledged.
	for _, text := range []string{`ALTER SYSTEM SET synchronous_standby_names = 'ANY 2 (*)'`, `SELECT pg_reload_conf()`} {
		if _, err := f.db.ExecContext(t.Context(), text); err != nil {
			t.Fatal(err)
		}
	}
	time.Sleep(300 * time.Millisecond)
	var pause time.Duration
	var heir, other int
	var disturbing sync.WaitGroup
	disturbing.Go(func() {
		time.Sleep(time.Second)
		f.servers[0].Kill()
		heir, other = f.further(t)
		f.servers[heir].Promote()
		promoted := time.Now()
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		for f.role(fmt.Sprint("db-", heir)) != replicate.Primary && ctx.Err() == nil {
			time.Sleep(time.Millisecond)
		}
		if _, err := f.db.ExecContext(ctx, `UPDATE kv SET value = value + 1 WHERE key = 63`); err != nil {
			t.Errorf("a write after the promotion: %v", err)
		}
		pause = time.Since(promoted)
		f.servers[other].Follow(f.servers[heir])
		f.servers[0].Restart() // as the primary that it was
	})
	result, last := f.watch(t, 5*time.Second, 0)
	disturbing.Wait()
	t.Logf("%v; writes flow %v after the promotion", result, pause)
	if result.own.Load()+result.monotonic.Load() > 0 {
		t.Errorf("%v: want no violations", result)
	}
	if pause > 100*time.Millisecond {
		t.Errorf("writes flow %v after the promotion, want 100ms at most", pause)
	}
	stats := f.cluster.Stats()
	if stats.Nodes[heir].Role != replicate.Primary || stats.Nodes[0].Up || !stats.Nodes[other].Up {
		t.Errorf("stats are %+v", stats)
	}
	for key, want := range last {
		var got int64
		if err := f.db.QueryRowContext(replicate.OnPrimary(t.Context()), `SELECT value FROM kv WHERE key = $1`, key).Scan(&got); err != nil || got < want {
			t.Errorf("key %d is %d, %v; %d was acknowledged", key, got, err, want)
		}
	}
}

// A standby that follows the new primary is used at once, though its control file tells
// the timeline of its last restart point, which is the old one.
func TestTrap6TimelineIsThatOfWhatAStandbyReceives(t *testing.T) {
	f := start(t, replicate.Options{FailoverWait: 10 * time.Second}, byPGX)
	f.servers[0].Kill()
	heir, other := f.further(t)
	f.servers[heir].Promote()
	f.servers[other].Follow(f.servers[heir])
	ctx := f.cluster.WithBookmark(t.Context(), nil)
	if _, err := f.db.ExecContext(ctx, `UPDATE kv SET value = 1 WHERE key = 1`); err != nil {
		t.Fatal(err)
	}
	var value int64
	node := ""
	for until := time.Now().Add(10 * time.Second); node != fmt.Sprint("db-", other) && time.Now().Before(until); {
		if err := f.db.QueryRowContext(ctx, `SELECT value FROM kv WHERE key = 1`).Scan(&value); err != nil || value != 1 {
			t.Fatalf("value is %d, %v; want 1", value, err)
		}
		node, _ = f.cluster.NodeOf(ctx)
		// Slower than servers are asked where they are: each read at the primary is one that
		// a standby has yet to be known to have.
		time.Sleep(50 * time.Millisecond)
	}
	if node != fmt.Sprint("db-", other) {
		t.Errorf("the last read is at %s, want at the standby, db-%d", node, other)
	}
	rows, err := f.servers[other].Query(t.Context(), `SELECT c.timeline_id, r.received_tli FROM pg_control_checkpoint() c, pg_stat_wal_receiver r`)
	if err != nil || len(rows) != 1 {
		t.Fatalf("rows are %v, %v", rows, err)
	}
	if rows[0][0] == rows[0][1] {
		t.Logf("the control file knows timeline %s already: nothing was tried", rows[0][0])
	}
}

func TestTrap1And3PositionsAreReached(t *testing.T) {
	f := start(t, replicate.Options{Wait: 2 * time.Second, Fallback: replicate.ToError}, byPGX)
	// With off, the WAL is written, and sent, a fifth of a second later.
	for mode, rounds := range map[string]int64{"off": 20, "on": 300} {
		if _, err := f.db.ExecContext(t.Context(), `ALTER SYSTEM SET synchronous_commit = `+mode); err != nil {
			t.Fatal(err)
		}
		if _, err := f.db.ExecContext(t.Context(), `SELECT pg_reload_conf()`); err != nil {
			t.Fatal(err)
		}
		ctx := f.cluster.WithBookmark(t.Context(), nil)
		for i := range rounds { // across many pages of WAL, each on an idle primary
			if _, err := f.db.ExecContext(ctx, `UPDATE kv SET value = $1 WHERE key = 1`, i); err != nil {
				t.Fatal(err)
			}
			var got int64
			if err := f.db.QueryRowContext(ctx, `SELECT value FROM kv WHERE key = 1`).Scan(&got); err != nil || got != i {
				t.Fatalf("synchronous_commit %s: value is %d, %v; want %d from a replica", mode, got, err, i)
			}
		}
	}
}

func TestBothDriversOfPostgreSQL(t *testing.T) {
	for name, by := range map[string]func(*testing.T, string) driver.Connector{"pgx": byPGX, "pq": byPQ} {
		t.Run(name, func(t *testing.T) {
			f := start(t, replicate.Options{}, by)
			ctx := f.cluster.WithBookmark(t.Context(), nil)
			var value int64
			if err := f.db.QueryRowContext(ctx, `UPDATE kv SET value = 5 WHERE key = $1 RETURNING value`, 1).Scan(&value); err != nil || value != 5 {
				t.Fatalf("RETURNING: %d, %v", value, err)
			}
			time.Sleep(300 * time.Millisecond)
			read, err := f.db.PrepareContext(ctx, `SELECT value FROM kv WHERE key = $1`)
			if err != nil {
				t.Fatal(err)
			}
			defer read.Close()
			for range 20 {
				if err := read.QueryRowContext(ctx, 1).Scan(&value); err != nil || value != 5 {
					t.Fatalf("prepared: %d, %v", value, err)
				}
				if node, _ := f.cluster.NodeOf(ctx); node == "db-0" {
					t.Error("a read is at the primary")
				}
			}
			tx, err := f.db.BeginTx(ctx, &sql.TxOptions{ReadOnly: true, Isolation: sql.LevelRepeatableRead})
			if err != nil {
				t.Fatal(err)
			}
			if err := tx.QueryRowContext(ctx, `SELECT value FROM kv WHERE key = $1`, 1).Scan(&value); err != nil || value != 5 {
				t.Errorf("read-only transaction: %d, %v", value, err)
			}
			if _, err := tx.ExecContext(ctx, `UPDATE kv SET value = 1`); err == nil {
				t.Error("a read-only transaction has written")
			}
			_ = tx.Rollback()
			if node, _ := f.cluster.NodeOf(ctx); node == "db-0" {
				t.Error("a read-only transaction is at the primary")
			}
			rows, err := f.db.QueryContext(ctx, `SELECT key, value FROM kv ORDER BY key`)
			if err != nil {
				t.Fatal(err)
			}
			types, err := rows.ColumnTypes()
			if err != nil || types[1].DatabaseTypeName() != "INT8" {
				t.Errorf("types are %v, %v", types, err)
			}
			n := 0
			for rows.Next() {
				n++
			}
			if err := errors.Join(rows.Err(), rows.Close()); err != nil || n != 64 {
				t.Errorf("%d rows, %v", n, err)
			}
			// A function that writes, vouched for by mistake.
			if _, err := f.db.ExecContext(ctx, `CREATE FUNCTION sneaky(k int) RETURNS bigint LANGUAGE sql AS 'UPDATE kv SET value = value + 1 WHERE key = k RETURNING value'`); err != nil {
				t.Fatal(err)
			}
			time.Sleep(300 * time.Millisecond)
			refused := 0
			for range 20 {
				if err := f.db.QueryRowContext(replicate.OnReplica(ctx), `SELECT sneaky(2)`).Scan(&value); err != nil {
					refused++ // lib/pq tells it with the rows
				}
			}
			if name == "pgx" && (refused > 0 || value != 20 || f.cluster.Stats().Rerouted != 1) {
				t.Errorf("sneaky returned %d, was refused %d times and routed again %d times", value, refused, f.cluster.Stats().Rerouted)
			}
		})
	}
}

func TestORMs(t *testing.T) {
	f := start(t, replicate.Options{}, byPGX)
	t.Run("gorm", func(t *testing.T) {
		db, err := gorm.Open(postgres.New(postgres.Config{Conn: f.db}), &gorm.Config{Logger: logger.Discard})
		if err != nil {
			t.Fatal(err)
		}
		type Order struct {
			ID   uint
			Name string
		}
		if err := db.AutoMigrate(&Order{}); err != nil {
			t.Fatal(err)
		}
		ctx := f.cluster.WithBookmark(t.Context(), nil)
		for i := range 50 {
			order := Order{Name: fmt.Sprint("order ", i)}
			if err := db.WithContext(ctx).Create(&order).Error; err != nil {
				t.Fatal(err)
			}
			var got Order
			if err := db.WithContext(ctx).First(&got, order.ID).Error; err != nil || got.Name != order.Name {
				t.Fatalf("got %+v, %v; want %+v", got, err, order)
			}
		}
		err = db.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
			return tx.Transaction(func(tx *gorm.DB) error { return tx.Create(&Order{Name: "nested"}).Error })
		})
		if err != nil {
			t.Error(err)
		}
		time.Sleep(300 * time.Millisecond)
		var n int64
		if err := db.WithContext(ctx).Model(&Order{}).Count(&n).Error; err != nil || n != 51 {
			t.Errorf("%d orders, %v; want 51", n, err)
		}
		if node, _ := f.cluster.NodeOf(ctx); node == "db-0" {
			t.Error("a count is at the primary")
		}
	})
	t.Run("sqlx", func(t *testing.T) {
		db := sqlx.NewDb(f.db, "pgx")
		ctx := f.cluster.WithBookmark(t.Context(), nil)
		if _, err := db.NamedExecContext(ctx, `UPDATE kv SET value = :v WHERE key = :k`, map[string]any{"v": 9, "k": 3}); err != nil {
			t.Fatal(err)
		}
		var rows []struct{ Key, Value int64 }
		if err := db.SelectContext(ctx, &rows, `SELECT key, value FROM kv WHERE key = ANY($1)`, []int{3}); err != nil || len(rows) != 1 || rows[0].Value != 9 {
			t.Errorf("rows are %v, %v", rows, err)
		}
	})
	t.Run("raw", func(t *testing.T) {
		conn, err := f.db.Conn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		err = conn.Raw(func(driverConn any) error {
			inner, err := replicate.Unwrap(t.Context(), driverConn)
			if err != nil {
				return err
			}
			n, err := inner.(*stdlib.Conn).Conn().CopyFrom(t.Context(), pgx.Identifier{"kv"}, []string{"key", "value"},
				pgx.CopyFromRows([][]any{{100, int64(1)}, {101, int64(2)}}))
			if n != 2 {
				t.Errorf("%d rows were copied", n)
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}
	})
}
