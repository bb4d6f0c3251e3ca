package pick

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/uprung/uprung"
)

// modulo is a table for tests: the endpoint of a hash is its remainder.
type modulo int

func (m modulo) Lookup(hash uint64) int { return int(hash % uint64(m)) }

func (m modulo) Walk(hash uint64, yield func(int) bool) {
	for i := range uint64(m) {
		if !yield(int((hash + i) % uint64(m))) {
			return
		}
	}
}

func newModulo(endpoints []Endpoint) (Table, error) { return modulo(len(endpoints)), nil }

var policies = map[string]Policy{
	"AgeEWMA":      AgeEWMA{},
	"PowerOfTwo":   PowerOfTwo{},
	"LeastRequest": LeastRequest{},
	"RoundRobin":   RoundRobin{},
	"Hashed":       Hashed{Table: newModulo},
	"Hashed bound": Hashed{Table: newModulo, Bound: 1.25},
}

func numbered(n int) []Endpoint {
	endpoints := make([]Endpoint, n)
	for i := range endpoints {
		endpoints[i].ID = fmt.Sprintf("e%03d", i)
	}
	return endpoints
}

func mustPicker(tb testing.TB, p Policy, endpoints []Endpoint, prev Picker) Picker {
	tb.Helper()
	picker, err := p.Picker(endpoints, prev)
	if err != nil {
		tb.Fatal(err)
	}
	return picker
}

// request is one at an instant, with a random number and hash of its own.
func request(rng *rand.Rand, now time.Duration) Request {
	return Request{Now: now, Random: rng.Uint64(), Hash: rng.Uint64()}
}

// except refuses some endpoints.
type except []int

func (e except) Refuses(i int) bool { return slices.Contains(e, i) }

func TestPickerErrors(t *testing.T) {
	t.Parallel()
	bad := []Endpoint{{ID: ""}, {ID: "a", Weight: -1}, {ID: "a"}, {ID: "b", Weight: MaxWeight + 1}}
	for name, policy := range policies {
		_, err := policy.Picker(bad, nil)
		if err == nil {
			t.Errorf("%s: no error", name)
			continue
		}
		for _, want := range []string{
			"endpoints[0].ID is empty", "endpoints[1].Weight is -1, want 0 to 65535",
			`endpoints[2].ID is "a", want one that no other endpoint has`, "endpoints[3].Weight is 65536",
		} {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: error %q does not say %q", name, err, want)
			}
		}
	}
	for _, tt := range []struct {
		policy Policy
		want   string
	}{
		{AgeEWMA{FailureCost: -1}, "FailureCost is -1ns"},
		{Hashed{}, "Hashed.Table is nil"},
		{Hashed{Table: newModulo, Bound: 1}, "Hashed.Bound is 1, want more than 1"},
		{Hashed{Table: newModulo, Bound: math.NaN()}, "Hashed.Bound is NaN"},
	} {
		if _, err := tt.policy.Picker(numbered(2), nil); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%+v: error %v, want one with %q", tt.policy, err, tt.want)
		}
	}
}

func TestNoneToPick(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(1, 1))
	down := numbered(6)
	for i := range down {
		down[i].Down = true
	}
	for name, policy := range policies {
		if _, ok := mustPicker(t, policy, nil, nil).Pick(request(rng, 0)); ok {
			t.Errorf("%s: picked one of no endpoints", name)
		}
		if _, ok := mustPicker(t, policy, down, nil).Pick(request(rng, 0)); ok {
			t.Errorf("%s: picked one that is down", name)
		}
		refused := request(rng, 0)
		refused.Filter = except{0, 1, 2, 3, 4, 5}
		if _, ok := mustPicker(t, policy, numbered(6), nil).Pick(refused); ok {
			t.Errorf("%s: picked one that is refused", name)
		}
	}
}

// Whatever is down or refused, only others are picked, and each of them is.
func TestDownAndRefused(t *testing.T) {
	t.Parallel()
	for name, policy := range policies {
		for _, n := range []int{1, 2, 3, 5, 20} {
			for seed := range uint64(20) {
				rng := rand.New(rand.NewPCG(seed, uint64(n)))
				endpoints := numbered(n)
				var refused except
				open := map[int]bool{}
				for i := range endpoints {
					switch rng.IntN(3) {
					case 0:
						endpoints[i].Down = true
					case 1:
						refused = append(refused, i)
					default:
						open[i] = true
					}
				}
				p := mustPicker(t, policy, endpoints, nil)
				got := map[int]bool{}
				for now := range time.Duration(400) {
					r := request(rng, now*time.Millisecond)
					r.Filter = refused
					token, ok := p.Pick(r)
					if ok != (len(open) > 0) || ok && !open[token.Endpoint] {
						t.Fatalf("%s, n %d, seed %d: picked %v, %v, want one of %v", name, n, seed, token.Endpoint, ok, open)
					}
					if ok {
						got[token.Endpoint] = true
						p.Done(token, (now+1)*time.Millisecond, uprung.Success)
					}
				}
				if len(got) != len(open) {
					t.Errorf("%s, n %d, seed %d: picked %v, want all of %v", name, n, seed, got, open)
				}
			}
		}
	}
}

// Shares follow the weights where nothing else differs.
func TestWeights(t *testing.T) {
	t.Parallel()
	endpoints := []Endpoint{{ID: "a", Weight: 30}, {ID: "b", Weight: 10}, {ID: "c", Weight: 20}, {ID: "d"}, {ID: "e", Weight: 39}}
	for _, name := range []string{"RoundRobin", "PowerOfTwo", "LeastRequest"} {
		rng := rand.New(rand.NewPCG(1, 1))
		p := mustPicker(t, policies[name], endpoints, nil)
		counts := make([]int, len(endpoints))
		var running []Token
		for range 100_000 {
			token, _ := p.Pick(request(rng, 0))
			counts[token.Endpoint]++
			if running = append(running, token); len(running) > 300 {
				i := rng.IntN(len(running))
				p.Done(running[i], 0, uprung.Success)
				running = slices.Delete(running, i, i+1)
			}
		}
		for i, e := range endpoints {
			if got, want := float64(counts[i])/100_000, float64(max(e.Weight, 1))/100; math.Abs(got-want) > 0.1*want+0.003 {
				t.Errorf("%s: share of %s is %.3f, want %.3f", name, e.ID, got, want)
			}
		}
	}
}

func TestHugeWeights(t *testing.T) {
	t.Parallel()
	endpoints := []Endpoint{{ID: "a", Weight: MaxWeight}, {ID: "b", Weight: MaxWeight - 1}, {ID: "c", Weight: 1}}
	got := slots(endpoints)
	if len(got) > maxSlots+len(endpoints) {
		t.Errorf("%d slots, want at most %d", len(got), maxSlots)
	}
	counts := make([]int, 3)
	for _, i := range got {
		counts[i]++
	}
	if counts[2] != 1 || math.Abs(float64(counts[0]-counts[1])) > 1 {
		t.Errorf("slots are %v, want two halves and 1", counts)
	}
}

// What is known passes to the next picker, also over a time of being down, and
// requests that the picker before has picked are still counted.
func TestCarryOver(t *testing.T) {
	t.Parallel()
	for name, policy := range policies {
		rng := rand.New(rand.NewPCG(1, 1))
		first := mustPicker(t, policy, numbered(3), nil)
		var tokens []Token
		for range 9 {
			token, _ := first.Pick(request(rng, 0))
			tokens = append(tokens, token)
		}
		reordered := numbered(3)
		slices.Reverse(reordered)
		reordered[1].Down = true
		second := mustPicker(t, policy, append(reordered, Endpoint{ID: "new"}), first)
		third := mustPicker(t, policy, numbered(3), second)
		for i, token := range tokens {
			[]Picker{first, third}[i%2].Done(token, time.Second, uprung.Success) // their indices agree
		}
		switch p := third.(type) {
		case *ageEWMA:
			for i, c := range p.pool.cells {
				if c != first.(*ageEWMA).pool.cells[i] || c.waiting.Load() != 0 || c.started.Load() != 0 || c.cost.Load() == 0 {
					t.Errorf("%s: endpoint %d: %d waiting since %d, cost %d, want what was known of it and none waiting",
						name, i, c.waiting.Load(), c.started.Load(), c.cost.Load())
				}
			}
		case *powerOfTwo:
			checkNone(t, name, &p.pool)
		case *leastRequest:
			checkNone(t, name, &p.pool)
		case *hashed:
			checkNone(t, name, &p.pool)
		}
	}
}

func checkNone(t *testing.T, name string, p *pool[loadCell]) {
	t.Helper()
	for i, c := range p.cells {
		if n := c.n.Load(); n != 0 {
			t.Errorf("%s: endpoint %d has %d requests, want 0", name, i, n)
		}
	}
}

func TestPickAllocs(t *testing.T) {
	for name, policy := range policies {
		for _, n := range []int{3, 100} {
			rng := rand.New(rand.NewPCG(1, 1))
			endpoints := numbered(n)
			endpoints[0].Weight = 2
			p := mustPicker(t, policy, endpoints, nil)
			if got := testing.AllocsPerRun(1000, func() {
				token, _ := p.Pick(request(rng, time.Second))
				token = p.Answered(token, 2*time.Second, uprung.Success)
				p.Done(token, 2*time.Second, uprung.Success)
			}); got != 0 {
				t.Errorf("%s of %d endpoints allocates %v times, want 0", name, n, got)
			}
		}
	}
}

// Many pick while the endpoints change, and in the end nothing is left.
func TestStress(t *testing.T) {
	t.Parallel()
	for name, policy := range policies {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var mu sync.RWMutex
			current := mustPicker(t, policy, numbered(8), nil)
			var workers sync.WaitGroup
			for worker := range 4 {
				workers.Go(func() {
					rng := rand.New(rand.NewPCG(uint64(worker), 1))
					for i := range time.Duration(5000) {
						mu.RLock()
						p := current
						mu.RUnlock()
						token, ok := p.Pick(request(rng, i))
						if !ok {
							t.Error("nothing to pick")
							return
						}
						if rng.IntN(2) == 0 {
							token = p.Answered(token, i+1, uprung.Success)
						}
						p.Done(token, i+2, []uprung.Outcome{uprung.Success, uprung.Failure, uprung.Ignored}[rng.IntN(3)])
					}
				})
			}
			workers.Go(func() {
				rng := rand.New(rand.NewPCG(9, 9))
				for range 200 {
					endpoints := numbered(8)
					endpoints[rng.IntN(8)].Down = true
					mu.Lock()
					current = mustPicker(t, policy, endpoints, current)
					mu.Unlock()
				}
			})
			workers.Wait()
			switch p := current.(type) {
			case *ageEWMA:
				for i, c := range p.pool.cells {
					if c.waiting.Load() != 0 || c.started.Load() != 0 {
						t.Errorf("endpoint %d: %d waiting since %d, want none", i, c.waiting.Load(), c.started.Load())
					}
				}
			case *powerOfTwo:
				checkNone(t, name, &p.pool)
			case *leastRequest:
				checkNone(t, name, &p.pool)
			case *hashed:
				checkNone(t, name, &p.pool)
			}
		})
	}
}

func TestHashedKeepsKeys(t *testing.T) {
	t.Parallel()
	all := mustPicker(t, Hashed{Table: newModulo}, numbered(5), nil)
	endpoints := numbered(5)
	endpoints[2].Down = true
	without := mustPicker(t, Hashed{Table: newModulo}, endpoints, all)
	for hash := range uint64(100) {
		before, _ := all.Pick(Request{Hash: hash})
		after, _ := without.Pick(Request{Hash: hash})
		want := before.Endpoint
		if want == 2 {
			want = 3 // the next in the order of preference
		}
		if after.Endpoint != want {
			t.Errorf("hash %d is at %d, was at %d, want %d", hash, after.Endpoint, before.Endpoint, want)
		}
	}
}

// One key is asked for all the time: its endpoint has at most the bound.
func TestHashedBound(t *testing.T) {
	t.Parallel()
	p := mustPicker(t, Hashed{Table: newModulo, Bound: 1.25}, numbered(4), nil)
	counts := make([]int, 4)
	for range 100 {
		token, ok := p.Pick(Request{Hash: 1})
		if !ok {
			t.Fatal("nothing to pick")
		}
		counts[token.Endpoint]++
	}
	if most := slices.Max(counts); most > 32 { // ceil(1.25 * 100 / 4)
		t.Errorf("requests are %v, want at most 32 in one place", counts)
	}
	// All but one are refused: it is picked, bound or not.
	for range 100 {
		if token, ok := p.Pick(Request{Hash: 1, Filter: except{0, 1, 3}}); !ok || token.Endpoint != 2 {
			t.Fatalf("picked %d, %v, want 2", token.Endpoint, ok)
		}
	}
}
