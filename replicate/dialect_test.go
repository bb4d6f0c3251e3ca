package replicate

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"testing"

	"github.com/uprung/uprung/internal/memsql"
)

// answers answers every question with one row.
type answers []string

func (a answers) Ask(context.Context, string) ([]string, error) { return a, nil }

func TestTrap3PageBoundaries(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		lsn  string
		want uint64
	}{
		{"0/42DA018", 0x42DA000}, // behind the header of a page
		{"0/3000028", 0x3000000}, // behind that of a segment
		{"0/42DA000", 0x42DA000},
		{"0/42D9E60", 0x42D9E60},
		{"1/0", 1 << 32},
		{"0/42DA028", 0x42DA028}, // 40 bytes into a page that begins no segment
	} {
		p, err := PostgreSQL().Position(t.Context(), answers{row.lsn, "3", "8192", "16777216"})
		if err != nil || p != (Position{3, row.want}) {
			t.Errorf("%s is %v, %v; want %X", row.lsn, p, err, row.want)
		}
	}
	for _, bad := range []answers{{"", "", "", ""}, {"0/G", "1", "8192", "1"}, {"0", "1", "8192", "1"}, {"0/1", "1", "0", "0"}, {"0/1"}} {
		if _, err := PostgreSQL().Position(t.Context(), bad); err == nil {
			t.Errorf("%q is a position", []string(bad))
		}
	}
}

func TestProbes(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		dialect Dialect
		answer  answers
		want    string
	}{
		{PostgreSQL(), answers{"0", "0/10", "2", "77", "8192", "16777216"}, "{77 primary 2 [2/10] 2/10}"},
		{PostgreSQL(), answers{"1", "0/10", "2", "77", "8192", "16777216"}, "{77 replica 2 [2/10] 0/0}"},
		{MariaDB(), answers{"0", "0-1-5", "0-1-7,3-1-9", "0"}, "{0 primary 0 [0/7 3/9] 0/7}"},
		{MariaDB(), answers{"1", "0-1-5", "", "0"}, "{0 replica 0 [0/5] 0/0}"},
		{MariaDB(), answers{"ON", "", "", "0"}, "{0 replica 0 [] 0/0}"},
	} {
		r, err := row.dialect.Probe(t.Context(), row.answer)
		if got := fmt.Sprint(r); err != nil || got != row.want {
			t.Errorf("%T: %s, %v; want %s", row.dialect, got, err, row.want)
		}
	}
	a, b := mySQLTimeline("AAAA"), mySQLTimeline("bbbb")
	r, err := MySQL().Probe(t.Context(), answers{"0", "aaaa:1-5:7,\nbbbb:1-9", "bbbb"})
	if err != nil || r.Role != Primary || !slices.Equal(r.Applied, []Position{{a, 7}, {b, 9}}) || r.Head != (Position{b, 9}) {
		t.Errorf("MySQL: %v, %v", r, err)
	}
	r, err = MySQL().Probe(t.Context(), answers{"1", "aaaa:1-5:7", "cccc"})
	if err != nil || r.Role != Replica || !slices.Equal(r.Applied, []Position{{a, 5}}) {
		t.Errorf("MySQL replica: %v, %v", r, err)
	}
	for _, d := range []Dialect{PostgreSQL(), MariaDB(), MySQL()} {
		for _, bad := range []answers{{}, {"0", "x", "y", "z", "w", "v"}, {"0", "x", "x", "x"}, {"0", "x", "x"}} {
			if _, err := d.Probe(t.Context(), bad); err == nil {
				t.Errorf("%T takes %q for a report", d, []string(bad))
			}
		}
	}
}

func TestFaults(t *testing.T) {
	t.Parallel()
	state := func(code string) error { return fmt.Errorf("wrapped: %w", &memsql.Error{Code: code}) }
	for _, row := range []struct {
		dialect Dialect
		err     error
		want    Fault
	}{
		{PostgreSQL(), state("25006"), ReadOnly},
		{PostgreSQL(), state("40001"), Conflict},
		{PostgreSQL(), state("53300"), Busy},
		{PostgreSQL(), state("57P01"), Gone},
		{PostgreSQL(), state("08006"), Gone},
		{PostgreSQL(), state("23505"), Other},
		{PostgreSQL(), io.ErrUnexpectedEOF, Gone},
		{PostgreSQL(), driver.ErrBadConn, Gone},
		{PostgreSQL(), &net.OpError{Op: "dial", Err: errors.New("refused")}, Gone},
		{PostgreSQL(), context.DeadlineExceeded, Other},
		{PostgreSQL(), nil, Other},
		{MariaDB(), errors.New("Error 1290 (HY000): The server is running with read-only"), ReadOnly},
		{MySQL(), fmt.Errorf("x: %w", errors.New("Error 1040: Too many connections")), Busy},
		{MySQL(), errors.New("Error 1062 (23000): Duplicate entry"), Other},
		{MariaDB(), errors.New("no Error 1290 (HY000)"), Other},
	} {
		if got := faultOf(row.dialect, row.err); got != row.want {
			t.Errorf("%T: %v is %d, want %d", row.dialect, row.err, got, row.want)
		}
	}
}

func TestClassification(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		dialect Dialect
		text    string
		want    Class
	}{
		{PostgreSQL(), "SELECT 1", Read},
		{PostgreSQL(), "SELECT * FROM a FOR UPDATE", Write},
		{PostgreSQL(), "SELECT f(1)", Unsure},
		{PostgreSQL(), "SET LOCAL a = 1", Unsure},
		{PostgreSQL(), "SET a = 1", Connection},
		{PostgreSQL(), "LISTEN a", Connection},
		{PostgreSQL(), "SELECT pg_advisory_lock(1)", Connection},
		{PostgreSQL(), "SELECT lastval()", Memory},
		{PostgreSQL(), "SELECT name FROM a WHERE id = currval('a_id_seq')", Memory},
		{PostgreSQL(), "SELECT current_setting('app.tenant')", Memory},
		{MySQL(), "SELECT LAST_INSERT_ID()", Memory},
		{MySQL(), "SET @a = 1", Connection},
		{PostgreSQL(), "BEGIN", Connection},
		{PostgreSQL(), "SAVEPOINT a", Unsure},
		{PostgreSQL(), "INSERT INTO a VALUES (1) RETURNING b", Write},
		{MySQL(), "SELECT 1 # it's\n for update", Write},
		{MariaDB(), "SELECT GET_LOCK('a', 1)", Connection},
	} {
		if got := row.dialect.Classify(row.text); got != row.want {
			t.Errorf("%T: %q is %d, want %d", row.dialect, row.text, got, row.want)
		}
	}
}

func TestReadFunctionsAreReads(t *testing.T) {
	t.Parallel()
	for _, dialect := range []Dialect{PostgreSQL(), MariaDB(), MySQL()} {
		c, err := New([]Node{{Name: "p", Connector: memsql.New(0).Node(0)}},
			&Options{Dialect: dialect, ReadFunctions: []string{"ST_MakePoint", "app.score"}})
		if err != nil {
			t.Fatal(err)
		}
		for text, want := range map[string]Class{
			"SELECT st_makepoint(a, b), app.score(c) FROM t": Read,
			"SELECT score(c) FROM t":                         Unsure,
			"UPDATE t SET a = st_makepoint(1, 2)":            Write,
		} {
			for range 2 { // classified, and remembered
				if got := c.classOf(text); got != want {
					t.Errorf("%T: %q is %d, want %d", dialect, text, got, want)
				}
			}
		}
		if dialect.Classify("SELECT app.score(c) FROM t") != Unsure {
			t.Errorf("%T: the options of a Cluster have changed the dialect of all", dialect)
		}
	}
}
