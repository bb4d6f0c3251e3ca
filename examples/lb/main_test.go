package main

import (
	"fmt"
	"strings"
	"testing"
)

// row is a line of a table.
type row struct{ sent, failed int }

// parsed reads a table and returns how many requests failed, and its rows.
func parsed(t *testing.T, table string) (failed int, rows map[string]row) {
	t.Helper()
	lines := strings.Split(strings.TrimSpace(table), "\n")
	_, counts, _ := strings.Cut(lines[0], ": ")
	var of int
	if _, err := fmt.Sscanf(counts, "%d of %d requests failed", &failed, &of); err != nil || of != requests || len(lines) != 6 {
		t.Fatalf("table is\n%s", table)
	}
	rows = map[string]row{}
	for _, line := range lines[2:] {
		var id string
		var r row
		if _, err := fmt.Sscan(line, &id, &r.sent, &r.failed); err != nil {
			t.Fatalf("line is %q: %v", line, err)
		}
		rows[id] = r
	}
	return failed, rows
}

// The slow one gets less than its share, the dead one next to nothing, and only what
// was sent there fails.
func TestSlowAndDead(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	if err := run(&out); err != nil {
		t.Fatal(err)
	}
	transport, proxy, _ := strings.Cut(out.String(), "\n\n")
	for _, tt := range []struct {
		table       string
		sentToDying int // at most
	}{
		{transport, requests/2 + requests/20},
		{proxy, requests / 20},
	} {
		failed, rows := parsed(t, tt.table)
		dying, slow := rows["dying"], rows["slow"]
		if failed == 0 || failed > requests/20 || dying.failed != failed || dying.sent > tt.sentToDying {
			t.Errorf("%d requests failed; want few, and all of them at the one that dies:\n%s", failed, tt.table)
		}
		if slow.sent == 0 || slow.sent >= requests/8 {
			t.Errorf("%d requests went to the slow one, want some, but not half of its share:\n%s", slow.sent, tt.table)
		}
		sent := 0
		for _, r := range rows {
			sent += r.sent
		}
		if sent != requests {
			t.Errorf("%d requests were sent, want %d:\n%s", sent, requests, tt.table)
		}
	}
}
