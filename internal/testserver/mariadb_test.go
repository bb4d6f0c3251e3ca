package testserver

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"
)

func TestMariaDB(t *testing.T) {
	t.Parallel()
	primary := MariaDB(t, "max-connections=50")
	replica := primary.Replica()
	rows := func(s *MariaDBServer, want, sql string) {
		t.Helper()
		if got, err := s.Query(t.Context(), sql); err != nil || len(got) != 1 || strings.Join(got[0], " ") != want {
			t.Errorf("%s: %s gives %v, %v; want %s", s.name, sql, got, err, want)
		}
	}
	rows(replica, "50 1", "SELECT @@max_connections, @@read_only")
	await := func(s *MariaDBServer, want string) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), startTimeout)
		defer cancel()
		if err := poll(ctx, func() error {
			got, err := s.Query(ctx, "SELECT count(*) FROM app.t")
			if err == nil && got[0][0] != want {
				err = errors.New("has " + got[0][0] + ", want " + want)
			}
			return err
		}); err != nil {
			t.Errorf("%s: %v", s.name, err)
		}
	}
	if _, err := replica.QueryAs(t.Context(), "app", "CREATE TABLE app.x (n int)"); err == nil || !strings.Contains(err.Error(), "1290") {
		t.Errorf("a write to a replica gives %v, want error 1290", err)
	}
	if _, err := primary.QueryAs(t.Context(), "app", "CREATE TABLE app.t (n int PRIMARY KEY)"); err != nil {
		t.Error(err)
	}
	await(replica, "0")
	replica.PauseReplay()
	primary.admin("INSERT INTO app.t VALUES (1)")
	rows(replica, "0", "SELECT count(*) FROM app.t")
	replica.ResumeReplay()
	await(replica, "1")

	replica.Delay(2 * time.Second)
	began := time.Now()
	primary.admin("INSERT INTO app.t VALUES (2)")
	await(replica, "2")
	if took := time.Since(began); took < 900*time.Millisecond {
		t.Errorf("the delayed replica applied after %v, want 1s to 2s", took)
	}
	replica.Delay(0)

	replica.CutOff()
	primary.admin("INSERT INTO app.t VALUES (3)")
	rows(replica, "2", "SELECT count(*) FROM app.t")
	replica.Follow(primary)
	rows(replica, "3", "SELECT count(*) FROM app.t")

	primary.Kill()
	replica.Promote()
	replica.admin("INSERT INTO app.t VALUES (4)")
	primary.Restart()
	rows(primary, "3", "SELECT count(*) FROM app.t")
	primary.Follow(replica)
	rows(primary, "4", "SELECT count(*) FROM app.t")
}
