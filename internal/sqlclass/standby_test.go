package sqlclass

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/uprung/uprung/internal/testserver"
)

// volatile are names of functions that PostgreSQL takes for no keyword, or only
// where the grammar wants one: each of them writes.
var volatile = []string{
	"evil", "Evil One", "évil", "by", "over", "filter", "join", "sets", "rollup", "cube", "system", "columns", "against", "repeatable",
	"materialized", "recursive", "value", "temporary", "partition", "bernoulli", "select", "as", "within", "ordinality", "lock", "key", "ilike",
	"similar", "inner", "escape",
}

// state is a query for what a session leaves behind.
const state = `SELECT (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()) || '/' ||
	(SELECT md5(string_agg(name || '=' || coalesce(setting, ''), ',' ORDER BY name)) FROM pg_settings) || '/' ||
	(SELECT count(*) FROM pg_prepared_statements) || '/' || (SELECT count(*) FROM pg_cursors) || '/' ||
	(SELECT count(*) FROM pg_listening_channels())`

// The oracle is PostgreSQL: what is called a read must run on a standby and leave
// the session as it was, and on the primary it must take no transaction id, which
// every write and row lock does.
func TestNoWriteIsTakenForARead(t *testing.T) {
	t.Parallel()
	primary := testserver.Postgres(t)
	ctx := t.Context()
	query := func(c *testserver.PostgresConn, sql string) string {
		t.Helper()
		rows, err := c.Query(ctx, sql)
		if err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
		if len(rows) == 0 {
			return ""
		}
		return rows[0][0]
	}
	dial := func(s *testserver.PostgresServer) *testserver.PostgresConn {
		t.Helper()
		c, err := s.Dial(ctx)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c
	}
	p := dial(primary)
	schema, err := os.ReadFile("testdata/schema.sql")
	if err != nil {
		t.Fatal(err)
	}
	query(p, string(schema))
	for _, name := range volatile {
		for _, qualified := range []string{`"` + name + `"`, `app."` + name + `"`} {
			query(p, fmt.Sprintf(`CREATE FUNCTION %s(int) RETURNS int LANGUAGE sql AS 'UPDATE users SET hits = hits + 1 WHERE id = 1; SELECT $1'`, qualified))
		}
	}
	for _, name := range []string{"lower", "values"} {
		query(p, fmt.Sprintf(`CREATE FUNCTION app."%s"(int) RETURNS int LANGUAGE sql AS 'UPDATE users SET hits = hits + 1 WHERE id = 1; SELECT $1'`, name))
	}
	s := dial(primary.Replica())

	var reads, effects, proven int
	query(s, "DO 'BEGIN END'") // loads the language, which brings settings of its own
	clean := query(s, state)
	var since []string // the reads since the state was last looked at, which takes long
	settled := func() {
		t.Helper()
		if now := query(s, state); now != clean {
			t.Fatalf("one of these reads leaves %s behind, was %s:\n%s", now, clean, strings.Join(since, "\n"))
		}
		since = since[:0]
	}
	// try runs a statement on both and tells what shows that it is no read.
	try := func(sql string, onPrimary bool) (evidence string) {
		if _, err := s.Query(ctx, sql); err != nil {
			evidence = err.Error()
			if refused := (*testserver.PostgresError)(nil); !errors.As(err, &refused) {
				t.Fatalf("%s: %v", sql, err)
			}
		}
		if !onPrimary {
			query(s, "ROLLBACK") // of what it has begun
			return evidence
		}
		query(p, "BEGIN")
		if _, err := p.Query(ctx, sql); err != nil {
			t.Errorf("%s\n\tis not valid: %v", sql, err)
		} else if xid := query(p, "SELECT pg_current_xact_id_if_assigned()"); xid != "" {
			evidence += " wrote as " + xid
		}
		query(p, "ROLLBACK")
		return evidence
	}
	for _, file := range []string{"listed.txt", "generated.txt"} {
		for i, sample := range corpus(t, file) {
			if i%4 != 0 && file == "generated.txt" && os.Getenv("UPRUNG_FULL_MODELS") != "1" {
				continue
			}
			sql := sample.query
			isRead := Classify(PostgreSQL, sql).Class == Read
			if sample.label == "unsure" || !isRead && sample.label == "read" {
				continue // TestCorpus sees to them; some of them stop the server
			}
			if !isRead && len(since) > 0 {
				settled()
			}
			evidence := try(sql, file == "generated.txt")
			if isRead {
				reads++
				if evidence != "" {
					t.Errorf("%s: %s\n\tis taken for a read: %s", file, sql, evidence)
				}
				if since = append(since, sql); len(since) == 50 {
					settled()
				}
				continue
			}
			effects++
			if evidence != "" || query(s, state) != clean {
				proven++ // otherwise its effect lies in a branch that was not taken
			}
			query(s, "RESET SESSION AUTHORIZATION")
			query(s, "DISCARD ALL")
		}
	}
	settled()
	t.Logf("%d reads; %d others, of which %d showed an effect", reads, effects, proven)
	if n := reads + effects; os.Getenv("UPRUNG_FULL_MODELS") == "1" && n < 2000 {
		t.Errorf("%d statements, want at least 2000", n)
	}
	// The oracle would be of no use if it saw nothing.
	if proven < effects/2 {
		t.Errorf("only %d of %d statements with an effect showed it", proven, effects)
	}
	if hits := query(p, "SELECT hits FROM users WHERE id = 1"); strings.TrimSpace(hits) != "0" {
		t.Errorf("%s updates were left behind", hits)
	}
}
