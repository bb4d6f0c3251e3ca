package lb

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/uprung/uprung"
	"github.com/uprung/uprung/health"
	"github.com/uprung/uprung/lb/pick"
	"github.com/uprung/uprung/shard"
)

// choices lets a balancer choose n times, at one instant, and returns how often each
// endpoint was.
func choices(tb testing.TB, b *Balancer, n int, outcome uprung.Outcome) map[string]int {
	tb.Helper()
	counts := map[string]int{}
	request, err := http.NewRequestWithContext(tb.Context(), http.MethodGet, "http://orders/", nil)
	if err != nil {
		tb.Fatal(err)
	}
	for range n {
		e := &exchange{b: b, request: request}
		if err := e.choose(nil); err != nil {
			tb.Fatal(err)
		}
		counts[e.node.ID]++
		e.end(b.now(), outcome)
	}
	return counts
}

// withDown returns a balancer whose probes have found some endpoints down.
func withDown(t *testing.T, endpoints []Endpoint, o Options, down ...string) *Balancer {
	t.Helper()
	o.SlowStart = -1
	o.Probe = health.ProberFunc(func(_ context.Context, addr string) error {
		if slices.Contains(down, addr) {
			return errors.New("down")
		}
		return nil
	})
	b := mustNew(t, Static(endpoints), &o)
	start(t, b)
	time.Sleep(time.Minute)
	return b
}

func zoned(priority int, zone string, n int) []Endpoint {
	var endpoints []Endpoint
	for i := range n {
		endpoints = append(endpoints, Endpoint{Addr: fmt.Sprintf("%s%d-%d:80", zone, priority, i), Zone: zone, Priority: priority})
	}
	return endpoints
}

// share returns the part of the choices that fell on endpoints with a prefix.
func share(counts map[string]int, prefix string) float64 {
	sum, with := 0, 0
	for id, n := range counts {
		sum += n
		if len(id) >= len(prefix) && id[:len(prefix)] == prefix {
			with += n
		}
	}
	return float64(with) / float64(sum)
}

func TestLevelsAndZones(t *testing.T) {
	t.Parallel()
	both := slices.Concat(zoned(0, "n", 10), zoned(0, "s", 10))
	levels := slices.Concat(zoned(0, "n", 10), zoned(1, "n", 10))
	for _, tt := range []struct {
		name      string
		endpoints []Endpoint
		zone      string
		down      []Endpoint
		prefix    string
		want      float64
		panics    bool
	}{
		{"no zone", both, "", nil, "n0", 0.5, false},
		{"own zone", both, "n", nil, "n0", 1, false},
		{"a zone where nothing is", both, "w", nil, "n0", 0.5, false},
		{"own zone bears the loss of two", both, "n", both[:2], "n0", 1, false},
		{"own zone bears 0.7 with half of it", both, "n", both[:5], "n0", 0.7, false},
		{"own zone is down", both, "n", both[:10], "n0", 0, false},
		{"other zone is down", both, "n", both[10:], "n0", 1, false},
		{"first level", levels, "", nil, "n0", 1, false},
		{"first level bears the loss of two", levels, "", levels[:2], "n0", 1, false},
		{"first level bears 0.7 with half of it", levels, "", levels[:5], "n0", 0.7, false},
		{"first level is down", levels, "", levels[:10], "n0", 0, false},
		// One of ten and none of ten: all of the first are tried.
		{"panic", levels, "", levels[1:], "n0", 1, true},
		{"everything is down", levels, "", levels, "n0", 1, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var down []string
				for _, e := range tt.down {
					down = append(down, e.Addr)
				}
				b := withDown(t, tt.endpoints, Options{Policy: pick.RoundRobin{}, Zone: tt.zone, Seed: 1}, down...)
				counts := choices(t, b, 10_000, uprung.Success)
				if got := share(counts, tt.prefix); math.Abs(got-tt.want) > 0.02 {
					t.Errorf("share of %s is %.3f, want %.2f: %v", tt.prefix, got, tt.want, counts)
				}
				for _, addr := range down {
					if counts[addr] > 0 != (tt.panics && addr[:2] == "n0") {
						t.Errorf("%s, which is down, got %d requests", addr, counts[addr])
					}
				}
				if got := b.Stats(); got.Panicking != tt.panics {
					t.Errorf("panicking is %v, want %v", got.Panicking, tt.panics)
				}
			})
		})
	}
}

// Below the panic threshold all are picked, above it only those that are well, and
// never none.
func TestTrap26PanicThreshold(t *testing.T) {
	t.Parallel()
	endpoints := zoned(0, "n", 10)
	for _, tt := range []struct {
		threshold float64
		down      int
		want      int // endpoints that are picked; -1 is none, and an error
	}{
		{0, 5, 5}, {0, 6, 10}, {0, 10, 10}, {0.2, 8, 2}, {0.2, 9, 10}, {-1, 9, 1}, {-1, 10, -1}, {1, 1, 9}, {1, 4, 10},
	} {
		synctest.Test(t, func(t *testing.T) {
			var down []string
			for _, e := range endpoints[:tt.down] {
				down = append(down, e.Addr)
			}
			b := withDown(t, endpoints, Options{Policy: pick.RoundRobin{}, PanicThreshold: tt.threshold}, down...)
			if tt.want < 0 {
				e := &exchange{b: b, request: &http.Request{}}
				if err := e.choose(nil); !errors.Is(err, ErrNoEndpoint) {
					t.Errorf("threshold %v, %d of 10 down: %v, want no endpoint", tt.threshold, tt.down, err)
				}
				return
			}
			if got := choices(t, b, 100, uprung.Success); len(got) != tt.want {
				t.Errorf("threshold %v, %d of 10 down: picked %v, want %d endpoints", tt.threshold, tt.down, got, tt.want)
			}
		})
	}
}

// A zone that says it is overloaded is left, by as much as it says so, and returned
// to.
func TestOverloadedZoneIsLeft(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := mustNew(t, Static(slices.Concat(zoned(0, "n", 5), zoned(0, "s", 5))), &Options{Policy: pick.RoundRobin{}, Zone: "n", Seed: 1})
		choices(t, b, 3000, uprung.Overload) // as long as any go there
		now := choices(t, b, 1000, uprung.Ignored)
		if got := share(now, "n0"); got > 0.1 {
			t.Errorf("share of the overloaded zone is %.2f, want at most 0.1", got)
		}
		if got := b.Stats().LeftZone; got < 900 {
			t.Errorf("%d requests have left the zone, want 900 at least", got)
		}
		time.Sleep(time.Minute)
		if got := share(choices(t, b, 1000, uprung.Success), "n0"); got < 0.99 {
			t.Errorf("share of the zone a minute later is %.2f, want 0.99 at least", got)
		}
	})
}

func TestZoneInFlight(t *testing.T) {
	t.Parallel()
	b := mustNew(t, Static(slices.Concat(zoned(0, "n", 2), zoned(0, "s", 2))), &Options{Policy: pick.LeastRequest{}, Zone: "n", ZoneInFlight: 3})
	counts := map[string]int{}
	for range 10 {
		e := &exchange{b: b, request: &http.Request{}}
		if err := e.choose(nil); err != nil {
			t.Fatal(err)
		}
		counts[e.node.Zone]++
	}
	if counts["n"] != 6 || counts["s"] != 4 {
		t.Errorf("requests are %v, want 6 in the own zone", counts)
	}
}

// getsItsShareSlowly checks that an endpoint, one of n, is under the curve of a slow start
// that begins now, and the shares of the others among one another stay as they were.
func getsItsShareSlowly(t *testing.T, b *Balancer, endpoint string, n int) {
	t.Helper()
	for i := range 11 {
		got := choices(t, b, 1000*n, uprung.Success)
		since := time.Duration(i) * time.Second
		fair := 1000 * warmth(since+100*time.Millisecond, 10*time.Second)
		if n := float64(got[endpoint]); n > 1.35*fair+30 {
			t.Errorf("after %v %s got %v requests, want at most about %.0f", since, endpoint, n, fair)
		}
		delete(got, endpoint)
		for id, n := range got {
			if n > 1700 {
				t.Errorf("after %v, %s got %d requests, want about 1000", since, id, n)
			}
		}
		time.Sleep(time.Second)
	}
}

// An endpoint that is new gets its share by the curve.
func TestTrap16SlowStart(t *testing.T) {
	t.Parallel()
	for name, policy := range map[string]pick.Policy{"AgeEWMA": nil, "PowerOfTwo": pick.PowerOfTwo{}, "RoundRobin": pick.RoundRobin{}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := &changing{endpoints: zoned(0, "n", 10)}
				b := mustNew(t, r, &Options{Policy: policy, Refresh: time.Minute, SlowStart: 10 * time.Second, Seed: 1})
				start(t, b)
				choices(t, b, 100, uprung.Success)
				time.Sleep(20 * time.Second)
				if got := choices(t, b, 11_000, uprung.Success); len(got) != 10 {
					t.Fatalf("picked %v, want 10 endpoints", got)
				}
				r.set(nil, append(zoned(0, "n", 10), Endpoint{Addr: "new:80"})...)
				for b.Stats().Resolved < 2 {
					time.Sleep(100 * time.Millisecond)
				}
				getsItsShareSlowly(t, b, "new:80", 11)
			})
		})
	}
}

// All at once are new, or come back: nobody is there to go slower than.
func TestSlowStartOfAll(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := &changing{endpoints: zoned(0, "n", 3)}
		b := mustNew(t, r, nil)
		start(t, b)
		for _, e := range b.Stats().Endpoints {
			if e.Share != 1 {
				t.Errorf("share of %s is %v at first, want 1", e.ID, e.Share)
			}
		}
		r.set(nil, zoned(0, "s", 3)...)
		time.Sleep(34 * time.Second)
		for _, e := range b.Stats().Endpoints {
			if e.Zone != "s" || e.Share != 1 {
				t.Errorf("share of %s is %v, want 1, as all are new", e.ID, e.Share)
			}
		}
	})
}

// Whichever endpoint of whichever level is new, it gets its share of the level.
func TestSlowStartInAnyPlace(t *testing.T) {
	t.Parallel()
	for _, added := range []string{"a0-0:80", "n0-5:80", "z0-9:80", "a1-0:80", "z1-9:80"} {
		t.Run(added, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				// Of level 0, one of four is usable.
				endpoints := slices.Concat(zoned(0, "n", 4), zoned(1, "n", 4))
				r := &changing{endpoints: endpoints}
				b := mustNew(t, r, &Options{Policy: pick.RoundRobin{}, Refresh: time.Hour, Seed: 3, Probe: health.ProberFunc(func(_ context.Context, addr string) error {
					if strings.HasPrefix(addr, "n0-") && addr != "n0-3:80" {
						return errors.New("down")
					}
					return nil
				})})
				start(t, b)
				time.Sleep(time.Minute)
				choices(t, b, 1, uprung.Success)
				level := int(added[1] - '0')
				r.set(nil, append(endpoints, Endpoint{Addr: added, Priority: level})...)
				if err := b.resolve(t.Context(), false); err != nil {
					t.Fatal(err)
				}
				time.Sleep(3 * time.Second)
				got := choices(t, b, 20_000, uprung.Success)
				// Its share is 0.3 of one of those that are usable in its level.
				mates := []float64{1, 4}[level]
				of := 0
				for id, n := range got {
					if int(id[1]-'0') == level {
						of += n
					}
				}
				want := float64(of) * 0.3 / (mates + 0.3)
				if n := float64(got[added]); n < 0.75*want || n > 1.3*want {
					t.Errorf("got %v of the %d requests of its level, want about %.0f", n, of, want)
				}
			})
		})
	}
}

// A level whose endpoints come back is not overrun while another can serve, and takes
// over as they get warm; and one that gets more endpoints gives nothing away.
func TestSlowStartOfALevel(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var down atomic.Bool
		endpoints := slices.Concat(zoned(0, "n", 2), zoned(1, "s", 2))
		r := &changing{endpoints: endpoints}
		b := mustNew(t, r, &Options{Refresh: time.Hour, Seed: 1, Probe: health.ProberFunc(func(_ context.Context, addr string) error {
			if down.Load() && addr[0] == 'n' {
				return errors.New("down")
			}
			return nil
		})})
		start(t, b)
		time.Sleep(10 * time.Second)
		if got := share(choices(t, b, 1000, uprung.Success), "n"); got != 1 {
			t.Errorf("level 0 got %v of all, want all", got)
		}
		down.Store(true)
		time.Sleep(time.Minute)
		if got := share(choices(t, b, 1000, uprung.Success), "n"); got != 0 {
			t.Errorf("level 0 got %v while it is down, want nothing", got)
		}
		down.Store(false)
		for v := b.monitor.View(); !v.Usable("n0-0:80") || !v.Usable("n0-1:80"); v = b.monitor.View() {
			time.Sleep(10 * time.Millisecond)
		}
		back := time.Now() // both, as far as requests can tell
		for _, row := range []struct {
			after time.Duration
			want  float64
		}{{0, 0.1}, {time.Second, 0.1}, {3 * time.Second, 0.3}, {5 * time.Second, 0.5}, {8 * time.Second, 1}, {20 * time.Second, 1}} {
			time.Sleep(time.Until(back.Add(row.after)))
			choices(t, b, 1, uprung.Success)
			got, want := choices(t, b, 10_000, uprung.Success), min(1, overprovisioned*row.want)
			if got := share(got, "n"); math.Abs(got-want) > 0.1 {
				t.Errorf("after %v level 0 got %v of all, want about %v", row.after, got, want)
			}
			if a, b := got["n0-0:80"], got["n0-1:80"]; a < b/2 || b < a/2 {
				t.Errorf("after %v its endpoints got %d and %d, want about as many, as they are as cold", row.after, a, b)
			}
		}
		r.set(nil, append(endpoints, zoned(0, "m", 8)...)...)
		if err := b.resolve(t.Context(), false); err != nil {
			t.Fatal(err)
		}
		if got := choices(t, b, 10_000, uprung.Success); share(got, "s") != 0 {
			t.Errorf("picked %v, want none of level 1 because level 0 has new endpoints", got)
		}
	})
}

// The endpoints of the own zone come back: the others help until they are warm.
func TestSlowStartOfAZone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var down atomic.Bool
		b := mustNew(t, Static(slices.Concat(zoned(0, "n", 2), zoned(0, "s", 2))), &Options{
			Zone: "n", Refresh: time.Hour, Seed: 1, Probe: health.ProberFunc(func(_ context.Context, addr string) error {
				if down.Load() && addr[0] == 'n' {
					return errors.New("down")
				}
				return nil
			}),
		})
		start(t, b)
		time.Sleep(10 * time.Second)
		down.Store(true)
		time.Sleep(time.Minute)
		choices(t, b, 1, uprung.Success)
		down.Store(false)
		for v := b.monitor.View(); !v.Usable("n0-0:80") || !v.Usable("n0-1:80"); v = b.monitor.View() {
			time.Sleep(10 * time.Millisecond)
		}
		if got := share(choices(t, b, 10_000, uprung.Success), "n"); math.Abs(got-0.14) > 0.05 {
			t.Errorf("the own zone got %v of all at first, want about 0.14", got)
		}
		time.Sleep(10 * time.Second)
		choices(t, b, 1, uprung.Success)
		if got := share(choices(t, b, 1000, uprung.Success), "n"); got != 1 {
			t.Errorf("the own zone got %v of all in the end, want all", got)
		}
	})
}

// A key moves once at most during the slow start of the endpoint that takes it over.
func TestKeysMoveOnceDuringASlowStart(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := &changing{endpoints: zoned(0, "n", 9)}
		b := mustNew(t, r, &Options{Policy: ByKey(nil), Key: func(r *http.Request) (string, bool) { return r.Header.Get("User"), true }})
		at := func(user int) string {
			e := &exchange{b: b, request: &http.Request{Header: http.Header{"User": {fmt.Sprint(user)}}}}
			if err := e.choose(nil); err != nil {
				t.Fatal(err)
			}
			e.end(b.now(), uprung.Success)
			return e.node.ID
		}
		const users = 1000
		var home [users]string
		for i := range home {
			home[i] = at(i)
		}
		r.set(nil, append(zoned(0, "n", 9), Endpoint{Addr: "a:80"})...) // the first by ID
		if err := b.resolve(t.Context(), false); err != nil {
			t.Fatal(err)
		}
		moved := make(map[int]int)
		for step := range 12 {
			here := 0
			for i := range home {
				for range 3 {
					switch got := at(i); {
					case got == home[i]:
					case got == "a:80":
						moved[i]++
						home[i] = got
					default:
						t.Fatalf("user %d moved from %s to %s", i, home[i], got)
					}
				}
				if home[i] == "a:80" {
					here++
				}
			}
			if most := int(150 * warmth(time.Duration(step)*time.Second, 10*time.Second)); here > most {
				t.Errorf("after %ds the new endpoint has %d of %d keys, want %d at most", step, here, users, most)
			}
			time.Sleep(time.Second)
		}
		if len(moved) < 50 {
			t.Errorf("%d keys have moved in the end, want about 100", len(moved))
		}
		for i, times := range moved {
			if times > 1 {
				t.Errorf("user %d moved %d times", i, times)
			}
		}
	})
}

// Weights of the size of SRV records make a ring of moderate size, in proportion.
func TestByKeyTakesLargeWeights(t *testing.T) {
	t.Parallel()
	b := mustNew(t, Static{
		{Addr: "a:80", Weight: 65535}, {Addr: "b:80", Weight: 65534}, {Addr: "c:80", Weight: 21845}, {Addr: "d:80"},
	}, &Options{Policy: ByKey(nil), Seed: 1})
	got := choices(t, b, 30_000, uprung.Success)
	for id, want := range map[string]float64{"a:80": 3.0 / 7, "b:80": 3.0 / 7, "c:80": 1.0 / 7, "d:80": 0} {
		if part := float64(got[id]) / 30_000; math.Abs(part-want) > 0.02 {
			t.Errorf("%s got %.3f of all, want %.3f", id, part, want)
		}
	}
	for _, row := range []struct{ weights, want []int }{
		{[]int{0, 1, 100, 3000}, []int{1, 1, 100, 3000}},
		{[]int{1, 2, 3, 4095, 1}, []int{1, 1, 2, 2048, 1}},
		{[]int{65535, 1}, []int{2048, 1}},
	} {
		nodes := make([]shard.Node, len(row.weights))
		for i, w := range row.weights {
			nodes[i].Weight = w
		}
		halve(nodes)
		for i, n := range nodes {
			if n.Weight != row.want[i] {
				t.Errorf("%v: weight %d became %d, want %d", row.weights, row.weights[i], n.Weight, row.want[i])
			}
		}
	}
}

func TestWarmth(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		since time.Duration
		want  float64
	}{{0, 0.1}, {time.Second, 0.1}, {5 * time.Second, 0.5}, {10 * time.Second, 1}, {time.Hour, 1}, {-never, 1}} {
		if got := warmth(row.since, 10*time.Second); got != row.want {
			t.Errorf("warmth after %v is %v, want %v", row.since, got, row.want)
		}
	}
}

// Requests of one key meet, and an endpoint that goes moves only its own keys.
func TestByKey(t *testing.T) {
	t.Parallel()
	policy := ByKey(nil)
	b := mustNew(t, Static(zoned(0, "n", 5)), &Options{
		Policy: policy, Key: func(r *http.Request) (string, bool) { k := r.Header.Get("User"); return k, k != "" },
		Eligible: func(id string) bool { return id != "n0-3:80" },
	})
	all := mustNew(t, Static(zoned(0, "n", 5)), &Options{Policy: policy, Key: b.o.Key})
	one := func(b *Balancer, user string) string {
		e := &exchange{b: b, request: &http.Request{Header: http.Header{"User": {user}}}}
		if err := e.choose(nil); err != nil {
			t.Fatal(err)
		}
		defer e.end(0, uprung.Success)
		return e.node.ID
	}
	users := map[string]string{}
	for i := range 200 {
		user := fmt.Sprint("user", i)
		home := one(all, user)
		if users[home] = user; one(all, user) != home {
			t.Errorf("%s is not always at %s", user, home)
		}
		if got := one(b, user); home != "n0-3:80" && got != home || got == "n0-3:80" {
			t.Errorf("%s is at %s while n0-3 is refused, was at %s", user, got, home)
		}
	}
	if len(users) != 5 {
		t.Errorf("users are at %v, want 5 endpoints", users)
	}
	// Without a key anything will do.
	keyless := map[string]bool{}
	for range 200 {
		e := &exchange{b: all, request: &http.Request{}}
		if err := e.choose(nil); err != nil {
			t.Fatal(err)
		}
		keyless[e.node.ID] = true
	}
	if len(keyless) != 5 {
		t.Errorf("requests without a key are at %v, want 5 endpoints", keyless)
	}
}

func TestEligibleAndTried(t *testing.T) {
	t.Parallel()
	refused := map[string]bool{}
	b := mustNew(t, Addrs("a:80", "b:80", "c:80"), &Options{Eligible: func(id string) bool { return !refused[id] }})
	attempt := new(uprung.Attempt)
	request := (&http.Request{}).WithContext(uprung.WithAttempt(t.Context(), attempt))
	choose := func() (string, error) {
		e := &exchange{b: b, request: request}
		if err := e.choose(nil); err != nil {
			return "", err
		}
		e.end(b.now(), uprung.Success)
		return e.node.ID, nil
	}
	for range 3 {
		if _, err := choose(); err != nil {
			t.Fatal(err)
		}
	}
	tried := attempt.Tried()
	slices.Sort(tried)
	if !slices.Equal(tried, []string{"a:80", "b:80", "c:80"}) {
		t.Errorf("three attempts went to %v, want each once", tried)
	}
	if _, err := choose(); err != nil {
		t.Errorf("a fourth attempt = %v, want any endpoint again", err)
	}
	refused["a:80"], refused["b:80"] = true, true
	for range 20 {
		if id, err := choose(); id != "c:80" {
			t.Errorf("chose %q, %v, want the only one that is eligible", id, err)
		}
	}
	refused["c:80"] = true
	if id, err := choose(); !errors.Is(err, ErrNoEndpoint) {
		t.Errorf("chose %q, %v, want no endpoint", id, err)
	}
}

func TestSeed(t *testing.T) {
	t.Parallel()
	run := func(seed uint64) []string {
		b := mustNew(t, Static(zoned(0, "n", 10)), &Options{Policy: pick.PowerOfTwo{}, Seed: seed})
		var ids []string
		for range 50 {
			e := &exchange{b: b, request: &http.Request{}}
			if err := e.choose(nil); err != nil {
				t.Fatal(err)
			}
			ids = append(ids, e.node.ID)
		}
		return ids
	}
	if a, b := run(1), run(1); !slices.Equal(a, b) {
		t.Errorf("one seed chose %v and then %v", a, b)
	}
	if a, b := run(1), run(2); slices.Equal(a, b) {
		t.Errorf("two seeds chose %v", a)
	}
}

// To choose and to end costs no allocation but that of the exchange.
func TestChooseAllocs(t *testing.T) {
	b := mustNew(t, Static(zoned(0, "n", 10)), &Options{Zone: "n", Eligible: func(string) bool { return true }})
	request := &http.Request{}
	choices(t, b, 100, uprung.Success)
	if got := testing.AllocsPerRun(1000, func() {
		e := &exchange{b: b, request: request}
		if err := e.choose(nil); err != nil {
			t.Fatal(err)
		}
		e.end(b.now(), uprung.Success)
	}); got > 1 {
		t.Errorf("allocates %v times, want 1", got)
	}
}
