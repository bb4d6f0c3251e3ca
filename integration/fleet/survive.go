//go:build linux

package fleet

import (
	"testing"
	"time"

	"github.com/uprung/uprung/retry"
)

const (
	// AttemptTimeout is that of the clients which [Survive] is about. It is more than
	// nearly all answers take, also those of a server that is slow, and leaves time for
	// several attempts.
	AttemptTimeout = 500 * time.Millisecond
	// amplification is how many requests servers may see for one that a client sends.
	amplification = 1.11
	// tooLate is how late requests may be sent: later, the machine is so busy that attempts
	// time out which would not, and what goes wrong is no failure of the test.
	tooLate = AttemptTimeout / 5
)

// OneLeft draws a plan in which all servers but the first are killed at the same time,
// and stay away.
func (s Shape) OneLeft(seed uint64) *Plan {
	p := s.Plan(seed)
	p.Faults = nil
	for i := 1; i < Backends; i++ {
		p.Faults = append(p.Faults, Fault{Backend: i, Kind: Killed, From: s.Lasts / 5})
	}
	return p
}

// Survive carries out a plan with processes, for clients that repeat requests with a
// retrier each, and checks that all requests succeed and that servers see hardly more of
// them than are sent. Clients wait for less than the longest stall.
func Survive(t *testing.T, p *Plan, f *Processes, retriers []*retry.Retrier, send Send) {
	t.Helper()
	t.Log(p)
	r, err := p.Run(f, Patience, send)
	if err != nil {
		t.Fatal(err)
	}
	seen, err := f.Seen()
	if err != nil {
		t.Fatal(err)
	}
	var sum retry.Stats
	for _, r := range retriers {
		s := r.Stats()
		sum.Retries += s.Retries
		sum.Moves += s.Moves
		sum.Hedges += s.Hedges
		sum.HedgesWon += s.HedgesWon
		sum.Exhausted += s.Exhausted
		sum.Unbudgeted += s.Unbudgeted
		sum.TooLate += s.TooLate
	}
	amplified := float64(seen) / float64(r.Sent)
	t.Logf("%v; servers saw %d, %.3f times as many", r, seen, amplified)
	t.Logf("%d retries, %d moves, %d hedges, of which %d won", sum.Retries, sum.Moves, sum.Hedges, sum.HedgesWon)
	complain := t.Errorf
	if r.Late > tooLate {
		complain = func(format string, args ...any) {
			t.Helper()
			t.Skipf("this machine is too busy, run it alone: "+format, args...)
		}
	}
	if len(r.Errors) > 0 {
		complain("%d of %d requests failed, want none; %d had no attempt left, %d no budget, %d no time:%s",
			len(r.Errors), r.Sent, sum.Exhausted, sum.Unbudgeted, sum.TooLate, r.Reasons())
	}
	if amplified > amplification {
		complain("servers saw %.3f times as many requests as were sent, want %v times at most", amplified, amplification)
	}
}
