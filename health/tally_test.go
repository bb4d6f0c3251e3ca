package health

import (
	"fmt"
	"strings"
	"testing"
)

// Rows of results and the states after each: + and - are probes, p and n reported
// successes and failures; U, H and D (down) are the states. Rise is 2, Fall 3.
func TestTally(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, results, want string }{
		{"one success from unknown", "+", "H"},
		{"failures from unknown need fall", "---", "UUD"},
		{"a success between", "--+", "UUH"},
		{"fall", "+---", "HHHD"},
		{"a failure begins anew after a success", "+--+--+--", "HHHHHHHHH"},
		{"rise", "---++", "UUDDH"},
		{"a success begins anew after a failure", "---+-+-+-", "UUDDDDDDD"},
		{"alternating while healthy", "+-+-+-+-+-+-", "HHHHHHHHHHHH"},
		{"alternating from unknown", "-+-+-+", "UHHHHH"},
		{"beyond fall", "------++", "UUDDDDDH"},
		{"reported failures count", "+nnn", "HHHD"},
		{"probes and reports count together", "+-n-", "HHHD"},
		{"a reported success ends a streak", "+nnpnn", "HHHHHH"},
		{"a probe ends a streak of reports", "+nn+nn", "HHHHHH"},
		{"reports from unknown", "nnn", "UUD"},
		{"a reported success proves nothing from unknown", "ppp", "UUU"},
		{"reported successes never raise", "---pppp", "UUDDDDD"},
		{"reports do not end a rise", "---+n+", "UUDDDH"},
		{"reports do not help a rise", "---+p-+p", "UUDDDDDD"},
	} {
		var s tally
		var got strings.Builder
		for _, result := range tt.results {
			s = step(s, byte(result))
			got.WriteByte("UHD"[s.state])
		}
		if got.String() != tt.want {
			t.Errorf("%s: %s leads to %s, want %s", tt.name, tt.results, got.String(), tt.want)
		}
	}
}

var twoThree = thresholds{rise: 2, fall: 3}

func step(s tally, result byte) tally {
	switch result {
	case '+', '-':
		return s.probed(result == '+', twoThree)
	}
	return s.reported(result == 'p', twoThree)
}

// The slow obvious model keeps all results and looks at the last ones.
type history struct {
	state State
	since []bool // results that count since the state was entered
}

func (h *history) add(result byte, at thresholds) {
	ok := result == '+' || result == 'p'
	probe := result == '+' || result == '-'
	if h.state == Unhealthy && !probe {
		return
	}
	h.since = append(h.since, ok)
	enter := func(s State) { h.state, h.since = s, nil }
	ends := func(ok bool, n uint32) bool {
		if len(h.since) < int(n) {
			return false
		}
		for _, r := range h.since[len(h.since)-int(n):] {
			if r != ok {
				return false
			}
		}
		return true
	}
	switch {
	case h.state == Unknown && ok && probe:
		enter(Healthy)
	case h.state != Unhealthy && ends(false, at.fall):
		enter(Unhealthy)
	case h.state == Unhealthy && ends(true, at.rise):
		enter(Healthy)
	}
}

func TestTallyAgainstModel(t *testing.T) {
	t.Parallel()
	r := seeded(t)
	histories := 2000
	if fullModels() {
		histories = 200_000
	}
	for range histories {
		at := thresholds{rise: 1 + r.Uint32N(4), fall: 1 + r.Uint32N(4)}
		share := r.Float64()
		var s tally
		var h history
		var results []byte
		for range 60 {
			result := "-n"[r.IntN(2)]
			if r.Float64() < share {
				result = "+p"[r.IntN(2)]
			}
			results = append(results, result)
			was := s
			ok := result == '+' || result == 'p'
			if result == '+' || result == '-' {
				s = s.probed(ok, at)
			} else {
				s = s.reported(ok, at)
				if was.ignores(ok) && s != was {
					t.Fatalf("%+v ignores a report of %v, which makes it %+v", was, ok, s)
				}
			}
			h.add(result, at)
			if s.state != h.state {
				t.Fatalf("%+v: after %s the state is %v, want %v", at, results, s.state, h.state)
			}
			if unpack(s.pack()) != s {
				t.Fatalf("%+v comes back as %+v", s, unpack(s.pack()))
			}
		}
	}
}

func TestStateString(t *testing.T) {
	t.Parallel()
	if got, want := fmt.Sprint(Unknown, Healthy, Unhealthy, State(9)), "unknown healthy unhealthy State(9)"; got != want {
		t.Errorf("states are %s, want %s", got, want)
	}
}
