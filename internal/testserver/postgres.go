package testserver

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// PostgresServer is a running PostgreSQL, primary or standby. Anybody may connect
// to it as the superuser postgres, without a password.
type PostgresServer struct {
	node
	bin      string // the directory of its programs
	dir      string // its data
	account  account
	settings []string
}

// Postgres starts a primary and ends it with the test. It writes no commit to disk
// (fsync is off): Kill keeps what was committed, as only the process dies.
// Settings are given as "name=value", and hold for its replicas too.
func Postgres(tb TB, settings ...string) *PostgresServer {
	tb.Helper()
	s := newPostgres(tb, postgresBin(tb), unprivileged(tb, "postgres"), settings)
	s.tool("initdb", "-D", s.dir, "-A", "trust", "-U", "postgres", "-E", "UTF8", "--locale=C", "--no-sync", "--no-instructions")
	boot(tb, &s.node)
	return s
}

// postgresBin returns the directory of the server's programs, which is not on the
// PATH as a rule.
func postgresBin(tb TB) string {
	tb.Helper()
	initdb := find(tb, "apt-get install postgresql, or brew install postgresql", []string{"initdb"},
		"/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin", "/opt/homebrew/opt/postgresql@*/bin")
	if resolved, err := filepath.EvalSymlinks(initdb); err == nil {
		initdb = resolved // the other programs are beside it
	}
	return filepath.Dir(initdb)
}

// Replica starts a standby that streams from this server, and returns once it does.
// It must be called from the goroutine of the test.
func (s *PostgresServer) Replica() *PostgresServer {
	s.tb.Helper()
	r := newPostgres(s.tb, s.bin, s.account, s.settings)
	r.tool("pg_basebackup", "-d", s.conninfo(), "-D", r.dir, "-X", "stream", "-c", "fast", "-R", "--no-sync")
	boot(s.tb, &r.node)
	r.streams(s)
	return r
}

func newPostgres(tb TB, bin string, a account, settings []string) *PostgresServer {
	tb.Helper()
	base := a.tempDir(tb)
	s := &PostgresServer{bin: bin, dir: filepath.Join(base, "data"), account: a, settings: settings}
	s.tb, s.term, s.quick = tb, sigint, sigquit
	s.name = "postgres in " + filepath.Base(base)
	s.logFile = filepath.Join(base, "log")
	s.ready = func(ctx context.Context) error {
		_, err := s.Query(ctx, "SELECT 1")
		return err
	}
	s.start = func() *exec.Cmd {
		args := []string{"-D", s.dir, "-p", strconv.Itoa(s.port)}
		for _, setting := range append([]string{
			"listen_addresses=127.0.0.1",
			"unix_socket_directories=",
			"cluster_name=node" + strconv.Itoa(s.port), // the application_name of a standby
			"fsync=off",
			"full_page_writes=on", // pg_rewind wants both
			"wal_log_hints=on",
			"wal_level=replica",
			"hot_standby=on",
			"wal_keep_size=256MB",
			"shared_buffers=32MB",
			"max_connections=100",
			"wal_retrieve_retry_interval=100ms",
			"wal_receiver_timeout=5s",
			"wal_sender_timeout=5s",
			"wal_receiver_status_interval=1s",
		}, s.settings...) {
			args = append(args, "-c", setting)
		}
		return a.command(base, filepath.Join(bin, "postgres"), args...)
	}
	tb.Cleanup(s.forget)
	return s
}

// forget removes the shared memory that a killed server leaves to the next one
// on the same data.
func (s *PostgresServer) forget() {
	lock, err := os.ReadFile(filepath.Join(s.dir, "postmaster.pid"))
	if err != nil {
		return // it ended cleanly
	}
	if lines := strings.Split(string(lock), "\n"); len(lines) > 6 {
		if ids := strings.Fields(lines[6]); len(ids) == 2 {
			_ = exec.Command("ipcrm", "-m", ids[1]).Run()
		}
	}
}

// DSN is the address in the form of a URL, without TLS.
func (s *PostgresServer) DSN() string {
	return "postgres://postgres@" + s.Addr() + "/postgres?sslmode=disable"
}

func (s *PostgresServer) conninfo() string {
	return fmt.Sprintf("host=127.0.0.1 port=%d user=postgres dbname=postgres", s.port)
}

// Promote makes a standby a primary of the next timeline, and returns once it
// takes writes.
func (s *PostgresServer) Promote() {
	s.tb.Helper()
	s.admin("SELECT pg_promote(true, 60)")
}

// Delay has a standby apply each commit so much later than the primary's clock
// says that it happened. Zero ends the delay.
func (s *PostgresServer) Delay(d time.Duration) {
	s.tb.Helper()
	s.set("recovery_min_apply_delay", strconv.FormatInt(d.Milliseconds(), 10))
}

// PauseReplay has a standby receive but apply nothing, until ResumeReplay.
func (s *PostgresServer) PauseReplay() {
	s.tb.Helper()
	s.admin("SELECT pg_wal_replay_pause()")
	s.await("SELECT pg_get_wal_replay_pause_state()", "paused")
}

// ResumeReplay ends PauseReplay.
func (s *PostgresServer) ResumeReplay() {
	s.tb.Helper()
	s.admin("SELECT pg_wal_replay_resume()")
}

// CutOff has a standby lose its primary: it receives nothing more, and answers
// from what it has, until it follows one again.
func (s *PostgresServer) CutOff() {
	s.tb.Helper()
	s.set("primary_conninfo", "host=127.0.0.1 port=1")
	s.await("SELECT count(*) FROM pg_stat_wal_receiver", "0")
}

// Follow has a standby stream from another primary, and returns once it does.
func (s *PostgresServer) Follow(primary *PostgresServer) {
	s.tb.Helper()
	s.set("primary_conninfo", primary.conninfo())
	s.streams(primary)
}

// Rewind makes an old primary, which it ends if it runs, a standby of the new one:
// what only the old one has is lost. It returns once it streams.
func (s *PostgresServer) Rewind(primary *PostgresServer) {
	s.tb.Helper()
	s.Stop()
	// Otherwise pg_rewind may miss that the timeline has changed.
	primary.admin("CHECKPOINT")
	if err := s.run1("pg_rewind", "-D", s.dir, "--source-server="+primary.conninfo(), "-R", "--no-sync"); err != nil {
		s.tb.Errorf("%s: %v", s.name, err)
		return
	}
	s.Restart()
	s.Delay(0) // the settings came from the other one
	s.streams(primary)
}

// Query runs SQL by the simple protocol and returns the rows as text; NULL is "".
// Each call is a connection of its own: it is meant for arranging and inspecting,
// not for load. An error of the server is a [*PostgresError].
func (s *PostgresServer) Query(ctx context.Context, sql string) ([][]string, error) {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	c, err := s.Dial(ctx)
	if err != nil {
		return nil, err
	}
	defer c.Close() //nolint:errcheck // nothing is left to be said
	return c.Query(ctx, sql)
}

// tool runs a program of the server to its end, or ends the test.
func (s *PostgresServer) tool(name string, args ...string) {
	s.tb.Helper()
	if err := s.run1(name, args...); err != nil {
		s.tb.Fatalf("%s: %v", s.name, err)
	}
}

func (s *PostgresServer) run1(name string, args ...string) error {
	return command(s.account.command(filepath.Dir(s.dir), filepath.Join(s.bin, name), args...))
}

// admin runs SQL that must succeed.
func (s *PostgresServer) admin(sql string) {
	s.tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	if _, err := s.Query(ctx, sql); err != nil {
		s.tb.Errorf("%s: %s: %v", s.name, sql, err)
	}
}

// set changes a setting, in its base unit, and waits until the server has read
// it: a new connection knows what all the processes have been told.
func (s *PostgresServer) set(setting, to string) {
	s.tb.Helper()
	s.admin("ALTER SYSTEM SET " + setting + " = '" + to + "'")
	s.admin("SELECT pg_reload_conf()")
	s.await("SELECT setting FROM pg_settings WHERE name = '"+setting+"'", to)
}

// await asks until the answer is a single value.
func (s *PostgresServer) await(sql, want string) {
	s.tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	err := poll(ctx, func() error {
		rows, err := s.Query(ctx, sql)
		if err == nil && (len(rows) != 1 || rows[0][0] != want) {
			err = fmt.Errorf("answers %v, want %s", rows, want)
		}
		return err
	})
	if err != nil {
		s.tb.Errorf("%s: %s: %v", s.name, sql, err)
	}
}

// streams waits until the standby streams from a primary.
func (s *PostgresServer) streams(primary *PostgresServer) {
	s.tb.Helper()
	primary.await(fmt.Sprintf("SELECT state FROM pg_stat_replication WHERE application_name = 'node%d'", s.port), "streaming")
}

// PostgresError is an error that the server reports.
type PostgresError struct {
	Code    string // the SQLSTATE
	Message string
}

func (e *PostgresError) Error() string { return "postgres: " + e.Message + " (" + e.Code + ")" }

// SQLState returns the code of the error, as the errors of drivers do.
func (e *PostgresError) SQLState() string { return e.Code }

var errProtocol = errors.New("postgres: a message that is not understood")
