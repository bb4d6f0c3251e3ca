package ratelimit

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/uprung/uprung"
	"github.com/uprung/uprung/key"
)

func set(t *testing.T, l *Limiter, limit Limit) {
	t.Helper()
	if err := l.SetLimit(limit); err != nil {
		t.Fatal(err)
	}
	if got := l.Limit(); got != limit {
		t.Errorf("Limit() is %v, want %v", got, limit)
	}
}

func TestLimitChangeKeepsWhatWasSpent(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		from  Limit
		spent int64
		via   []Limit
		want  int64 // of the last limit
	}{
		{"raise", PerHour(100), 70, []Limit{PerHour(200)}, 130},
		{"raise the rate", PerHour(100), 70, []Limit{PerHour(1000).WithBurst(100)}, 30},
		{"raise the burst", PerHour(100), 100, []Limit{PerHour(100).WithBurst(150)}, 50},
		{"lower", PerHour(100), 30, []Limit{PerHour(50)}, 20},
		{"lower below what is spent", PerHour(100), 70, []Limit{PerHour(50)}, 0},
		{"lower the rate", PerHour(100), 70, []Limit{PerHour(7).WithBurst(100)}, 30},
		{"another period", PerHour(100), 70, []Limit{PerDay(100)}, 30},
		{"the same", PerHour(100), 70, []Limit{PerHour(100)}, 30},
		{"there and back", PerHour(100), 70, []Limit{PerHour(300), PerDay(77).WithBurst(100), PerHour(100)}, 30},
		{"via unlimited", PerHour(100), 70, []Limit{Unlimited(), PerHour(100)}, 30},
		{"via unlimited to more", PerHour(100), 70, []Limit{Unlimited(), PerHour(200)}, 130},
		{"via nothing", PerHour(100), 70, []Limit{{}, PerHour(100)}, 30},
		{"via nothing and unlimited to less", PerHour(100), 100, []Limit{{}, Unlimited(), {}, PerHour(10)}, 0},
		{"from unlimited", Unlimited(), 1e6, []Limit{PerHour(10)}, 10},
		{"from nothing", Limit{}, 0, []Limit{PerHour(10)}, 10},
		{"rates that round", Limit{Events: 7, Period: 3 * time.Hour, Burst: 90}, 41, []Limit{{Events: 11, Period: 13 * time.Hour, Burst: 90}}, 49},
	} {
		synctest.Test(t, func(t *testing.T) {
			l := newLimiter(t, tt.from, nil)
			if tt.spent > 0 && !l.AllowN("k", tt.spent) {
				t.Fatalf("%s: %d are denied", tt.name, tt.spent)
			}
			for _, limit := range tt.via {
				set(t, l, limit)
			}
			last := tt.via[len(tt.via)-1]
			res, err := l.Peek("k")
			if err != nil || res.Remaining != tt.want || res.Limit != last.burst() {
				t.Errorf("%s: %+v, %v, want %d of %d", tt.name, res, err, tt.want, last.burst())
			}
			if got := remaining(t, l, "other"); got != last.burst() {
				t.Errorf("%s: a key that spent nothing has %d, want all", tt.name, got)
			}
			if l.AllowN("k", tt.want+1) || tt.want > 0 && !l.AllowN("k", tt.want) {
				t.Errorf("%s: what is granted is not what remains", tt.name)
			}
			sound(t, l)
		})
	}
	for _, bad := range []Limit{{Events: -1}, {Events: 1}, PerSecond(fastest + 1)} {
		l := newLimiter(t, PerHour(10), nil)
		if err := l.SetLimit(bad); err == nil || !strings.HasPrefix(err.Error(), "ratelimit: Limit.") || l.Limit() != PerHour(10) {
			t.Errorf("SetLimit(%+v) = %v and the limit is %v", bad, err, l.Limit())
		}
	}
}

// However often the limit changes, nobody gains an event by it, and nobody loses
// one.
func TestLoweringRefillsNobody(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		limits := []Limit{PerDay(100), PerHour(100), PerMinute(9).WithBurst(100), PerDay(31).WithBurst(100), PerSecond(3).WithBurst(100)}
		l := newLimiter(t, limits[0], nil)
		r := seeded(t)
		spent := map[string]int64{}
		for i := range 2000 {
			k := fmt.Sprint("k", r.IntN(10))
			if n := int64(1 + r.IntN(3)); l.AllowN(k, n) {
				spent[k] += n
			}
			set(t, l, limits[r.IntN(len(limits))])
			if got, want := remaining(t, l, k), 100-spent[k]; got > want {
				t.Fatalf("change %d: %q has %d, want at most %d", i, k, got, want)
			}
		}
		for k, n := range spent {
			if n < 95 { // each change may cost a tick, and so each grant one event
				t.Errorf("%q was granted %d of 100", k, n)
			}
		}
		// Where an event is a few ticks, what rounding could give back is most.
		fast := []Limit{{Events: ticksPerNano, Period: 5, Burst: 1000}, {Events: ticksPerNano, Period: 7, Burst: 1000}}
		l = newLimiter(t, fast[1], nil)
		l.AllowN("k", 900)
		time.Sleep(1)
		most := remaining(t, l, "k")
		for i := range 2000 {
			set(t, l, fast[i%2])
			if got := remaining(t, l, "k"); got > most {
				t.Fatalf("change %d: %d remain, want at most %d as before", i, got, most)
			}
		}
	})
}

func TestLimitChangeUnderConcurrency(t *testing.T) {
	t.Parallel()
	for name, via := range map[string][]Limit{
		"rates":     {PerDay(200).WithBurst(100), PerDay(100), PerDay(37).WithBurst(100)},
		"nothing":   {{}, PerDay(100)},
		"the burst": {PerDay(100), PerDay(60), PerDay(30), PerDay(10)}, // only ever down
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const keys = 20
			l := newLimiter(t, PerDay(100), nil)
			var granted [keys]atomic.Int64
			var done atomic.Bool
			var wg sync.WaitGroup
			wg.Go(func() {
				for i := 0; !done.Load(); i++ {
					if name == "the burst" {
						i = min(i, len(via)-1)
					}
					if err := l.SetLimit(via[i%len(via)]); err != nil {
						t.Error(err)
						return
					}
				}
			})
			together(8, func(int) {
				for i := range 600 * keys {
					if l.Allow(fmt.Sprint("k", i%keys)) {
						granted[i%keys].Add(1)
					}
				}
			})
			done.Store(true)
			wg.Wait()
			for i := range granted {
				got := granted[i].Load()
				if got > 100 {
					t.Errorf("key %d was granted %d, want at most 100", i, got)
				}
				if name == "rates" {
					if left := remaining(t, l, fmt.Sprint("k", i)); got+left > 100 {
						t.Errorf("key %d was granted %d and has %d left, want 100 at most", i, got, left)
					}
				}
			}
			sound(t, l)
		})
	}
}

func TestRefundNeverLiftsAboveBurst(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := newLimiter(t, PerHour(10), nil)
		for _, tt := range []struct {
			take, refund, want int64
		}{
			{4, 1, 7}, {0, 1, 8}, {0, 0, 8}, {0, 100, 10}, {10, 3, 3}, {3, 1 << 62, 10}, {0, 5, 10},
		} {
			if !l.AllowN("k", tt.take) {
				t.Fatalf("%d are denied", tt.take)
			}
			if err := l.Refund("k", tt.refund); err != nil {
				t.Fatal(err)
			}
			if got := remaining(t, l, "k"); got != tt.want {
				t.Errorf("%d taken and %d refunded leave %d, want %d", tt.take, tt.refund, got, tt.want)
			}
		}
		l.AllowN("k", 10)
		l.Reset("k")
		if got := remaining(t, l, "k"); got != 10 {
			t.Errorf("Reset leaves %d, want 10", got)
		}
		// A refund of what has long come back is none.
		l.AllowN("k", 5)
		time.Sleep(29 * time.Minute) // 4.8 events
		if err := l.Refund("k", 5); err != nil || remaining(t, l, "k") != 10 {
			t.Errorf("Refund: %v, %d left, want 10", err, remaining(t, l, "k"))
		}
		if !l.AllowN("k", 10) || l.Allow("k") {
			t.Error("the refunded bucket is not the burst")
		}
		if err := l.Refund("k", -1); err == nil || err.Error() != "ratelimit: refund is -1 events, want >= 0" {
			t.Errorf("Refund(-1) = %v", err)
		}
	})
}

func TestConcurrentRefundAndAllow(t *testing.T) {
	t.Parallel()
	const burst, goroutines = 50, 8
	l := newLimiter(t, PerDay(burst), nil)
	var held, most, granted atomic.Int64
	together(goroutines, func(g int) {
		for i := range 3000 {
			if !l.Allow("k") {
				continue
			}
			granted.Add(1)
			now := held.Add(1)
			for old := most.Load(); now > old && !most.CompareAndSwap(old, now); old = most.Load() {
			}
			if i == 2999-g { // keeps one
				return
			}
			held.Add(-1)
			if err := l.Refund("k", 1); err != nil {
				t.Error(err)
			}
		}
	})
	if most.Load() > burst {
		t.Errorf("%d events were held at one time, want at most %d", most.Load(), burst)
	}
	if granted.Load() < goroutines*1000 {
		t.Errorf("only %d were granted", granted.Load())
	}
	if got, want := remaining(t, l, "k"), burst-held.Load(); got != want {
		t.Errorf("%d remain while %d are held, want %d", got, held.Load(), want)
	}
}

// The limits of a group grant together or not at all, and an error takes back
// what was taken before it.
func TestGroupTakesFromAllOrNone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		wide := newLimiter(t, PerDay(100), &Options{Name: "wide"})
		narrow := newLimiter(t, PerSecond(5), &Options{Name: "narrow", LimitFor: func(k string) (Limit, bool) {
			return Limit{Events: -1}, k == "broken"
		}})
		for _, order := range [][]*Limiter{{wide, narrow}, {narrow, wide}} {
			g, err := All(order...)
			if err != nil {
				t.Fatal(err)
			}
			wide.Reset("k")
			narrow.Reset("k")
			if !g.AllowN("k", 5) || g.Allow("k") || g.AllowN("k", 3) || g.AllowN("k", 6) || g.AllowN("k", -1) {
				t.Error("the narrow limit does not decide")
			}
			if res, err := g.Take(t.Context(), "k", 1); err != nil || res.Allowed || res.RetryAfter != 200*time.Millisecond {
				t.Errorf("Take = %+v, %v, want to retry after 200ms", res, err)
			}
			if _, err := g.Take(t.Context(), "k", 6); !errors.Is(err, ErrExceedsBurst) {
				t.Errorf("Take(6) = %v, want ErrExceedsBurst", err)
			}
			if a, b := remaining(t, wide, "k"), remaining(t, narrow, "k"); a != 95 || b != 0 {
				t.Errorf("%d and %d remain, want 95 and 0", a, b)
			}
			if _, err := g.Take(t.Context(), "broken", 1); err == nil || g.Allow("broken") {
				t.Error("an invalid limit grants")
			}
			if got := remaining(t, wide, "broken"); got != 100 {
				t.Errorf("the error of another limiter costs: %d remain, want 100", got)
			}
		}
	})
}

func TestGroupUnderConcurrency(t *testing.T) {
	t.Parallel()
	wide := newLimiter(t, PerDay(200), &Options{Name: "wide"})
	narrow := newLimiter(t, PerDay(100), &Options{Name: "narrow"})
	g, err := All(wide, narrow)
	if err != nil {
		t.Fatal(err)
	}
	var granted atomic.Int64
	together(16, func(int) {
		for range 500 {
			if g.Allow("k") {
				granted.Add(1)
			}
		}
	})
	if granted.Load() != 100 || remaining(t, wide, "k") != 100 || remaining(t, narrow, "k") != 0 {
		t.Errorf("%d granted, %d and %d remain, want 100, 100, 0", granted.Load(), remaining(t, wide, "k"), remaining(t, narrow, "k"))
	}
}

func TestLimitForGivesAKeyItsOwn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := newLimiter(t, PerHour(10), &Options{LimitFor: func(k string) (Limit, bool) {
			switch k {
			case "big":
				return PerHour(1000), true
			case "free":
				return Unlimited(), true
			case "banned":
				return Limit{}, true
			case "broken":
				return Limit{Events: -1}, true
			}
			return Limit{}, false
		}})
		for _, tt := range []struct {
			key  string
			n    int64
			want bool
		}{
			{"anyone", 10, true}, {"anyone", 1, false},
			{"big", 1000, true}, {"big", 1, false},
			{"free", 1 << 60, true}, {"free", 1 << 60, true},
			{"banned", 1, false}, {"broken", 1, false},
		} {
			if got := l.AllowN(tt.key, tt.n); got != tt.want {
				t.Errorf("AllowN(%q, %d) = %v, want %v", tt.key, tt.n, got, tt.want)
			}
		}
		if err := l.Refund("big", 400); err != nil || remaining(t, l, "big") != 400 {
			t.Errorf("Refund: %v, %d remain, want 400", err, remaining(t, l, "big"))
		}
		_, takeErr := l.Take(t.Context(), "broken", 1)
		for _, err := range []error{takeErr, l.Refund("broken", 1), l.Wait(t.Context(), "broken", 1)} {
			if err == nil || err.Error() != "ratelimit: LimitFor: Limit.Events is -1, want >= 0" {
				t.Errorf("got %v, want an error that names the field", err)
			}
		}
		// The limit of the others does not touch those with their own.
		set(t, l, PerHour(20))
		if got := remaining(t, l, "big"); got != 400 {
			t.Errorf("%d remain, want 400 as before", got)
		}
	})
}

func TestModes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := newLimiter(t, PerHour(2), &Options{Mode: uprung.Shadow})
		for i := range 5 {
			res, err := l.Take(t.Context(), "k", 1)
			want := Result{Allowed: true, Granted: 1, Limit: 2, Remaining: max(1-int64(i), 0), Shadowed: i >= 2,
				ResetAfter: min(time.Duration(i+1), 2) * 30 * time.Minute}
			if err != nil || res != want {
				t.Errorf("call %d under Shadow: %+v, %v, want %+v", i, res, err, want)
			}
		}
		if !l.Allow("k") || l.Wait(t.Context(), "k", 1) != nil || !l.AllowN("k", 3) {
			t.Error("Shadow denies")
		}
		if s := l.Stats(); s.Granted != 2 || s.ShadowDenied != 6 || s.Denied != 0 {
			t.Errorf("%+v, want 2 granted and 6 shadow denied", s)
		}
		for mode, want := range map[uprung.Mode]bool{uprung.Enforce: false, uprung.Off: true, uprung.Shadow: true} {
			if err := l.SetMode(mode); err != nil || l.Mode() != mode {
				t.Errorf("SetMode(%v) = %v, and it is %v", mode, err, l.Mode())
			}
			if got := l.Allow("k"); got != want {
				t.Errorf("%v: Allow = %v, want %v", mode, got, want)
			}
		}
		if err := l.SetMode(uprung.Percent(-1)); err == nil || !strings.HasPrefix(err.Error(), "ratelimit: Mode: ") {
			t.Errorf("SetMode(Percent(-1)) = %v", err)
		}
		// What is spent under one mode counts under the next, and Off spends nothing.
		if err := errors.Join(l.SetMode(uprung.Off)); err != nil {
			t.Fatal(err)
		}
		if before := l.Stats(); !l.AllowN("off", 100) || l.Stats() != before {
			t.Errorf("Off counts: %+v, want %+v", l.Stats(), before)
		}
		if got := remaining(t, l, "off"); got != 2 {
			t.Errorf("Off spends: %d remain, want 2", got)
		}
	})
}

func TestPercentEnforcesForItsShare(t *testing.T) {
	t.Parallel()
	mode := uprung.Percent(30)
	l := newLimiter(t, Limit{}, &Options{Mode: mode})
	denied := 0
	for i := range 1000 {
		k := fmt.Sprint("user:", i)
		if got, want := l.Allow(k), !mode.Enforces(k); got != want {
			t.Errorf("Allow(%q) = %v, want %v", k, got, want)
		} else if !got {
			denied++
		}
	}
	s := l.Stats()
	if s.Denied != uint64(denied) || s.ShadowDenied != uint64(1000-denied) || denied < 200 || denied > 400 {
		t.Errorf("%+v with %d denied of 1000, want about 300", s, denied)
	}
}

func TestNewNamesEveryBadOption(t *testing.T) {
	t.Parallel()
	_, err := New(Limit{Events: -1, Period: -1, Burst: -1}, &Options{
		Name: "caf\u00e9", Capacity: -1, Mode: -3, MissingKey: key.Missing(200), Headers: 77, Algorithm: 9,
	})
	if err == nil {
		t.Fatal("everything is accepted")
	}
	lines := strings.Split(err.Error(), "\n")
	for _, want := range []string{"Limit.Events is -1", "Limit.Period is -1ns", "Limit.Burst is -1", `Name is "caf`, "Capacity is -1", "Mode: ", "MissingKey: ", "Headers is 77", "Algorithm is 9"} {
		found := false
		for _, line := range lines {
			found = found || strings.HasPrefix(line, "ratelimit: "+want)
		}
		if !found {
			t.Errorf("no line begins with %q:\n%v", "ratelimit: "+want, err)
		}
	}
	for _, tt := range []struct {
		options Options
		ok      bool
	}{
		{Options{}, true},
		{Options{Name: strings.Repeat("x", 64)}, true},
		{Options{Name: strings.Repeat("x", 65)}, false},
		{Options{Name: `a "quoted\ name" ~`}, true},
		{Options{Name: "a\tb"}, false},
		{Options{Name: "a\x7f"}, false},
		{Options{Name: "a\nSet-Cookie: b"}, false},
		{Options{Capacity: 1}, true},
		{Options{Capacity: 1<<26 + 1}, false},
		{Options{Mode: uprung.Percent(12.5)}, true},
		{Options{Mode: uprung.Percent(101)}, false},
		{Options{Headers: HeadersNone}, true},
	} {
		if _, err := New(PerDay(1), &tt.options); (err == nil) != tt.ok {
			t.Errorf("%+v: %v, want ok %v", tt.options, err, tt.ok)
		}
	}
}

func TestOptionsAreCopied(t *testing.T) {
	t.Parallel()
	o := &Options{Name: "before", Capacity: 10}
	l := newLimiter(t, PerDay(1), o)
	*o = Options{Name: "after", LimitFor: func(string) (Limit, bool) { return Unlimited(), true }, Skip: func(*http.Request) bool { return true }}
	if !l.Allow("k") || l.Allow("k") || l.Layer().Name != "before" {
		t.Error("later edits of the options took effect")
	}
}

// The budget of every decision is no allocation, whatever it meets.
func TestDecisionsDoNotAllocate(t *testing.T) {
	keys := make([]string, 4096)
	for i := range keys {
		keys[i] = fmt.Sprint("key number ", i)
	}
	ctx, now := t.Context(), time.Now()
	own := func(k string) (Limit, bool) { return PerDay(5), len(k)%2 == 0 }
	for _, tt := range []struct {
		name  string
		limit Limit
		o     *Options
	}{
		{"allowed", PerSecond(1e9), nil},
		{"denied", Limit{}, nil},
		{"limited", PerDay(3), nil},
		{"evicted", PerDay(3), &Options{Capacity: 8}},
		{"unlimited", Unlimited(), nil},
		{"LimitFor", PerDay(3), &Options{LimitFor: own}},
		{"shadow", PerDay(1), &Options{Mode: uprung.Shadow}},
		{"percent", PerDay(1), &Options{Mode: uprung.Percent(50)}},
		{"window", PerDay(3), &Options{Algorithm: SlidingWindow}},
	} {
		l := newLimiter(t, tt.limit, tt.o)
		i := 0
		for name, f := range map[string]func(k string){
			"Allow":    func(k string) { l.Allow(k) },
			"AllowN":   func(k string) { l.AllowN(k, 2) },
			"Take":     func(k string) { _, _ = l.Take(ctx, k, 1) },
			"TakeAt":   func(k string) { _, _ = l.TakeAt(now, k, 1) },
			"TakeUpTo": func(k string) { _, _ = l.TakeUpTo(ctx, k, 9) },
			"Peek":     func(k string) { _, _ = l.Peek(k) },
			"Refund":   func(k string) { _ = l.Refund(k, 1) },
			"Reset":    func(k string) { l.Reset(k) },
			"too many": func(k string) { _, _ = l.Take(ctx, k, 1<<40) },
		} {
			known := testing.AllocsPerRun(100, func() { f(keys[0]) })
			fresh := testing.AllocsPerRun(300, func() {
				i++
				f(keys[i%len(keys)])
			})
			if known != 0 || fresh != 0 {
				t.Errorf("%s, %s: %v allocations for a known key and %v for a new one, want none", tt.name, name, known, fresh)
			}
		}
	}
}

// Off is the switch for the bad night, and Shadow only watches: neither stops
// anything, not even for a limit of a key that is invalid.
func TestWhatDoesNotEnforceStopsNobody(t *testing.T) {
	t.Parallel()
	broken := func(string) (Limit, bool) { return Limit{Events: -1}, true }
	for _, mode := range []uprung.Mode{uprung.Off, uprung.Shadow} {
		l := newLimiter(t, PerHour(1), &Options{Capacity: 8, Mode: mode, LimitFor: broken})
		if !l.Allow("k") {
			t.Errorf("%v: Allow denies", mode)
		}
		if res, err := l.Take(t.Context(), "k", 1); !res.Allowed || err != nil {
			t.Errorf("%v: Take gives %+v, %v", mode, res, err)
		}
		if err := l.Wait(t.Context(), "k", 1); err != nil {
			t.Errorf("%v: Wait gives %v", mode, err)
		}
		if g := group(t, l); !g.Allow("k") {
			t.Errorf("%v: a group denies", mode)
		}
	}
}

// A refund in parts gives back no more than was taken at once.
func TestRefundInPartsMintsNothing(t *testing.T) {
	t.Parallel()
	l := newLimiter(t, PerSecond(5e9), &Options{Capacity: 8}) // 2.4 ticks an event
	now := l.ticks(0)
	if err := l.decide(&call{hash: 1, now: now, n: 20_000}); err != nil {
		t.Fatal(err)
	}
	for range 10_000 {
		if err := l.refund(&call{hash: 1, now: now, n: 1}); err != nil {
			t.Fatal(err)
		}
	}
	c := call{hash: 1, now: now}
	if err := l.decide(&c); err != nil {
		t.Fatal(err)
	}
	if c.debt < 24_000 {
		t.Errorf("%d ticks of debt for 10,000 events, want at least 24,000", c.debt)
	}
}
