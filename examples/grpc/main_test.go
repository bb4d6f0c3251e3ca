package main

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/uprung/uprung/lb/grpcbalance"
)

var runs atomic.Int64

// The failing server gets next to nothing, with retries nobody sees that it fails, and a
// call that hangs ends on both sides.
func TestFailingServer(t *testing.T) {
	name := fmt.Sprintf("orders-%d", runs.Add(1)) // a name is registered once
	if err := grpcbalance.Register(name, nil); err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	if err := run(&out, name); err != nil {
		t.Fatal(err)
	}
	tables := strings.Split(out.String(), "\n\n")
	if len(tables) != 3 {
		t.Fatalf("got\n%s", &out)
	}
	balanced, retried := tables[0], tables[1]
	if got, want := tables[2], "a call that hangs: DeadlineExceeded, and 1 server was told so\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	for _, tt := range []struct {
		table   string
		retries bool
	}{{balanced, false}, {retried, true}} {
		lines := strings.Split(strings.TrimSpace(tt.table), "\n")
		_, counts, _ := strings.Cut(lines[0], ": ")
		var failed, of int
		if _, err := fmt.Sscanf(counts, "%d of %d calls failed", &failed, &of); err != nil || of != calls || len(lines) != 5 {
			t.Fatalf("table is\n%s", tt.table)
		}
		got := map[string]int{}
		for _, line := range lines[2:] {
			var server string
			var n int
			if _, err := fmt.Sscan(line, &server, &n); err != nil {
				t.Fatalf("line is %q: %v", line, err)
			}
			got[server] = n
		}
		if got["failing"] == 0 || got["failing"] > calls/10 || got["good-1"] < calls/5 || got["good-2"] < calls/5 {
			t.Errorf("want few calls at the failing server, and the rest at both others:\n%s", tt.table)
		}
		want := got["failing"]
		if tt.retries {
			want = 0
		}
		if failed != want || got["failing"]+got["good-1"]+got["good-2"] != calls+got["failing"]-want {
			t.Errorf("%d calls failed, want %d:\n%s", failed, want, tt.table)
		}
	}
}
