package retry

import (
	"fmt"
	"math"
	"sync/atomic"
	"time"
)

// Budget bounds retries by the requests that there are, so that they cannot multiply
// the load of a service that fails: it is a bucket of tokens, of which each retry
// takes one. The zero value of each field is its default.
type Budget struct {
	// PerRequest is the number of tokens that each request brings. Zero means 0.1: one
	// retry for ten requests. Negative is none.
	PerRequest float64
	// PerSecond is the number of tokens that each second brings, so that a client with
	// few requests can retry them. Zero means 0.2, negative none.
	PerSecond float64
	// Cap is the most that the bucket holds, and what it holds at first. Zero means
	// 10. It is at most a million.
	Cap float64
}

const maxBudget = 1e6

// complete returns the budget with all defaults in place.
func (b Budget) complete() (Budget, []error) {
	var errs []error
	for _, f := range []struct {
		name      string
		value     *float64
		otherwise float64
		least     float64
	}{
		{"PerRequest", &b.PerRequest, 0.1, math.Inf(-1)},
		{"PerSecond", &b.PerSecond, 0.2, math.Inf(-1)},
		{"Cap", &b.Cap, 10, 0},
	} {
		if !(*f.value >= f.least && *f.value <= maxBudget) {
			errs = append(errs, fmt.Errorf("retry: Budget.%s is %v, want %v to %v", f.name, *f.value, f.least, float64(maxBudget)))
		}
		if *f.value == 0 {
			*f.value = f.otherwise
		}
		*f.value = max(*f.value, 0)
	}
	return b, errs
}

func (b Budget) String() string {
	return fmt.Sprintf("%g per request + %g per second, at most %g", b.PerRequest, b.PerSecond, b.Cap)
}

// milli is the unit of a bucket: thousandths of a token.
const milli = 1000

// bucket is a Budget at work. It is safe for concurrent use and takes no lock.
type bucket struct {
	perRequest, most int64        // in thousandths
	perSecond        float64      // in thousandths
	tokens           atomic.Int64 // in thousandths
	filled           atomic.Int64 // until when, in nanoseconds, time has brought tokens
}

func newBucket(b Budget) *bucket {
	k := &bucket{perRequest: int64(b.PerRequest * milli), most: int64(b.Cap * milli), perSecond: b.PerSecond * milli}
	k.tokens.Store(k.most)
	return k
}

// request brings what a request brings.
func (k *bucket) request() { k.add(k.perRequest) }

// add brings tokens up to the most.
func (k *bucket) add(n int64) {
	if n <= 0 || k.tokens.Load() >= k.most {
		return
	}
	if have := k.tokens.Add(n); have > k.most {
		// What others have taken meanwhile is theirs.
		k.tokens.CompareAndSwap(have, k.most)
	}
}

// take takes a token, and returns false if there is none.
func (k *bucket) take(now time.Duration) bool {
	k.elapse(now)
	for {
		have := k.tokens.Load()
		if have < milli {
			return false
		}
		if k.tokens.CompareAndSwap(have, have-milli) {
			return true
		}
	}
}

// give returns a token that was not used.
func (k *bucket) give() { k.add(milli) }

// elapse brings what the time since the last call has brought, in whole units.
func (k *bucket) elapse(now time.Duration) {
	if k.perSecond <= 0 {
		return
	}
	for {
		since := k.filled.Load()
		if int64(now) <= since {
			return
		}
		n := int64(float64(int64(now)-since) / float64(time.Second) * k.perSecond)
		if n == 0 {
			return
		}
		to := since + int64(float64(n)/k.perSecond*float64(time.Second))
		if n > k.most {
			to = int64(now) // it is full, whatever is left over
		}
		if k.filled.CompareAndSwap(since, to) {
			k.add(min(n, k.most))
			return
		}
	}
}

// left returns the number of tokens.
func (k *bucket) left(now time.Duration) float64 {
	k.elapse(now)
	return float64(k.tokens.Load()) / milli
}
