package ratelimit

import (
	"errors"
	"fmt"
	"math"
	"math/big"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/time/rate"

	"github.com/uprung/uprung"
)

// tokens is the model: what each key has, in ticks, as exact fractions.
type tokens struct {
	perEvent *big.Rat // ticks
	burst    int64
	have     map[string]*big.Rat
	at       time.Time
}

func newTokens(l *Limiter) *tokens {
	b := l.load().budget
	perEvent := new(big.Rat).SetFrac(new(big.Int).SetUint64(b.num), new(big.Int).SetUint64(b.den))
	return &tokens{perEvent: perEvent, burst: b.burst, have: map[string]*big.Rat{}, at: time.Now()}
}

// cost returns the whole ticks of n events taken at once.
func (m *tokens) cost(n int64) *big.Rat {
	exact := new(big.Rat).Mul(new(big.Rat).SetInt64(n), m.perEvent)
	return new(big.Rat).SetInt(new(big.Int).Neg(floored(exact.Neg(exact))))
}

// worth returns what a refund of n events gives back: their cost, rounded down.
func (m *tokens) worth(n int64) *big.Rat {
	return new(big.Rat).SetInt(floored(new(big.Rat).Mul(new(big.Rat).SetInt64(n), m.perEvent)))
}

// advance refills all keys.
func (m *tokens) advance() {
	elapsed := new(big.Rat).SetInt64(int64(time.Since(m.at)))
	m.at = time.Now()
	for key := range m.have {
		m.give(key, new(big.Rat).Mul(elapsed, big.NewRat(ticksPerNano, 1)))
	}
}

func (m *tokens) of(key string) *big.Rat {
	if m.have[key] == nil {
		m.have[key] = m.cost(m.burst)
	}
	return m.have[key]
}

func (m *tokens) give(key string, ticks *big.Rat) {
	have := m.of(key)
	if full := m.cost(m.burst); have.Add(have, ticks).Cmp(full) > 0 {
		have.Set(full)
	}
}

func floored(r *big.Rat) *big.Int { return new(big.Int).Div(r.Num(), r.Denom()) }

// fit returns how many events a key has.
func (m *tokens) fit(key string) int64 {
	return floored(new(big.Rat).Quo(m.of(key), m.perEvent)).Int64()
}

// until returns the time after which a key has n events.
func (m *tokens) until(key string, n int64) time.Duration {
	missing := m.cost(n)
	missing.Sub(missing, m.of(key)).Quo(missing, big.NewRat(ticksPerNano, 1))
	return time.Duration(max(-floored(missing.Neg(missing)).Int64(), 0))
}

func (m *tokens) take(key string, n int64, upTo bool) Result {
	m.advance()
	granted := n
	if fit := m.fit(key); fit < n {
		granted = 0
		if upTo {
			granted = fit
		}
	}
	res := Result{Allowed: granted > 0 || n == 0, Granted: granted, Limit: m.burst}
	switch {
	case res.Allowed:
	case upTo:
		res.RetryAfter = m.until(key, 1)
	case n > m.burst:
		res.RetryAfter = uprung.Never
	default:
		res.RetryAfter = m.until(key, n)
	}
	have := m.of(key)
	have.Sub(have, m.cost(granted))
	res.Remaining, res.ResetAfter = m.fit(key), m.until(key, m.burst)
	return res
}

// Every operation gives to the nanosecond what a token bucket of exact fractions
// gives.
func TestMatchesExactTokenBucket(t *testing.T) {
	t.Parallel()
	configs := 40
	if fullModels() {
		configs = 3000
	}
	r := seeded(t)
	for range configs {
		synctest.Test(t, func(t *testing.T) { compareWithTokens(t, r, 300) })
	}
}

// compareWithTokens runs random operations on one random configuration.
func compareWithTokens(t *testing.T, r *rand.Rand, ops int) {
	limit := randomLimit(r)
	l := newLimiter(t, limit, nil)
	m := newTokens(l)
	refill := int64(nanos(l.load().budget.capacity))
	for i := range ops {
		if r.IntN(3) == 0 {
			time.Sleep(time.Duration(logUniform(r, refill+refill/2+1)))
		}
		if time.Since(l.base) > 5*365*day {
			break // long before the clock of a limiter ends
		}
		key := string(rune('a' + r.IntN(4)))
		n := logUniform(r, limit.Burst+limit.Burst/4+1)
		var got, want Result
		var err error
		var op string
		switch r.IntN(12) {
		default:
			op = "Take"
			got, err = l.Take(t.Context(), key, n)
			want = m.take(key, n, false)
		case 0, 1, 2:
			op = "AllowN"
			want = m.take(key, n, false)
			if got := l.AllowN(key, n); got != want.Allowed {
				t.Fatalf("%v: op %d: AllowN(%q, %d) = %v, want %v", limit, i, key, n, got, want.Allowed)
			}
			want = m.take(key, 0, false)
			got, err = l.Peek(key)
		case 3, 4:
			op = "TakeUpTo"
			got, err = l.TakeUpTo(t.Context(), key, n)
			want = m.take(key, n, true)
		case 5, 6:
			op = "Refund"
			err = l.Refund(key, n)
			m.advance()
			m.give(key, m.worth(min(n, m.burst)))
		case 7:
			op = "Reset"
			l.Reset(key)
			m.advance()
			m.give(key, m.cost(m.burst))
		case 8:
			op = "Peek"
			got, err = l.Peek(key)
			want = m.take(key, 0, false)
		}
		if errors.Is(err, ErrExceedsBurst) && op == "Take" && n > limit.Burst {
			err = nil
		}
		if err != nil || got != want {
			t.Fatalf("%v: op %d: %s(%q, %d)\ngot  %+v, %v\nwant %+v", limit, i, op, key, n, got, err, want)
		}
	}
	for key := range m.have {
		if got, want := remaining(t, l, key), m.take(key, 0, false).Remaining; got != want {
			t.Fatalf("%v: %d remain for %q, want %d", limit, got, key, want)
		}
	}
}

// Under a clock that only goes forward, x/time/rate at the rate that is enforced
// decides the same. It rounds times to what a float64 holds and then to whole
// nanoseconds, so each admission may move its bucket by up to one: only within
// that may the two differ, and then both start again.
func TestEquivalentToXTimeRate(t *testing.T) {
	t.Parallel()
	calls := 200_000
	if fullModels() {
		calls = 10_000_000
	}
	const callsPerConfig = 500
	workers := runtime.GOMAXPROCS(0)
	r := seeded(t)
	var (
		wg              sync.WaitGroup
		mu              sync.Mutex
		rounded, grants int // guarded by mu
	)
	for range workers {
		r := rand.New(rand.NewPCG(r.Uint64(), 1))
		wg.Go(func() {
			for range calls / callsPerConfig / workers {
				nearly, granted, err := compareWithXTimeRate(r, callsPerConfig)
				mu.Lock()
				rounded += nearly
				grants += granted
				mu.Unlock()
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	t.Logf("%d calls, %d granted, %d within rounding", calls, grants, rounded)
	if rounded > calls/50 {
		t.Errorf("%d of %d calls differ within rounding, want few", rounded, calls)
	}
	if grants < calls/10 || grants > calls*9/10 {
		t.Errorf("%d of %d calls were granted: the traffic does not try the limit", grants, calls)
	}
}

// compareWithXTimeRate runs one random configuration. It returns the number of
// calls that differ within rounding, and an error if one differs beyond.
func compareWithXTimeRate(r *rand.Rand, calls int) (rounded, granted int, err error) {
	perSecond := math.Exp(r.Float64()*math.Log(1e12)) * 1e-3 // 0.001 to 1e9
	burst := int(min(float64(logUniform(r, 1e6)), perSecond*1e6+1))
	limit, err := FromRate(rate.Limit(perSecond), burst)
	if err != nil {
		return 0, 0, err
	}
	l, err := New(limit, &Options{Capacity: 1})
	if err != nil {
		return 0, 0, err
	}
	b := l.load().budget
	enforced := rate.Limit(float64(time.Second) * ticksPerNano / float64(b.num) * float64(b.den))
	other := rate.NewLimiter(enforced, burst)
	key, now, since := "a", l.base, int64(0)
	for i := range calls {
		n := 1 + int(r.ExpFloat64()*float64(burst)/8)
		step := float64(n) * float64(nanos(b.cost)) * 2 * r.Float64()
		if r.IntN(8) == 0 {
			step = float64(nanos(b.capacity)) * r.Float64()
		}
		if r.IntN(4) > 0 {
			now = now.Add(time.Duration(step / 2))
		}
		had := other.TokensAt(now)
		want := other.AllowN(now, n)
		res, err := l.TakeAt(now, key, int64(n))
		if err != nil && !errors.Is(err, ErrExceedsBurst) {
			return rounded, granted, err
		}
		if res.Allowed {
			granted++
		}
		if res.Allowed == want {
			if had >= float64(burst) {
				since = 0 // both are full
			}
			if want {
				since++
			}
			continue
		}
		early := time.Duration(math.Ceil((float64(n) - had) / float64(enforced) * float64(time.Second)))
		if want {
			early = res.RetryAfter
		}
		if early < 0 || early > time.Duration(since+1) {
			return rounded, granted, fmt.Errorf("%v: call %d of %d events: x/time/rate says %v with %v tokens, got %+v; %v from agreement after %d admissions",
				limit, i, n, want, had, res, early, since)
		}
		rounded++
		key, since = strings.Repeat("a", len(key)%8+1), 0
		l.Reset(key)
		now = now.Add(nanos(b.capacity)) // and whatever either owes is paid
		other = rate.NewLimiter(enforced, burst)
	}
	return rounded, granted, nil
}
