package memsql_test

import (
	"database/sql"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/uprung/uprung/internal/memsql"
)

func value(t *testing.T, db *sql.DB) int64 {
	t.Helper()
	var v int64
	err := db.QueryRowContext(t.Context(), "SELECT value FROM kv WHERE key = $1", "a").Scan(&v)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		t.Fatal(err)
	}
	return v
}

func set(t *testing.T, db *sql.DB, v int64) error {
	t.Helper()
	_, err := db.ExecContext(t.Context(), "UPDATE kv SET value = $2 WHERE key = $1", "a", v)
	return err
}

func TestReplicasLagPauseAndAreRefusedWrites(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := memsql.New(1)
		p, r := sql.OpenDB(c.Node(0)), sql.OpenDB(c.Node(1))
		defer p.Close()
		defer r.Close()
		c.Node(1).SetLag(time.Second)
		if err := set(t, p, 1); err != nil {
			t.Fatal(err)
		}
		if got := value(t, r); got != 0 {
			t.Errorf("value is %d at once, want 0", got)
		}
		time.Sleep(time.Second)
		if got := value(t, r); got != 1 {
			t.Errorf("value is %d a second later, want 1", got)
		}
		c.Node(1).Pause(true)
		if err := set(t, p, 2); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		if got := value(t, r); got != 1 {
			t.Errorf("value is %d at a replica that is paused, want 1", got)
		}
		state, ok := errors.AsType[interface {
			error
			SQLState() string
		}](set(t, r, 3))
		if !ok || state.SQLState() != "25006" {
			t.Errorf("a write at a replica gives %v", state)
		}
	})
}

func TestCrashPromotionAndRewind(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := memsql.New(1)
		old, r := sql.OpenDB(c.Node(0)), sql.OpenDB(c.Node(1))
		defer old.Close()
		defer r.Close()
		c.Node(1).SetLag(time.Second)
		if err := set(t, old, 1); err != nil {
			t.Fatal(err)
		}
		c.Node(0).Crash()
		if err := old.PingContext(t.Context()); err == nil {
			t.Error("a server that has crashed answers")
		}
		c.Node(1).Promote()
		if got := value(t, r); got != 1 {
			t.Errorf("value is %d after the promotion, want all that was sent", got)
		}
		c.Node(0).Start()
		if err := errors.Join(set(t, old, 7), set(t, r, 2)); err != nil {
			t.Fatal(err)
		}
		c.Node(0).Rewind()
		if got := value(t, old); got != 2 {
			t.Errorf("value is %d at the old primary, rewound, want 2", got)
		}
	})
}

func TestTransactionsAndCapacity(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := memsql.New(0)
		c.SetCapacity(1, time.Second)
		db := sql.OpenDB(c.Node(0))
		defer db.Close()
		began := time.Now()
		tx, err := db.BeginTx(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := tx.ExecContext(t.Context(), "UPDATE kv SET value = $2 WHERE key = $1", "a", 5); err != nil {
			t.Fatal(err)
		}
		if got := value(t, db); got != 0 {
			t.Errorf("value is %d before the commit, want 0", got)
		}
		if err := tx.Commit(); err != nil {
			t.Fatal(err)
		}
		if got := value(t, db); got != 5 {
			t.Errorf("value is %d after the commit, want 5", got)
		}
		if took := time.Since(began); took != 3*time.Second {
			t.Errorf("three statements took %v, want 3s", took)
		}
	})
}
