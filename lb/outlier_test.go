package lb

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/uprung/uprung"
	"github.com/uprung/uprung/lb/pick"
)

func defaults(o Outlier) *Outlier {
	o, err := o.complete()
	if err != nil {
		panic(err)
	}
	return &o
}

func TestDeviants(t *testing.T) {
	t.Parallel()
	rates := func(failures ...int64) (samples []sample) {
		for _, f := range failures {
			samples = append(samples, sample{requests: 100, failures: f})
		}
		return samples
	}
	took := func(ms ...int64) (samples []sample) {
		for _, d := range ms {
			samples = append(samples, sample{requests: 100, answers: 100, took: 100 * d * int64(time.Millisecond)})
		}
		return samples
	}
	for _, tt := range []struct {
		name    string
		o       Outlier
		samples []sample
		want    []deviant
	}{
		{"all well", Outlier{}, rates(0, 0, 0, 0, 0, 0), nil},
		{"all failing alike", Outlier{}, rates(50, 50, 50, 50, 50), nil},
		{"one failure of one", Outlier{}, rates(0, 0, 1, 0, 0, 0, 0, 0, 0, 0), nil},
		{"as few endpoints as can be", Outlier{}, rates(90, 0, 0, 0, 0), []deviant{{0, lowSuccessRate}}},
		{"one is worse", Outlier{}, rates(1, 0, 2, 40, 1, 0), []deviant{{3, lowSuccessRate}}},
		{"too few endpoints", Outlier{}, rates(1, 0, 2, 40), nil},
		{"fewer endpoints do", Outlier{MinEndpoints: 4, Deviations: 1.5}, rates(1, 0, 2, 40), []deviant{{3, lowSuccessRate}}},
		{"too few requests", Outlier{MinRequests: 101}, rates(1, 0, 2, 40, 1, 0), nil},
		{"not compared", Outlier{Deviations: -1}, rates(1, 0, 2, 40, 1, 0), nil},
		{"slow, not compared", Outlier{}, took(10, 10, 10, 10, 100), nil},
		{"slow", Outlier{Slower: 4}, took(10, 12, 10, 39, 100), []deviant{{4, slowResponses}}},
		{"slow, too few", Outlier{Slower: 4}, took(10, 12, 10, 100), nil},
	} {
		if got := defaults(tt.o).deviants(tt.samples); !slices.Equal(got, tt.want) {
			t.Errorf("%s: got %v, want %v", tt.name, got, tt.want)
		}
	}
}

func TestConsecutiveFailures(t *testing.T) {
	t.Parallel()
	const s, f, o, i = uprung.Success, uprung.Failure, uprung.Overload, uprung.Ignored
	for _, tt := range []struct {
		outcomes []uprung.Outcome
		want     []int // indices of those that are enough
	}{
		{[]uprung.Outcome{f, f, f, f, f, f}, []int{2, 5}},
		{[]uprung.Outcome{f, f, s, f, f, s}, nil},
		{[]uprung.Outcome{f, i, o, f, i, f}, []int{5}},
		{[]uprung.Outcome{i, i, i, i, o, o, o, o}, nil},
	} {
		var r record
		var got []int
		for at, outcome := range tt.outcomes {
			if r.ended(outcome, 3) {
				got = append(got, at)
			}
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("%v: enough at %v, want %v", tt.outcomes, got, tt.want)
		}
	}
	var r record
	for range 100 {
		if r.ended(f, -1) {
			t.Fatal("counted, and was not to be")
		}
	}
}

// An endpoint that fails is out for 3 s, then longer, and never are too many.
func TestEjection(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := mustNew(t, Static(zoned(0, "n", 20)), &Options{Policy: pick.RoundRobin{}, SlowStart: -1})
		choices(t, b, 20, uprung.Success)
		nodes := b.state.Load().nodes
		fail := func(n *node) {
			for range 5 {
				if n.outlier.ended(uprung.Failure, b.o.Outlier.Consecutive) {
					b.failedInRow(n, b.now())
				}
			}
		}
		out := func() (ids []string) {
			for _, e := range b.Stats().Endpoints {
				if e.Ejected {
					ids = append(ids, e.ID)
				}
			}
			return ids
		}
		for round, want := range []time.Duration{3 * time.Second, 6 * time.Second, 9 * time.Second} {
			fail(nodes[0])
			if got := choices(t, b, 190, uprung.Success); len(got) != 19 || got[nodes[0].ID] != 0 {
				t.Errorf("round %d: picked %v, want the 19 others", round, got)
			}
			if got := b.Stats().of(t, nodes[0].ID).EjectedFor; got != want {
				t.Errorf("round %d: is out for %v, want %v", round, got, want)
			}
			time.Sleep(want - time.Nanosecond)
			choices(t, b, 1, uprung.Success)
			if got := out(); len(got) != 1 {
				t.Errorf("round %d: out are %v, want one still", round, got)
			}
			time.Sleep(time.Nanosecond)
			if got := choices(t, b, 200, uprung.Success); got[nodes[0].ID] != 10 {
				t.Errorf("round %d: picked %v, want the endpoint to be back", round, got)
			}
		}
		for _, n := range nodes[:10] {
			fail(n)
		}
		if got := out(); len(got) != 2 {
			t.Errorf("out are %v, want a tenth of 20", got)
		}
		// Intervals without an ejection are remembered too.
		for range 12 {
			time.Sleep(10 * time.Second)
			choices(t, b, 1, uprung.Success)
		}
		if got := nodes[0].outlier.times; got != 0 {
			t.Errorf("%d ejections are remembered, want 0", got)
		}
		if got := b.Stats().EjectedFailures; got != 5 {
			t.Errorf("%d ejections, want 5", got)
		}
	})
}

// A caller that cancels says nothing about the endpoint, and the cap holds.
func TestTrap15EjectionHasACap(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := mustNew(t, Static(zoned(0, "n", 10)), &Options{Policy: pick.RoundRobin{}})
		choices(t, b, 10_000, uprung.Ignored)
		if got := b.Stats().EjectedFailures; got != 0 {
			t.Errorf("%d ejections after requests that were cancelled, want 0", got)
		}
		choices(t, b, 10_000, uprung.Failure)
		s := b.Stats()
		if s.Usable != 9 || s.EjectedFailures != 1 {
			t.Errorf("%d of 10 are usable after %d ejections, want 9 after 1", s.Usable, s.EjectedFailures)
		}
		// One endpoint alone may be ejected, and is picked nevertheless.
		alone := mustNew(t, Addrs("a:80"), nil)
		choices(t, alone, 100, uprung.Failure)
		if got := choices(t, alone, 10, uprung.Success); got["a:80"] != 10 {
			t.Errorf("picked %v, want the only endpoint", got)
		}
	})
}

func TestEjectionModes(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		mode   uprung.Mode
		usable int
		count  uint64
	}{{uprung.Enforce, 9, 1}, {uprung.Shadow, 10, 1}, {uprung.Off, 10, 0}} {
		synctest.Test(t, func(t *testing.T) {
			b := mustNew(t, Static(zoned(0, "n", 10)), &Options{Policy: pick.RoundRobin{}, Outlier: Outlier{Mode: tt.mode}})
			choices(t, b, 1000, uprung.Failure)
			if s := b.Stats(); s.Usable != tt.usable || s.EjectedFailures != tt.count {
				t.Errorf("%v: %d usable after %d ejections, want %d after %d", tt.mode, s.Usable, s.EjectedFailures, tt.usable, tt.count)
			}
		})
	}
}

func TestSweepEjectsByRateAndTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := mustNew(t, Static(zoned(0, "n", 20)), &Options{Policy: pick.RoundRobin{}, Outlier: Outlier{Slower: 4}})
		choices(t, b, 20, uprung.Success)
		nodes := b.state.Load().nodes
		for i, n := range nodes {
			for j := range 200 {
				outcome := uprung.Success
				if i == 3 && j%2 == 0 {
					outcome = uprung.Failure
				}
				n.outlier.ended(outcome, b.o.Outlier.Consecutive)
				took := 10 * time.Millisecond
				if i == 7 {
					took *= 5
				}
				n.outlier.answered(took)
			}
		}
		time.Sleep(10 * time.Second)
		choices(t, b, 1, uprung.Success)
		s := b.Stats()
		if s.EjectedSuccessRate != 1 || s.EjectedSlow != 1 || !s.of(t, nodes[3].ID).Ejected || !s.of(t, nodes[7].ID).Ejected {
			t.Errorf("stats are %+v, want the failing and the slow endpoint ejected", s)
		}
	})
}

func TestMostEjected(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		share float64
		n     int
		want  int
	}{{0, 1, 1}, {0, 9, 1}, {0, 29, 2}, {0.5, 10, 5}, {1, 10, 10}} {
		if got := defaults(Outlier{MaxEjected: row.share}).mostEjected(row.n); got != row.want {
			t.Errorf("share %v of %d: %d, want %d", row.share, row.n, got, row.want)
		}
	}
}

// What was in progress when an endpoint was ejected is no reason to eject it again.
func TestFailuresFromBeforeAnEjection(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := mustNew(t, Addrs("a:80", "b:80"), &Options{Policy: pick.RoundRobin{}, SlowStart: -1})
		one := func() *exchange {
			for {
				e := &exchange{b: b, request: httptest.NewRequest(http.MethodGet, "/", nil)}
				if err := e.choose(nil); err != nil {
					t.Fatal(err)
				}
				if e.node.ID == "a:80" {
					return e
				}
				e.end(b.now(), uprung.Success)
			}
		}
		var before []*exchange
		for range 9 {
			before = append(before, one())
		}
		for _, e := range before {
			e.end(b.now(), uprung.Failure)
		}
		if s := b.Stats(); !s.of(t, "a:80").Ejected || s.EjectedFailures != 1 {
			t.Fatalf("stats are %+v, want one ejection", s)
		}
		time.Sleep(4 * time.Second)
		choices(t, b, 1, uprung.Success)
		one().end(b.now(), uprung.Failure)
		if s := b.Stats(); s.of(t, "a:80").Ejected || s.EjectedFailures != 1 {
			t.Errorf("stats are %+v, want no other ejection by the first failure since", s)
		}
	})
}
