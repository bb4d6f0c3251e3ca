package limittest

import (
	"errors"
	"math"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/uprung/uprung"
	"github.com/uprung/uprung/ratelimit"
)

// checks are all there are, in the order of the package comment.
var checks = []check{
	{"burst", testBurst},
	{"refill", testRefill},
	{"rate", testRate},
	{"concurrent", testConcurrent},
	{"keys", testKeys},
	{"cost", testCost},
	{"exceeding", testExceeding},
	{"negative", testNegative},
	{"huge", testHuge},
	{"peek", testPeek},
	{"none", testNone},
	{"upto", testUpTo},
	{"refund", testRefund},
	{"reset", testReset},
	{"change", testChange},
	{"own", testOwn},
	{"shadow", testShadow},
}

func testBurst(p *probe) {
	l := p.limiter(Settings{Limit: ratelimit.PerHour(5)})
	for left := int64(4); left >= 0; left-- {
		res := p.take(l, "k", 1)
		if !res.Allowed || res.Remaining != left || res.Limit != 5 || res.RetryAfter != 0 || res.Granted != 1 {
			p.errorf("with %d left: %+v", left+1, res)
		}
		if used := time.Duration(5-left) * time.Hour / 5; res.ResetAfter > used || res.ResetAfter < used-time.Minute {
			p.errorf("ResetAfter is %v, want %v", res.ResetAfter, used)
		}
	}
	for range 3 { // what is denied costs nothing
		res := p.take(l, "k", 1)
		if res.Allowed || res.Granted != 0 || res.Remaining != 0 || res.Limit != 5 {
			p.errorf("with none left: %+v", res)
		}
		if wait := time.Hour / 5; res.RetryAfter > wait || res.RetryAfter < wait-time.Minute {
			p.errorf("RetryAfter is %v, want %v", res.RetryAfter, wait)
		}
	}
}

func testRefill(p *probe) {
	l := p.limiter(Settings{Limit: ratelimit.Limit{Events: 1, Period: 100 * time.Millisecond, Burst: 1}})
	p.take(l, "k", 1)
	for range 3 {
		asked := time.Now()
		res := p.take(l, "k", 1)
		answered := time.Now()
		if res.Allowed {
			continue // it took so long to ask
		}
		// It may not be granted sooner than RetryAfter, counted from when it was asked.
		time.Sleep(time.Until(asked.Add(res.RetryAfter - 5*time.Millisecond)))
		early := time.Now()
		if res := p.take(l, "k", 1); res.Allowed && time.Since(asked) < res.RetryAfter && early.Before(asked.Add(res.RetryAfter)) {
			p.errorf("granted before RetryAfter was over")
		}
		// And is granted later, counted from when the answer was there.
		time.Sleep(time.Until(answered.Add(res.RetryAfter)))
		if again := p.take(l, "k", 0); again.Remaining != 1 {
			if again := p.take(l, "k", 1); !again.Allowed && time.Since(answered) > res.RetryAfter+100*time.Millisecond {
				p.errorf("still denied %v after an answer of RetryAfter %v", time.Since(answered), res.RetryAfter)
			}
		}
		p.take(l, "k", 1)
	}
}

func testRate(p *probe) {
	const burst, perSecond = 50, 1000
	l := p.limiter(Settings{Limit: ratelimit.PerSecond(perSecond).WithBurst(burst)})
	type grant struct{ asked, answered time.Time }
	var mu sync.Mutex
	var grants []grant
	var callers sync.WaitGroup
	end := time.Now().Add(300 * time.Millisecond)
	for range 4 {
		callers.Go(func() {
			for asks := 0; asks < burst || time.Now().Before(end); asks++ {
				asked := time.Now()
				if res, err := l.Take(p.ctx, "k", 1); err == nil && res.Allowed {
					mu.Lock()
					grants = append(grants, grant{asked, time.Now()})
					mu.Unlock()
				}
			}
		})
	}
	callers.Wait()
	if len(grants) < burst {
		p.errorf("%d events of at least %d were granted, want at least the burst of %d", len(grants), 4*burst, burst)
	}
	// For every stretch: whatever was asked for and answered within it.
	for i := 0; i < len(grants); i += 1 + len(grants)/50 {
		for j := i; j < len(grants); j += 1 + len(grants)/50 {
			from, to := grants[i].asked, grants[j].answered
			n := 0
			for _, g := range grants {
				if !g.asked.Before(from) && !g.answered.After(to) {
					n++
				}
			}
			if most := burst + perSecond*to.Sub(from).Seconds() + 1; float64(n) > most {
				p.errorf("%d events were granted within %v, want at most %.0f", n, to.Sub(from), most)
				return
			}
		}
	}
}

func testConcurrent(p *probe) {
	l := p.limiter(Settings{Limit: ratelimit.PerDay(100)})
	var granted, failed atomic.Int64
	var callers sync.WaitGroup
	for range 64 {
		callers.Go(func() {
			for range 4 {
				res, err := l.Take(p.ctx, "k", 1)
				if err != nil {
					failed.Add(1)
				}
				granted.Add(res.Granted)
			}
		})
	}
	callers.Wait()
	if granted.Load() != 100 || failed.Load() != 0 {
		p.errorf("of 256 events at the same time %d were granted and %d failed, want 100 and 0", granted.Load(), failed.Load())
	}
}

func testKeys(p *probe) {
	l := p.limiter(Settings{Limit: ratelimit.PerDay(1)})
	for _, key := range []string{
		"a", "b", "A", "", " ", "a ", "{a}", "{}", "}", "a}b", "a}c", "{", "#a", "~", "a:b", "a\x00", "\xff\xfe", "ä",
		strings.Repeat("x", 1000) + "1", strings.Repeat("x", 1000) + "2", "2001:db8::1", "192.0.2.1",
	} {
		p.wantTake(l, key, 1, true, 0)
		p.wantTake(l, key, 1, false, 0)
	}
}

func testCost(p *probe) {
	l := p.limiter(Settings{Limit: ratelimit.PerDay(10)})
	p.wantTake(l, "k", 7, true, 3)
	p.wantTake(l, "k", 4, false, 3)
	p.wantTake(l, "k", 3, true, 0)
	p.wantTake(l, "other", 10, true, 0)
}

func testExceeding(p *probe) {
	l := p.limiter(Settings{Limit: ratelimit.PerDay(10)})
	for range 2 {
		res, err := l.Take(p.ctx, "k", 11)
		if !errors.Is(err, ratelimit.ErrExceedsBurst) || res.Allowed || res.RetryAfter != uprung.Never || res.Remaining != 10 {
			p.errorf("Take of 11 of 10 gives %+v, %v; want ErrExceedsBurst, RetryAfter Never, Remaining 10", res, err)
		}
	}
	p.wantTake(l, "k", 10, true, 0)
}

func testNegative(p *probe) {
	l := p.limiter(Settings{Limit: ratelimit.PerDay(10)})
	p.wantTake(l, "k", 4, true, 6)
	for _, n := range []int64{-1, math.MinInt64} {
		if res, err := l.Take(p.ctx, "k", n); err == nil || res.Allowed {
			p.errorf("Take of %d gives %+v, %v; want an error", n, res, err)
		}
		if res, err := l.TakeUpTo(p.ctx, "k", n); err == nil || res.Allowed {
			p.errorf("TakeUpTo of %d gives %+v, %v; want an error", n, res, err)
		}
		if err := l.Refund(p.ctx, "k", n); err == nil {
			p.errorf("Refund of %d succeeds, want an error", n)
		}
	}
	p.wantTake(l, "k", 0, true, 6)
}

func testHuge(p *probe) {
	l := p.limiter(Settings{Limit: ratelimit.PerDay(10)})
	for _, n := range []int64{1 << 31, 1 << 53, 1 << 62, math.MaxInt64} {
		if res, err := l.Take(p.ctx, "k", n); !errors.Is(err, ratelimit.ErrExceedsBurst) || res.Allowed {
			p.errorf("Take of %d gives %+v, %v; want ErrExceedsBurst", n, res, err)
		}
	}
	p.wantTake(l, "k", 0, true, 10)
	if res, err := l.TakeUpTo(p.ctx, "k", math.MaxInt64); err != nil || res.Granted != 10 {
		p.errorf("TakeUpTo of all there is gives %+v, %v; want 10", res, err)
	}
	if err := l.Refund(p.ctx, "k", math.MaxInt64); err != nil {
		p.errorf("Refund: %v", err)
	}
	p.wantTake(l, "k", 0, true, 10)

	wide := p.limiter(Settings{Limit: ratelimit.Limit{Events: 1e9, Period: time.Second, Burst: 1e15}})
	p.wantTake(wide, "k", 1e15, true, 0)
}

func testPeek(p *probe) {
	l := p.limiter(Settings{Limit: ratelimit.PerDay(2)})
	for left := int64(2); left >= 0; left-- {
		for range 2 {
			if res, err := l.Peek(p.ctx, "k"); err != nil || !res.Allowed || res.Granted != 0 || res.Remaining != left || res.Limit != 2 {
				p.errorf("Peek with %d left gives %+v, %v", left, res, err)
			}
		}
		if left > 0 {
			p.take(l, "k", 1)
		}
	}
}

func testNone(p *probe) {
	l := p.limiter(Settings{})
	if res, err := l.Take(p.ctx, "k", 1); err != nil || res.Allowed || res.RetryAfter != uprung.Never || res.Remaining != 0 {
		p.errorf("the zero limit gives %+v, %v; want a denial with RetryAfter Never", res, err)
	}
	l = p.limiter(Settings{Limit: ratelimit.Unlimited()})
	if res, err := l.Take(p.ctx, "k", math.MaxInt64); err != nil || !res.Allowed || res.Granted != math.MaxInt64 {
		p.errorf("an unlimited limit gives %+v, %v; want a grant", res, err)
	}
}

func testUpTo(p *probe) {
	l := p.limiter(Settings{Limit: ratelimit.PerDay(10)})
	for _, want := range []int64{4, 4, 2, 0} {
		res, err := l.TakeUpTo(p.ctx, "k", 4)
		if err != nil || res.Granted != want || res.Allowed != (want > 0) {
			p.errorf("TakeUpTo(4) gives %+v, %v; want %d", res, err, want)
		}
		if (res.RetryAfter > 0) != (want == 0) {
			p.errorf("TakeUpTo(4) with %d granted has RetryAfter %v", want, res.RetryAfter)
		}
	}
}

func testRefund(p *probe) {
	l := p.limiter(Settings{Limit: ratelimit.PerDay(10)})
	refund := func(n int64) {
		if err := l.Refund(p.ctx, "k", n); err != nil {
			p.errorf("Refund(%d) fails: %v", n, err)
		}
	}
	refund(3) // of a key that nobody knows
	p.wantTake(l, "k", 10, true, 0)
	p.wantTake(l, "k", 1, false, 0)
	refund(2) // which is there at once, though it was denied just now
	p.wantTake(l, "k", 2, true, 0)
	refund(100)
	p.wantTake(l, "k", 0, true, 10)

	var callers sync.WaitGroup
	var granted, refunded atomic.Int64
	for range 16 {
		callers.Go(func() {
			for range 10 {
				res, err := l.Take(p.ctx, "k", 1)
				if err != nil || !res.Allowed {
					continue
				}
				if granted.Add(1)%2 == 0 && l.Refund(p.ctx, "k", 1) == nil {
					refunded.Add(1)
				}
			}
		})
	}
	callers.Wait()
	if net := granted.Load() - refunded.Load(); net > 10 {
		p.errorf("%d events were granted and %d given back, of 10", granted.Load(), refunded.Load())
	}
}

func testReset(p *probe) {
	l := p.limiter(Settings{Limit: ratelimit.PerDay(3)})
	p.wantTake(l, "k", 3, true, 0)
	p.wantTake(l, "k", 1, false, 0)
	if err := l.Reset(p.ctx, "k"); err != nil {
		p.errorf("Reset fails: %v", err)
	}
	p.wantTake(l, "k", 1, true, 2)
}

func testChange(p *probe) {
	l := p.limiter(Settings{Limit: ratelimit.PerDay(10)})
	set := func(n int64) {
		if err := l.SetLimit(ratelimit.PerDay(n)); err != nil {
			p.errorf("SetLimit fails: %v", err)
		}
	}
	p.wantTake(l, "k", 10, true, 0)
	p.wantTake(l, "k", 1, false, 0)
	set(20)
	if res := p.take(l, "k", 0); res.Remaining > 10 || res.Limit != 20 {
		p.errorf("a key that has spent all has %d of %d after the limit was raised from 10", res.Remaining, res.Limit)
	}
	p.wantTake(l, "fresh", 20, true, 0)
	set(5)
	if res := p.take(l, "fresh", 1); res.Allowed {
		p.errorf("a key that has spent all is granted an event because the limit was lowered")
	}
	set(20)
	if res := p.take(l, "fresh", 0); res.Remaining > 15 {
		p.errorf("a key that has spent all of 20 has %d left after the limit was lowered to 5 and raised again", res.Remaining)
	}
	for _, bad := range []ratelimit.Limit{{Events: -1, Period: 1}, {Events: 1}, {Events: 1, Period: 1, Burst: -1}} {
		if err := l.SetLimit(bad); err == nil {
			p.errorf("SetLimit(%+v) succeeds, want an error", bad)
		}
	}
}

func testOwn(p *probe) {
	l := p.limiter(Settings{Limit: ratelimit.PerDay(1), LimitFor: func(key string) (ratelimit.Limit, bool) {
		switch key {
		case "gold":
			return ratelimit.PerDay(3), true
		case "banned":
			return ratelimit.Limit{}, true
		case "bad":
			return ratelimit.Limit{Events: -1}, true
		}
		return ratelimit.Limit{}, false
	}})
	p.wantTake(l, "gold", 3, true, 0)
	p.wantTake(l, "plain", 1, true, 0)
	p.wantTake(l, "plain", 1, false, 0)
	p.wantTake(l, "banned", 1, false, 0)
	if res, err := l.Take(p.ctx, "bad", 1); err == nil || res.Allowed {
		p.errorf("a key with an invalid limit gives %+v, %v; want an error", res, err)
	}
}

func testShadow(p *probe) {
	l := p.limiter(Settings{Limit: ratelimit.PerDay(1), Mode: uprung.Shadow})
	if res := p.take(l, "k", 1); !res.Allowed || res.Shadowed {
		p.errorf("what fits gives %+v, want a grant of the limit", res)
	}
	for range 2 {
		if res := p.take(l, "k", 1); !res.Allowed || !res.Shadowed || res.Granted != 1 {
			p.errorf("what does not fit gives %+v, want one of the mode", res)
		}
	}
	l = p.limiter(Settings{Limit: ratelimit.PerDay(1), Mode: uprung.Off})
	for range 2 {
		if res := p.take(l, "k", 1); !res.Allowed || res.Shadowed {
			p.errorf("a limiter that is off gives %+v", res)
		}
	}
}
