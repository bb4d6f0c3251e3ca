package ratelimit

import (
	"cmp"
	"errors"
	"fmt"
	"strconv"
)

// InFlight is how many requests may be in progress at once: any number from Min to
// Max, whichever serves best. Where the two are equal the number is fixed. It is
// made by [AtMost] or [Adaptive], or by its fields.
type InFlight struct {
	// Min is the least that the limit falls to. It is at least 1.
	Min int
	// Max is the most that it rises to, up to 1,000,000.
	Max int
	// Initial is the limit before anything is known. Zero means 20, or the bound that
	// is nearest to it.
	Initial int
}

// AtMost is a fixed limit.
func AtMost(n int) InFlight { return InFlight{Min: n, Max: n} }

// Adaptive is a limit that finds its number itself, from the time that requests
// take: between 4 and 1000, beginning at 20.
func Adaptive() InFlight { return InFlight{Min: 4, Max: 1000} }

// maxInFlight is the largest limit of requests in progress.
const maxInFlight = 1_000_000

// complete checks a limit and fills in what is zero.
func (f InFlight) complete() (InFlight, error) {
	var errs []error
	if f.Min < 1 || f.Min > maxInFlight {
		errs = append(errs, fmt.Errorf("InFlight.Min is %d, want 1 to %d", f.Min, maxInFlight))
	}
	if f.Max < f.Min || f.Max > maxInFlight {
		errs = append(errs, fmt.Errorf("InFlight.Max is %d, want Min to %d", f.Max, maxInFlight))
	}
	if f.Initial != 0 && (f.Initial < f.Min || f.Initial > f.Max) {
		errs = append(errs, fmt.Errorf("InFlight.Initial is %d, want 0 or Min to Max", f.Initial))
	}
	if len(errs) > 0 {
		return f, errors.Join(errs...)
	}
	f.Initial = cmp.Or(f.Initial, min(max(20, f.Min), f.Max))
	return f, nil
}

func (f InFlight) fixed() bool { return f.Min == f.Max }

// String returns the number of a fixed limit, and else its bounds.
func (f InFlight) String() string {
	if f.fixed() {
		return strconv.Itoa(f.Max)
	}
	return strconv.Itoa(f.Min) + " to " + strconv.Itoa(f.Max)
}

// Priority says who gives way when there is too much to do.
type Priority uint8

const (
	// Normal requests may use the whole limit. But while there are Critical ones, an
	// eighth of it is kept for those.
	Normal Priority = iota
	// Critical requests are those that must not fail: health checks of a balancer,
	// payments, what a person waits for. They may use the whole limit, and are served
	// first from the queue.
	Critical
	// Low requests, such as prefetches, use three quarters of the limit.
	Low
	// Background requests, such as batches that can be repeated, use half of it.
	Background

	priorities = iota
)

// String returns the lower-case name.
func (p Priority) String() string {
	switch p {
	case Normal:
		return "normal"
	case Critical:
		return "critical"
	case Low:
		return "low"
	case Background:
		return "background"
	}
	return "Priority(" + strconv.Itoa(int(p)) + ")"
}

// turn is the order in which the queue is served.
var turn = [priorities]Priority{Critical, Normal, Low, Background}

// share returns what a priority may use of a limit, with or without a reserve for
// others. Every priority may use one place.
func (p Priority) share(limit int64, reserve bool) int64 {
	switch p {
	case Low:
		return max(1, limit*3/4)
	case Background:
		return max(1, limit/2)
	case Normal:
		if reserve {
			return max(1, limit-(limit+7)/8)
		}
	}
	return limit
}

// Claim is what a request is, to a [Concurrency].
type Claim struct {
	// Tenant is whose request it is. Tenants share the limit fairly: see the comment of
	// [Concurrency]. Empty means that it is nobody's, and has no share.
	Tenant string
	// Priority says whether it gives way to others. Zero means [Normal].
	Priority Priority
}
