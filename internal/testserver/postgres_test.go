package testserver

import (
	"context"
	"errors"
	"testing"
	"time"
)

// One cluster and all its faults: starting it is the larger part of the time.
func TestPostgres(t *testing.T) {
	t.Parallel()
	primary := Postgres(t, "work_mem=5MB")
	r1, r2 := primary.Replica(), primary.Replica()
	answer(t, r1, "5MB", "SHOW work_mem")
	answer(t, primary, "f", "SELECT pg_is_in_recovery()")
	answer(t, r1, "t", "SELECT pg_is_in_recovery()")
	answer(t, primary, "", "SELECT NULL")

	var refused *PostgresError
	if _, err := r1.Query(t.Context(), "CREATE TABLE x ()"); !errors.As(err, &refused) || refused.SQLState() != "25006" {
		t.Errorf("a write to a standby gives %v, want 25006", err)
	}

	primary.admin("CREATE TABLE t (n int)")
	r1.await("SELECT count(*) FROM t", "0")
	r2.await("SELECT count(*) FROM t", "0")

	r1.PauseReplay()
	r2.Delay(300 * time.Millisecond)
	began := time.Now()
	primary.admin("INSERT INTO t VALUES (1)")
	r2.await("SELECT count(*) FROM t", "1")
	if took := time.Since(began); took < 250*time.Millisecond {
		t.Errorf("the delayed standby applied after %v, want at least 300ms", took)
	}
	answer(t, r1, "0", "SELECT count(*) FROM t")
	r1.ResumeReplay()
	r1.await("SELECT count(*) FROM t", "1")

	r2.Delay(0)
	r2.CutOff()
	primary.admin("INSERT INTO t VALUES (2)")
	r1.await("SELECT count(*) FROM t", "2")
	answer(t, r2, "1", "SELECT count(*) FROM t")
	r2.Follow(primary)
	r2.await("SELECT count(*) FROM t", "2")

	r1.Pause()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	if _, err := r1.Query(ctx, "SELECT 1"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a paused server answers %v, want a timeout", err)
	}
	cancel()
	r1.Resume()
	answer(t, r1, "2", "SELECT count(*) FROM t")

	primary.Kill()
	r1.Promote()
	r1.admin("INSERT INTO t VALUES (3)")
	r2.Follow(r1)
	r2.await("SELECT count(*) FROM t", "3")

	primary.Restart() // un-rewound: a second primary
	answer(t, primary, "f", "SELECT pg_is_in_recovery()")
	primary.admin("INSERT INTO t VALUES (-1)")
	primary.Rewind(r1)
	answer(t, primary, "t", "SELECT pg_is_in_recovery()")
	primary.await("SELECT string_agg(n::text, ' ' ORDER BY n) FROM t", "1 2 3")
}

// answer checks the single value that a query gives.
func answer(t *testing.T, s *PostgresServer, want, sql string) {
	t.Helper()
	if rows, err := s.Query(t.Context(), sql); err != nil || len(rows) != 1 || rows[0][0] != want {
		t.Errorf("%s gives %v, %v; want %s", sql, rows, err, want)
	}
}
