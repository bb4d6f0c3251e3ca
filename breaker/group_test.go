package breaker

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/uprung/uprung"
)

func newGroup[K comparable](tb testing.TB, o *GroupOptions[K]) *Group[K] {
	tb.Helper()
	g, err := NewGroup(o)
	if err != nil {
		tb.Fatal(err)
	}
	return g
}

func TestGroupOptionsAreChecked(t *testing.T) {
	t.Parallel()
	_, err := NewGroup(&GroupOptions[int]{Breaker: Options{MinRequests: -1}, Capacity: -1, Idle: time.Second})
	for _, field := range []string{"MinRequests", "Capacity", "Idle"} {
		if err == nil || !strings.Contains(err.Error(), "breaker: "+field) {
			t.Errorf("error does not name %s: %v", field, err)
		}
	}
}

// Keys have nothing to do with each other.
func TestGroupKeepsKeysApart(t *testing.T) {
	bubble(t, func(t *testing.T) {
		type endpoint struct{ zone, addr string }
		var changed []string
		g := newGroup(t, &GroupOptions[endpoint]{Breaker: *steady(), OnChange: func(k endpoint, e Event) {
			changed = append(changed, fmt.Sprint(k.addr, " ", e.To))
		}})
		bad, good := endpoint{"a", "bad"}, endpoint{"a", "good"}
		for range 20 {
			for k, o := range map[endpoint]uprung.Outcome{bad: uprung.Failure, good: uprung.Success} {
				p, err := g.Allow(k)
				if err != nil {
					t.Fatal(err)
				}
				p.Done(o)
			}
		}
		if g.Eligible(bad) || !g.Eligible(good) || !g.Eligible(endpoint{"b", "bad"}) {
			t.Error("want exactly the bad one not to be eligible")
		}
		if s := g.Stats(); s.Keys != 2 || s.Open != 1 || s.Closed != 1 || s.Failures != 20 || s.Successes != 20 {
			t.Errorf("%+v, want two keys, one of them open", s)
		}
		time.Sleep(time.Second)
		if !g.Eligible(bad) || g.Stats().HalfOpen != 1 {
			t.Error("not eligible after the open time")
		}
		if want := []string{"bad open", "bad half-open"}; !slices.Equal(changed, want) {
			t.Errorf("changes are %q, want %q", changed, want)
		}
		for one := range g.Each {
			if want := map[string]State{"bad": HalfOpen, "good": Closed}[one.Key.addr]; one.State != want {
				t.Errorf("%v is %v, want %v", one.Key, one.State, want)
			}
		}
		for range g.Each {
			break
		}
		if err := g.SetMode(uprung.Shadow); err != nil || g.Mode() != uprung.Shadow || g.Breaker(bad).Mode() != uprung.Shadow {
			t.Errorf("mode is %v, %v, want shadow", g.Mode(), err)
		}
	})
}

// Eligible takes no slot of a probe.
func TestEligibleTakesNothing(t *testing.T) {
	bubble(t, func(t *testing.T) {
		g := newGroup(t, &GroupOptions[string]{Breaker: *steady()})
		end(g.Breaker("a"), 20, uprung.Failure)
		time.Sleep(time.Second)
		for range 100 {
			if !g.Eligible("a") {
				t.Fatal("not eligible though there are probes")
			}
		}
		for range 3 {
			if _, err := g.Allow("a"); err != nil {
				t.Fatal(err)
			}
		}
		if g.Eligible("a") {
			t.Error("eligible though all probes are out")
		}
		if g.Stats().Keys != 1 || !g.Eligible("unknown") || g.Stats().Keys != 1 {
			t.Error("asking makes keys")
		}
	})
}

func TestGroupIsBounded(t *testing.T) {
	t.Parallel()
	g := newGroup(t, &GroupOptions[int]{Breaker: Options{OpenFor: time.Hour}, Capacity: 100})
	end(g.Breaker(-1), 20, uprung.Failure)
	for k := range 10_000 {
		end(g.Breaker(k), 1, uprung.Success)
		if k%100 != 0 {
			continue
		}
		if s := g.Stats(); s.Keys > 100 {
			t.Fatalf("%d keys, want at most 100", s.Keys)
		}
		if g.Eligible(-1) {
			t.Fatalf("the one that is open is forgotten after %d keys, while others are quiet and closed", k)
		}
	}
	s := g.Stats()
	if s.Evicted != 10_001-uint64(s.Keys) || s.Successes != 10_000 || s.Failures != 20 {
		t.Errorf("%+v, want all results counted", s)
	}
	if slots := len(g.table.Load().slots); slots > 512 {
		t.Errorf("the table has %d slots for 100 keys", slots)
	}
}

// What is closed and quiet goes, and what is open stays.
func TestGroupForgetsTheIdle(t *testing.T) {
	bubble(t, func(t *testing.T) {
		g := newGroup(t, &GroupOptions[int]{Idle: time.Minute})
		for k := range 1000 {
			end(g.Breaker(k), 1, uprung.Success)
		}
		end(g.Breaker(-1), 20, uprung.Failure)
		time.Sleep(59 * time.Second)
		end(g.Breaker(7), 1, uprung.Success)
		for k := range 500 {
			g.Breaker(10_000 + k)
		}
		if got := g.Stats().Evicted; got != 0 {
			t.Errorf("%d are forgotten before they are idle", got)
		}
		time.Sleep(10 * time.Second)
		for k := range 500 {
			g.Breaker(20_000 + k)
		}
		if s := g.Stats(); s.Evicted < 900 || s.Keys > 1200 {
			t.Errorf("%d are forgotten and %d left, want nearly all that were idle gone", s.Evicted, s.Keys)
		}
		if g.find(-1, g.hash(-1)) == nil || g.find(7, g.hash(7)) == nil {
			t.Error("one that is open or in use is forgotten")
		}
	})
}

func TestGroupStress(t *testing.T) {
	t.Parallel()
	g := newGroup(t, &GroupOptions[int]{Capacity: 64})
	var callers sync.WaitGroup
	const workers, each = 8, 2_000
	for worker := range workers {
		callers.Go(func() {
			for i := range each {
				k := (i*7 + worker*13) % 200
				b := g.Breaker(k)
				if e := b.owner.(*entry[int]); e.key != k {
					t.Errorf("key %d has the breaker of %d", k, e.key)
				}
				end(b, 1, uprung.Success)
				g.Eligible(k)
				if i%1000 == 0 {
					g.Stats()
				}
			}
		})
	}
	callers.Wait()
	if s := g.Stats(); s.Keys > 64 || s.Successes > workers*each || s.Successes < workers*each*9/10 {
		t.Errorf("%+v, want at most 64 keys, and nearly all results", s)
	}
}

func TestGroupFaces(t *testing.T) {
	t.Parallel()
	hosts := newGroup[string](t, nil)
	rt := hosts.Transport(roundTripper(func(r *http.Request) (*http.Response, error) {
		if r.URL.Host == "bad" {
			return nil, errBroken
		}
		return answering(200, "")(r)
	}))
	get := func(host string) error {
		r := newRequest(t)
		r.URL.Host = host
		return send(rt, r)
	}
	for range 20 {
		_ = get("bad")
	}
	if hosts.Eligible("bad") || get("good") != nil || get("bad") == nil {
		t.Error("want the bad host refused, and the other not")
	}
	// Without a key, requests pass.
	numbers := newGroup[int](t, nil)
	if err := send(numbers.Transport(answering(200, "")), newRequest(t)); err != nil || numbers.Stats().Keys != 0 {
		t.Errorf("%v, %d keys, want a request without a key to pass", err, numbers.Stats().Keys)
	}
	w := httptest.NewRecorder()
	hosts.Middleware(http.NotFoundHandler()).ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
	if w.Code != 404 || hosts.Stats().Keys != 2 {
		t.Errorf("status %d, %d keys, want a request without a pattern to pass", w.Code, hosts.Stats().Keys)
	}
}

// Percent refuses for a share of the keys of a group.
func TestGroupPercent(t *testing.T) {
	t.Parallel()
	mode := uprung.Percent(50)
	g := newGroup(t, &GroupOptions[int]{Breaker: Options{Mode: mode}})
	for k := range 100 {
		g.Breaker(k).Force(ForceOpen)
		_, err := g.Allow(k)
		if want := mode.Enforces(fmt.Sprint(k)); (err != nil) != want || g.Eligible(k) == want {
			t.Errorf("key %d: error %v, eligible %v, want it refused: %v", k, err, g.Eligible(k), want)
		}
	}
}

// A key takes some 300 bytes, and not 600.
func TestBytesOfAKey(t *testing.T) {
	const n = 10_000
	names := make([]string, n)
	for i := range names {
		names[i] = fmt.Sprint("host-", i, ".example.com:443")
	}
	heap := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap()
	g := newGroup(t, &GroupOptions[string]{Capacity: n})
	for _, name := range names {
		end(g.Breaker(name), 1, uprung.Success)
	}
	if got := float64(heap()-before) / n; got > 400 {
		t.Errorf("a key takes %.0f bytes, want at most 400", got)
	}
	runtime.KeepAlive(g)
	runtime.KeepAlive(names)
}
