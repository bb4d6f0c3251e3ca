package ratelimit

import (
	"math/big"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"testing"
	"time"
)

// newLimiter returns a limiter, or ends the test. Nil options are the defaults
// but for a small table, which is quickly made and visited.
func newLimiter(t testing.TB, limit Limit, o *Options) *Limiter {
	t.Helper()
	if o == nil {
		o = &Options{Capacity: 256}
	}
	l, err := New(limit, o)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// take is TakeAt after a time since New, and ends the test if it fails.
func take(t testing.TB, l *Limiter, at time.Duration, key string, n int64) Result {
	t.Helper()
	res, err := l.TakeAt(l.base.Add(at), key, n)
	if err != nil {
		t.Fatal(err)
	}
	return res
}

// remaining is what a key has now.
func remaining(t testing.TB, l *Limiter, key string) int64 {
	t.Helper()
	res, err := l.Peek(key)
	if err != nil {
		t.Fatal(err)
	}
	return res.Remaining
}

// fullModels reports whether models run at full length.
func fullModels() bool { return os.Getenv("UPRUNG_FULL_MODELS") == "1" }

// seeded returns random numbers whose seed is printed and can be set.
func seeded(t testing.TB) *rand.Rand {
	t.Helper()
	seed, err := strconv.ParseUint(os.Getenv("UPRUNG_SEED"), 10, 64)
	if err != nil {
		seed = rand.Uint64()
	}
	t.Logf("UPRUNG_SEED=%d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}

// logUniform returns a number from 1 to most, each order of magnitude as likely
// as any other.
func logUniform(r *rand.Rand, most int64) int64 {
	for m := most; ; m /= 10 {
		if m < 10 || r.IntN(6) == 0 {
			return 1 + r.Int64N(m)
		}
	}
}

// grant is a number of events granted at an instant.
type grant struct {
	at time.Duration
	n  int64
}

// conforms checks a history of grants, in order of time: every interval of
// length d must have been granted at most burst + events*d/period.
//
// That is so if and only if a level that falls by events/period, never below
// zero, and rises by each grant never exceeds the burst. The level is kept in
// events*period, which is exact.
func conforms(t testing.TB, history []grant, limit Limit) {
	t.Helper()
	var (
		level   = new(big.Int)
		zero    = new(big.Int)
		events  = big.NewInt(limit.Events)
		period  = big.NewInt(int64(limit.Period))
		ceiling = new(big.Int).Mul(big.NewInt(limit.burst()), period)
		last    time.Duration
	)
	for i, g := range history {
		if g.at < last {
			t.Fatalf("grant %d at %v is not in order", i, g.at)
		}
		fallen := new(big.Int).Mul(big.NewInt(int64(g.at-last)), events)
		if level.Sub(level, fallen).Cmp(zero) < 0 {
			level.SetInt64(0)
		}
		level.Add(level, new(big.Int).Mul(big.NewInt(g.n), period))
		last = g.at
		if level.Cmp(ceiling) > 0 {
			over, _ := new(big.Rat).SetFrac(level, period).Float64()
			t.Errorf("an interval that ends at %v (grant %d) was granted %.3f events beyond its refill, want at most %d",
				g.at, i, over, limit.burst())
			return
		}
	}
}

// sound checks the table while nobody uses it: no key stands twice, each stands
// where it is looked for, and the count of keys is right.
func sound(t testing.TB, l *Limiter) {
	t.Helper()
	seen := map[uint64]bool{}
	for i := range l.table.buckets {
		for j := range l.table.buckets[i] {
			s := &l.table.buckets[i][j]
			hash := s.key.Load()
			if hash == 0 {
				continue
			}
			if seen[hash] {
				t.Errorf("hash %#x stands in two slots", hash)
			}
			seen[hash] = true
			if first, second := l.table.homes(hash); uint64(i) != first && uint64(i) != second {
				t.Errorf("hash %#x stands in bucket %d, want %d or %d", hash, i, first, second)
			}
			if s.state.Load() == inTransition {
				t.Errorf("hash %#x is left in transition", hash)
			}
		}
	}
	if got := l.Stats().Keys; got != int64(len(seen)) {
		t.Errorf("Stats().Keys is %d, want %d", got, len(seen))
	}
}

// accept answers 200.
var accept = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusOK) })

// request returns a request with a key in Api-Key, or without one.
func request(key string) *http.Request {
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	if key != "" {
		r.Header.Set("Api-Key", key)
	}
	return r
}

// send puts a request to a handler.
func send(h http.Handler, r *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}
