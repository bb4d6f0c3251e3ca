package testserver

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// MariaDBServer is a running MariaDB with GTID, primary or replica. A replica is
// read_only. The user app may do all that an application needs, but cannot
// write to a replica; root can. Neither has a password.
type MariaDBServer struct {
	node
	server   string // the program
	client   string // the program that speaks to it
	base     string
	pristine string // a data directory that no server has touched
	account  account
	settings []string
}

// MariaDB starts a primary and ends it with the test. Kill keeps what was
// committed. Settings are given as "name=value", and hold for its replicas too.
func MariaDB(tb TB, settings ...string) *MariaDBServer {
	tb.Helper()
	const install = "apt-get install mariadb-server, or brew install mariadb"
	s := &MariaDBServer{
		server:   find(tb, install, []string{"mariadbd"}, "/usr/sbin", "/usr/local/sbin"),
		client:   find(tb, install, []string{"mariadb"}),
		account:  unprivileged(tb, "mysql"),
		settings: settings,
	}
	setup := find(tb, install, []string{"mariadb-install-db"})
	s.base = s.account.tempDir(tb)
	s.pristine = filepath.Join(s.base, "pristine")
	if err := command(s.account.command(s.base, setup, "--no-defaults", "--datadir="+s.pristine,
		"--auth-root-authentication-method=normal", "--skip-test-db", "--skip-name-resolve", "--innodb-log-file-size=8M")); err != nil {
		tb.Fatalf("%v", err)
	}
	s.begin(tb)
	s.admin("CREATE DATABASE app")
	s.admin("CREATE USER repl@'127.0.0.1'; GRANT REPLICATION SLAVE ON *.* TO repl@'127.0.0.1'")
	s.admin(`CREATE USER app@'127.0.0.1'; GRANT SELECT, INSERT, UPDATE, DELETE, CREATE, DROP, INDEX, ALTER, REFERENCES, TRIGGER,
		CREATE TEMPORARY TABLES, LOCK TABLES, EXECUTE, CREATE VIEW, SHOW VIEW, CREATE ROUTINE, ALTER ROUTINE,
		REPLICA MONITOR, BINLOG MONITOR, PROCESS ON *.* TO app@'127.0.0.1'`)
	return s
}

// Replica starts a replica of this server and returns once it has all that was
// committed. It must be called from the goroutine of the test.
func (s *MariaDBServer) Replica() *MariaDBServer {
	s.tb.Helper()
	r := &MariaDBServer{
		server: s.server, client: s.client, pristine: s.pristine, account: s.account, settings: s.settings,
		base: s.account.tempDir(s.tb),
	}
	r.begin(s.tb)
	r.Follow(s)
	return r
}

// begin starts a server on a copy of the pristine data.
func (s *MariaDBServer) begin(tb TB) {
	tb.Helper()
	data := filepath.Join(s.base, "data")
	if err := command(s.account.command(s.base, "cp", "-a", s.pristine, data)); err != nil {
		tb.Fatalf("%v", err)
	}
	s.tb, s.term = tb, sigterm
	s.name = "mariadb in " + filepath.Base(s.base)
	s.logFile = filepath.Join(s.base, "log")
	s.ready = func(ctx context.Context) error {
		_, err := s.Query(ctx, "SELECT 1")
		return err
	}
	s.start = func() *exec.Cmd {
		args := []string{"--no-defaults", "--datadir=" + data, "--port=" + strconv.Itoa(s.port)}
		for _, setting := range append([]string{
			"bind-address=127.0.0.1",
			"socket=" + filepath.Join(s.base, "sock"),
			"pid-file=" + filepath.Join(s.base, "pid"),
			"server-id=" + strconv.Itoa(s.port),
			"log-bin=bin",
			"log-slave-updates=1",
			"gtid-strict-mode=1",
			"gtid-domain-id=0",
			"binlog-format=ROW",
			"skip-name-resolve=1",
			"character-set-server=utf8mb4",
			"innodb-buffer-pool-size=32M",
			"innodb-log-file-size=8M",
			// The log reaches the system at each commit, the disk when it likes.
			"innodb-flush-log-at-trx-commit=2",
			"sync-binlog=0",
			"aria-log-dir-path=" + data,
			"performance-schema=OFF",
			"slave-net-timeout=5",
		}, s.settings...) {
			args = append(args, "--"+setting)
		}
		return s.account.command(s.base, s.server, args...)
	}
	boot(tb, &s.node)
}

// DSN is the address of the database app for the user app, in the form of
// go-sql-driver/mysql.
func (s *MariaDBServer) DSN() string { return "app@tcp(" + s.Addr() + ")/app" }

// Follow makes the server a replica of another and returns once it has all that
// is committed there. A primary that has what the other has not cannot follow it:
// that is an error.
func (s *MariaDBServer) Follow(primary *MariaDBServer) {
	s.tb.Helper()
	s.admin("STOP SLAVE")
	s.admin("SET GLOBAL read_only = 1")
	s.admin("SET GLOBAL gtid_slave_pos = @@global.gtid_current_pos") // of what it wrote as a primary, too
	s.admin(fmt.Sprintf("CHANGE MASTER TO MASTER_HOST='127.0.0.1', MASTER_PORT=%d, MASTER_USER='repl', MASTER_PASSWORD='', "+
		"MASTER_USE_GTID=slave_pos, MASTER_CONNECT_RETRY=1, MASTER_HEARTBEAT_PERIOD=1", primary.port))
	s.admin("START SLAVE")
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	rows, err := primary.Query(ctx, "SELECT @@global.gtid_current_pos")
	if err == nil && len(rows) == 1 {
		rows, err = s.Query(ctx, "SELECT master_gtid_wait('"+rows[0][0]+"', 20)")
	}
	if err != nil || len(rows) != 1 || rows[0][0] != "0" {
		status, _ := s.Query(ctx, "SHOW SLAVE STATUS")
		s.tb.Errorf("%s: follow %s: %v, %v\n%v", s.name, primary.name, rows, err, status)
	}
}

// Promote makes a replica a primary that takes writes.
func (s *MariaDBServer) Promote() {
	s.tb.Helper()
	s.admin("STOP SLAVE")
	s.admin("RESET SLAVE ALL")
	s.admin("SET GLOBAL read_only = 0")
}

// Delay has a replica apply each transaction so much later, in whole seconds; as
// it reckons from the second in which the transaction was committed, it may be
// up to a second less. Zero ends the delay.
func (s *MariaDBServer) Delay(d time.Duration) {
	s.tb.Helper()
	seconds := (d + time.Second - 1) / time.Second
	s.admin(fmt.Sprintf("STOP SLAVE; CHANGE MASTER TO MASTER_DELAY = %d; START SLAVE", seconds))
}

// PauseReplay has a replica receive but apply nothing, until ResumeReplay.
func (s *MariaDBServer) PauseReplay() {
	s.tb.Helper()
	s.admin("STOP SLAVE SQL_THREAD")
}

// ResumeReplay ends PauseReplay.
func (s *MariaDBServer) ResumeReplay() {
	s.tb.Helper()
	s.admin("START SLAVE SQL_THREAD")
}

// CutOff has a replica lose its primary: it receives nothing more, and answers
// from what it has, until it follows one again.
func (s *MariaDBServer) CutOff() {
	s.tb.Helper()
	s.admin("STOP SLAVE IO_THREAD")
}

// Query runs SQL as root by the client program and returns the rows as text. NULL
// is "NULL". It is meant for arranging and inspecting, not for load.
func (s *MariaDBServer) Query(ctx context.Context, sql string) ([][]string, error) {
	return s.QueryAs(ctx, "root", sql)
}

// QueryAs is Query as another user.
func (s *MariaDBServer) QueryAs(ctx context.Context, user, sql string) ([][]string, error) {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, s.client, "--no-defaults", "--protocol=tcp", "--host=127.0.0.1", "--port="+strconv.Itoa(s.port),
		"--default-character-set=utf8mb4", "--user="+user, "--batch", "--skip-column-names", "--execute="+sql)
	var out, failure bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &failure
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return nil, fmt.Errorf("mariadb: %w: %s", err, bytes.TrimSpace(failure.Bytes()))
	}
	var rows [][]string
	for line := range strings.Lines(out.String()) {
		rows = append(rows, strings.Split(strings.TrimSuffix(line, "\n"), "\t"))
	}
	return rows, nil
}

// admin runs SQL that must succeed.
func (s *MariaDBServer) admin(sql string) {
	s.tb.Helper()
	if _, err := s.Query(context.Background(), sql); err != nil {
		s.tb.Errorf("%s: %s: %v", s.name, sql, err)
	}
}
