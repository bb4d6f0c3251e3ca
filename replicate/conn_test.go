package replicate

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"testing"
	"time"
)

func TestReadsGoToReplicasAndWritesToThePrimary(t *testing.T) {
	t.Parallel()
	in(t, Options{}, func(t *testing.T, w *world) {
		ctx := t.Context()
		w.write(ctx, t, "a", 1)
		w.settle()
		seen := map[string]int{}
		for range 100 {
			value, node := w.read(ctx, t, "a")
			if value != 1 {
				t.Fatalf("value is %d, want 1", value)
			}
			seen[node]++
		}
		if seen["p"] != 0 || seen["r1"] < 20 || seen["r2"] < 20 {
			t.Errorf("reads are at %v, want none at p and a fair share at r1 and r2", seen)
		}
		s := w.cluster.Stats()
		if s.Nodes[0].Writes != 1 || s.Nodes[1].Writes+s.Nodes[2].Writes != 0 || s.Reads[AtReplica] != 100 {
			t.Errorf("stats are %+v", s)
		}
	})
}

func TestTransactions(t *testing.T) {
	t.Parallel()
	in(t, Options{}, func(t *testing.T, w *world) {
		ctx := w.cluster.WithBookmark(t.Context(), nil)
		tx, err := w.db.BeginTx(ctx, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := tx.ExecContext(ctx, updateValue, "a", 7); err != nil {
			t.Fatal(err)
		}
		var value int64
		if err := tx.QueryRowContext(ctx, selectValue, "a").Scan(&value); err != nil || value != 7 {
			t.Errorf("within the transaction: %d, %v, want 7", value, err)
		}
		if node, _ := w.cluster.NodeOf(ctx); node != "p" {
			t.Errorf("the transaction is at %s, want p", node)
		}
		if err := tx.Commit(); err != nil {
			t.Fatal(err)
		}
		w.settle()
		tx, err = w.db.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
		if err != nil {
			t.Fatal(err)
		}
		if err := tx.QueryRowContext(ctx, selectValue, "a").Scan(&value); err != nil || value != 7 {
			t.Errorf("in a read-only transaction: %d, %v, want 7", value, err)
		}
		if node, _ := w.cluster.NodeOf(ctx); node == "p" {
			t.Error("the read-only transaction is at the primary")
		}
		if err := tx.Rollback(); err != nil {
			t.Fatal(err)
		}
		// A transaction that is left open, such as by a context that ends, rolls back.
		short, cancel := context.WithCancel(ctx)
		if tx, err = w.db.BeginTx(short, nil); err != nil {
			t.Fatal(err)
		}
		if _, err := tx.ExecContext(short, updateValue, "a", 8); err != nil {
			t.Fatal(err)
		}
		cancel()
		time.Sleep(time.Millisecond)
		if value, _ := w.read(ctx, t, "a"); value != 7 {
			t.Errorf("value is %d after a rollback, want 7", value)
		}
	})
}

func TestPreparedStatements(t *testing.T) {
	t.Parallel()
	in(t, Options{}, func(t *testing.T, w *world) {
		ctx := w.cluster.WithBookmark(t.Context(), nil)
		update, err := w.db.PrepareContext(ctx, updateValue)
		if err != nil {
			t.Fatal(err)
		}
		defer update.Close()
		query, err := w.db.PrepareContext(ctx, selectValue)
		if err != nil {
			t.Fatal(err)
		}
		defer query.Close()
		for i := range int64(10) {
			if _, err := update.ExecContext(ctx, "a", i); err != nil {
				t.Fatal(err)
			}
			w.settle()
			var value int64
			if err := query.QueryRowContext(ctx, "a").Scan(&value); err != nil || value != i {
				t.Fatalf("value is %d, %v, want %d", value, err, i)
			}
			if node, _ := w.cluster.NodeOf(ctx); node == "p" {
				t.Fatal("a prepared read is at the primary")
			}
		}
	})
}

func TestIdleConnectionsOwnNothing(t *testing.T) {
	t.Parallel()
	in(t, Options{}, func(t *testing.T, w *world) {
		ctx := t.Context()
		var conns []*sql.Conn
		for range 8 {
			conn, err := w.db.Conn(ctx)
			if err != nil {
				t.Fatal(err)
			}
			var value int64
			_ = conn.QueryRowContext(WithLevel(ctx, Eventual), selectValue, "a").Scan(&value)
			conns = append(conns, conn)
		}
		for _, conn := range conns {
			if err := conn.Close(); err != nil {
				t.Fatal(err)
			}
		}
		for _, n := range w.cluster.Stats().Nodes {
			if n.Open != n.Idle {
				t.Errorf("%s has %d connections, %d of them idle, want all", n.Name, n.Open, n.Idle)
			}
		}
	})
}

func TestSessionStatementsPinThePrimary(t *testing.T) {
	t.Parallel()
	in(t, Options{}, func(t *testing.T, w *world) {
		ctx := w.cluster.WithBookmark(t.Context(), nil)
		conn, err := w.db.Conn(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := conn.ExecContext(ctx, "SET search_path TO a"); err != nil {
			t.Fatal(err)
		}
		open := w.cluster.Stats().Nodes[0].Open
		for range 5 {
			_ = conn.QueryRowContext(ctx, selectValue, "a").Scan(new(int64))
			if node, _ := w.cluster.NodeOf(ctx); node != "p" {
				t.Errorf("after SET, a read is at %s, want p", node)
			}
		}
		if err := conn.Close(); err != nil {
			t.Fatal(err)
		}
		if got := w.cluster.Stats().Nodes[0].Open; got != open-1 {
			t.Errorf("the primary has %d connections, want %d: nobody is to get that one", got, open-1)
		}
		w.settle()
		if _, node := w.read(ctx, t, "a"); node == "p" {
			t.Error("the next connection is still pinned")
		}
	})
}

// What a connection remembers, or was told, is not to be had of another.
func TestStateOfALostConnectionIsNotSoughtElsewhere(t *testing.T) {
	t.Parallel()
	in(t, Options{}, func(t *testing.T, w *world) {
		ctx := t.Context()
		conn, err := w.db.Conn(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := conn.ExecContext(ctx, updateValue, "a", 1); err != nil {
			t.Fatal(err)
		}
		if err := conn.QueryRowContext(ctx, "SELECT lastval()").Scan(new(int64)); err != nil {
			t.Errorf("on the connection of the write: %v", err)
		}
		w.servers.Node(0).KillConnections()
		if _, err := conn.ExecContext(ctx, updateValue, "a", 2); !isLost(err) {
			t.Errorf("a write on a lost connection returned %v", err)
		}
		if err := conn.QueryRowContext(ctx, selectValue, "a").Scan(new(int64)); err != nil {
			t.Errorf("a read: %v", err)
		}
		if err := conn.QueryRowContext(ctx, updateValue, "a", 3).Scan(new(int64)); !errors.Is(err, sql.ErrNoRows) {
			t.Errorf("a write on the next connection: %v", err)
		}
		if err := conn.QueryRowContext(ctx, "SELECT lastval()").Scan(new(int64)); !errors.Is(err, errForgotten) {
			t.Errorf("lastval() of another connection returned %v", err)
		}
		if err := conn.Close(); err != nil {
			t.Fatal(err)
		}
		if err := w.db.QueryRowContext(ctx, "SELECT lastval()").Scan(new(int64)); err != nil {
			t.Errorf("it is refused for good: %v", err)
		}

		// A server that is no primary any longer refuses; the new one lacks the settings.
		if conn, err = w.db.Conn(ctx); err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := conn.ExecContext(ctx, "SET ROLE tenant"); err != nil {
			t.Fatal(err)
		}
		w.servers.Node(1).Promote()
		w.servers.Node(0).Rewind()
		before := w.servers.Node(1).Writes()
		if _, err := conn.ExecContext(ctx, updateValue, "a", 4); faultOf(PostgreSQL(), err) != ReadOnly {
			t.Errorf("a write after SET and a failover returned %v, want the refusal", err)
		}
		if got := w.servers.Node(1).Writes(); got != before {
			t.Error("it was executed without the setting")
		}
		if _, err := w.db.ExecContext(ctx, updateValue, "a", 5); err != nil {
			t.Errorf("on a connection without settings: %v", err)
		}
	})
}

func isLost(err error) bool { return err != nil && faultOf(PostgreSQL(), err) == Gone }

func TestPreparedStatementsAreBoundedWhileAConnectionIsKept(t *testing.T) {
	t.Parallel()
	in(t, Options{MaxStatements: 8}, func(t *testing.T, w *world) {
		kept, err := w.db.Conn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer kept.Close()
		for i := range 100 {
			stmt, err := kept.PrepareContext(t.Context(), fmt.Sprintf("SELECT value FROM kv WHERE key = $1 LIMIT %d", i+1))
			if err != nil {
				t.Fatal(err)
			}
			defer stmt.Close()
			if err := stmt.QueryRowContext(t.Context(), "a").Scan(new(int64)); !errors.Is(err, sql.ErrNoRows) {
				t.Fatal(err)
			}
		}
		err = kept.Raw(func(driverConn any) error {
			c := driverConn.(*conn)
			if n := len(c.replica.statements); n != 8 {
				t.Errorf("a server has %d statements, want 8", n)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	})
}

func TestUnwrap(t *testing.T) {
	t.Parallel()
	in(t, Options{}, func(t *testing.T, w *world) {
		ctx := t.Context()
		for want, ctx := range []context.Context{OnReplica(ctx), ctx} {
			conn, err := w.db.Conn(ctx)
			if err != nil {
				t.Fatal(err)
			}
			err = conn.Raw(func(driverConn any) error {
				inner, err := Unwrap(ctx, driverConn)
				if err != nil {
					return err
				}
				index := inner.(interface{ NodeIndex() int }).NodeIndex()
				if (index > 0) != (want == 0) {
					t.Errorf("the connection is to server %d", index)
				}
				return nil
			})
			if err != nil {
				t.Error(err)
			}
			if err := conn.Close(); err != nil {
				t.Error(err)
			}
		}
		if _, err := Unwrap(ctx, 1); err == nil {
			t.Error("a foreign connection was unwrapped")
		}
	})
}

func TestHints(t *testing.T) {
	t.Parallel()
	in(t, Options{}, func(t *testing.T, w *world) {
		if _, node := w.read(OnPrimary(t.Context()), t, "a"); node != "p" {
			t.Errorf("OnPrimary read at %s", node)
		}
		if _, node := w.read(WithLevel(t.Context(), Strong), t, "a"); node != "p" {
			t.Errorf("Strong read at %s", node)
		}
		ctx := OnReplica(w.cluster.WithBookmark(t.Context(), nil))
		if err := w.db.QueryRowContext(ctx, "SELECT my_function($1)", "a").Scan(new(int64)); err != nil {
			t.Fatal(err)
		}
		if node, _ := w.cluster.NodeOf(ctx); node == "p" {
			t.Error("OnReplica read at the primary")
		}
		s := w.cluster.Stats()
		if s.Reads[ByHint] != 1 || s.Reads[ByLevel] != 1 {
			t.Errorf("reads are %v", s.Reads)
		}
	})
}

func TestTrap12LostWriteIsNeverRepeated(t *testing.T) {
	t.Parallel()
	in(t, Options{}, func(t *testing.T, w *world) {
		ctx := t.Context()
		for name, do := range map[string]func() error{
			"exec":  func() error { _, err := w.db.ExecContext(ctx, updateValue, "a", 1); return err },
			"query": func() error { return w.db.QueryRowContext(ctx, returnValue, "a", 1).Scan(new(int64)) },
			"commit": func() error {
				tx, err := w.db.BeginTx(ctx, nil)
				if err != nil {
					return err
				}
				if _, err := tx.ExecContext(ctx, updateValue, "a", 1); err != nil {
					return err
				}
				return tx.Commit()
			},
		} {
			w.servers.Node(0).CommitAndFail(errBad)
			before := w.servers.Node(0).Writes()
			err := do()
			if !errors.Is(err, ErrUncertain) || errors.Is(err, errBad) {
				t.Errorf("%s returned %v, want ErrUncertain and nothing that database/sql repeats", name, err)
			}
			if got := w.servers.Node(0).Writes() - before; got != 1 {
				t.Errorf("%s was executed %d times, want once", name, got)
			}
		}
	})
}
