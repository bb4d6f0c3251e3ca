package breaker

import (
	"math/rand/v2"
	"sync"
	"testing"
	"time"
)

// A count that carried over would turn a million successes into next to none, and a few
// failures into too many.
func TestWindowSaturates(t *testing.T) {
	t.Parallel()
	var w window
	const n = 2_000_000
	for range n {
		w.add(5, 1)
	}
	for range 100 {
		w.add(5, badOne)
	}
	good, bad := w.sum(5)
	if good < countMax/4 || bad != 100 {
		t.Errorf("sum is %d and %d, want many and 100", good, bad)
	}
	if good, bad := w.totals(); good != n || bad != 100 {
		t.Errorf("totals are %d and %d, want %d and 100", good, bad, n)
	}
	for range n {
		w.add(5, badOne)
	}
	good, bad = w.sum(5)
	if bad < countMax/4 || good > bad {
		t.Errorf("sum is %d and %d, want far more of the latter", good, bad)
	}
	if good, bad := w.totals(); good != n || bad != n+100 {
		t.Errorf("totals are %d and %d, want %d and %d", good, bad, n, n+100)
	}
}

func TestWindowAgainstList(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	var w window
	epoch := rng.Uint64N(1 << 25) // beyond 24 bits, too
	type counted struct{ good, bad uint64 }
	by := map[uint64]counted{}
	var all counted
	for range 20_000 {
		switch rng.IntN(10) {
		case 0:
			epoch += rng.Uint64N(4)
		case 1:
			if rng.IntN(10) == 0 {
				epoch += rng.Uint64N(50)
			}
		case 2:
			if rng.IntN(200) == 0 {
				w.clear()
				clear(by)
			}
		default:
			c := by[epoch]
			if rng.IntN(3) == 0 {
				c.bad++
				all.bad++
				w.add(epoch, badOne)
			} else {
				c.good++
				all.good++
				w.add(epoch, 1)
			}
			by[epoch] = c
		}
		var want counted
		for i := range uint64(buckets) {
			want.good += by[epoch-i].good
			want.bad += by[epoch-i].bad
		}
		if good, bad := w.sum(epoch); good != want.good || bad != want.bad {
			t.Fatalf("sum at %d is %d and %d, want %+v", epoch, good, bad, want)
		}
	}
	if good, bad := w.totals(); good != all.good || bad != all.bad {
		t.Errorf("totals are %d and %d, want %+v", good, bad, all)
	}
}

// Nothing is lost or counted twice while buckets are reused, halved and cleared.
func TestWindowStress(t *testing.T) {
	t.Parallel()
	var w window
	const workers, each = 8, 100_000
	var all sync.WaitGroup
	for worker := range workers {
		all.Go(func() {
			rng := rand.New(rand.NewPCG(1, uint64(worker)))
			var last uint64
			for i := range each {
				w.add(uint64(i/1000)+rng.Uint64N(2), one(i%2 == 0))
				if i%10_000 == 0 {
					if worker == 0 {
						w.clear()
					}
					good, bad := w.totals()
					if good+bad < last {
						t.Errorf("totals went from %d to %d", last, good+bad)
					}
					last = good + bad
				}
			}
		})
	}
	all.Wait()
	if good, bad := w.totals(); good != workers*each/2 || bad != workers*each/2 {
		t.Errorf("totals are %d and %d, want %d each", good, bad, workers*each/2)
	}
}

// Who comes late does not empty a bucket of those who are ahead.
func TestWindowDoesNotGoBack(t *testing.T) {
	t.Parallel()
	var w window
	w.add(15, 1)
	w.add(5, 1) // the same bucket
	if good, _ := w.sum(15); good != 2 {
		t.Errorf("sum is %d, want 2", good)
	}
	if age := w.age(18); age != 3 {
		t.Errorf("age is %d, want 3", age)
	}
}

func TestPeriod(t *testing.T) {
	t.Parallel()
	for _, whole := range []time.Duration{100 * time.Millisecond, time.Second, 10 * time.Second, 7777 * time.Millisecond, longest} {
		p, one := newPeriod(whole), int64(whole/buckets)
		for _, now := range []int64{0, 1, one - 1, one, one + 1, 10 * one, 1000*one - 1, 1001 * one} {
			got, want := p.of(now), uint64(now/one)
			if got != want && got != want+1 || got > want && (int64(got)*one-now) > 1000 {
				t.Errorf("%v: the period of %d is %d, want %d", whole, now, got, want)
			}
		}
		last := uint64(0)
		for i := range int64(1000) {
			got := p.of(i * one / 3)
			if got < last {
				t.Errorf("%v: periods go back from %d to %d", whole, last, got)
			}
			last = got
		}
	}
}
