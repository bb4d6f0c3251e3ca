package sqlclass

import (
	"os"
	"strings"
	"testing"

	"github.com/uprung/uprung/internal/testserver"
)

// MariaDB is the oracle: what is called a read must run on a replica, and
// change nothing on the primary.
func TestNoWriteIsTakenForAReadOfMariaDB(t *testing.T) {
	t.Parallel()
	primary := testserver.MariaDB(t)
	ctx := t.Context()
	for _, sql := range []string{
		"CREATE TABLE app.users (id int PRIMARY KEY, name varchar(20))",
		"CREATE TABLE app.orders (id int PRIMARY KEY, user_id int, note text, FULLTEXT (note))",
		"INSERT INTO app.users VALUES (1, 'ann'), (2, 'bob')",
		"INSERT INTO app.orders VALUES (1, 1, 'x')",
		"CREATE SEQUENCE app.seq",
		"CREATE FUNCTION app.evil(n int) RETURNS int DETERMINISTIC BEGIN UPDATE app.users SET name = 'evil'; RETURN n; END",
	} {
		if _, err := primary.Query(ctx, "DELIMITER //\n"+sql+"//"); err != nil {
			t.Fatal(err)
		}
	}
	replica := primary.Replica()
	position := func() string {
		t.Helper()
		rows, err := primary.Query(ctx, "SELECT @@global.gtid_current_pos")
		if err != nil {
			t.Fatal(err)
		}
		return rows[0][0]
	}
	before := position()
	script, reads, writes := "USE app;\n", 0, 0
	for _, sample := range corpus(t, "mysql.txt") {
		s := Classify(MySQL, sample.query)
		switch {
		case s.Class == Read:
			reads++
			script += sample.query + "\n;\n"
		case s.Reason == ByWrite && os.Getenv("UPRUNG_FULL_MODELS") == "1": // each takes a process
			writes++
			if _, err := replica.QueryAs(ctx, "app", "USE app;\n"+sample.query); err == nil {
				t.Errorf("%s\n\tis taken for a write, but runs on a replica", sample.query)
			}
		}
	}
	for _, server := range []*testserver.MariaDBServer{replica, primary} {
		if _, err := server.QueryAs(ctx, "app", script); err != nil {
			t.Errorf("among the reads on port %d: %v", server.Port(), err)
		}
	}
	if after := position(); after != before {
		t.Errorf("reads took the primary from %s to %s", before, after)
	}
	// The oracle would be of no use if it saw nothing.
	if _, err := replica.QueryAs(ctx, "app", "SELECT app.evil(1)"); err == nil || !strings.Contains(err.Error(), "1290") {
		t.Errorf("a function that writes runs on a replica: %v", err)
	}
	if _, err := primary.QueryAs(ctx, "app", "SELECT app.evil(1)"); err != nil || position() == before {
		t.Errorf("a function that writes does not move the position: %v", err)
	}
	t.Logf("%d reads, %d writes", reads, writes)
}
