package ratelimit

import (
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/uprung/uprung/benchmarks/internal/bench"
)

// TestMakersLimit makes sure that nobody is measured who does not limit, or
// limits something else: each key has its quota exactly, and no key another's.
func TestMakersLimit(t *testing.T) {
	t.Parallel()
	for _, m := range makers {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			const events = 5
			l, err := m.make(quota{events, 24 * time.Hour}, 100)
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			keys := newKeySet(3)
			for i := range uint32(3) {
				for n := range 2 * events {
					if got, want := l.allow(keys.at(i)), n < events; got != want {
						t.Errorf("event %d of %s: allowed is %v, want %v", n, keys.at(i), got, want)
					}
				}
			}
		})
	}
}

// TestMakersConcurrently does so from several goroutines, one of which finds the
// key missing.
func TestMakersConcurrently(t *testing.T) {
	t.Parallel()
	for _, m := range makers {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			const events, callers, calls = 50, 4, 40
			l, err := m.make(quota{events, 24 * time.Hour}, 1)
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			var allowed atomic.Int64
			var wg sync.WaitGroup
			for range callers {
				wg.Go(func() {
					for range calls {
						if l.allow("key") {
							allowed.Add(1)
						}
					}
				})
			}
			wg.Wait()
			if got := allowed.Load(); got != events {
				t.Errorf("%d of %d events are allowed, want %d", got, callers*calls, events)
			}
		})
	}
}

func TestWrappersLimit(t *testing.T) {
	t.Parallel()
	for _, w := range wrappers {
		if w.name == bare {
			continue
		}
		for _, headers := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/headers=%v", w.name, headers), func(t *testing.T) {
				t.Parallel()
				const events = 3
				h, err := w.wrap(quota{events, 24 * time.Hour}, headers, http.HandlerFunc(served))
				if err != nil {
					t.Fatal(err)
				}
				rec, requests := newRecorder(), newRequests()
				for client := range 2 {
					for n := range 2 * events {
						met := serve(h, rec, requests, client, 1)
						if want := n < events; met == 1 != want {
							t.Errorf("request %d of client %d passes: %v, want %v", n, client, met == 1, want)
						}
						if n >= events && rec.status != http.StatusTooManyRequests {
							t.Errorf("request %d of client %d is answered %d, want 429", n, client, rec.status)
						}
					}
				}
				if clear(rec.header); serve(h, rec, requests, 9, 1) != 1 {
					t.Fatal("the first request of another client is denied")
				}
				can := w.name == "uprung" || w.name == "httprate"
				if got, want := len(rec.header) > 0, headers || !can; got != want {
					t.Errorf("an allowed response has the header %v; has fields: %v, want %v", rec.header, got, want)
				}
			})
		}
	}
}

func TestKeySet(t *testing.T) {
	t.Parallel()
	keys := newKeySet(1234)
	for i, want := range map[uint32]string{0: "user:0000000", 7: "user:0000007", 1233: "user:0001233"} {
		if got := keys.at(i); got != want {
			t.Errorf("key %d is %q, want %q", i, got, want)
		}
	}
}

func TestRings(t *testing.T) {
	t.Parallel()
	const keys = 1000
	for _, tt := range []struct {
		name     string
		draw     func(*bench.Env, int) ring
		min, max float64 // share of the most frequent key
	}{
		{"uniform", uniform, 0.001, 0.0013},
		{"zipf", zipf, 0.12, 0.16},
	} {
		r, again := tt.draw(&bench.Env{Seed: 7}, keys), tt.draw(&bench.Env{Seed: 7}, keys)
		if len(r) != ringSize {
			t.Errorf("%s: length is %d, want %d", tt.name, len(r), ringSize)
		}
		counts, most := make([]int, keys), 0
		for i, key := range r {
			if key != again[i] {
				t.Fatalf("%s: one seed gives two sequences", tt.name)
			}
			counts[key]++
			most = max(most, counts[key])
		}
		if share := float64(most) / ringSize; share < tt.min || share > tt.max {
			t.Errorf("%s: the most frequent key has a share of %v, want %v to %v", tt.name, share, tt.min, tt.max)
		}
		if one := tt.draw(&bench.Env{}, 1); len(one) != 1 || one[0] != 0 {
			t.Errorf("%s of one key is %v, want [0]", tt.name, one)
		}
	}
}

func TestWeighChecksMemory(t *testing.T) {
	t.Parallel()
	forgetful := func(quota, int) (limiter, error) {
		return limiter{allow: func(string) bool { return true }}, nil
	}
	if f, err := weigh(forgetful, newKeySet(10), 10); err == nil {
		t.Errorf("a limiter that forgets is weighed: %v", f)
	}
}
