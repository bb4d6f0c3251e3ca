//go:build linux

package fleet

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
)

// Fleet is a number of servers: [Processes], or a [Model].
type Fleet interface {
	// Strike makes a fault begin, or end.
	Strike(f Fault, begins bool) error
}

// Patience is how long a client waits.
const Patience = 2 * time.Second

// Send sends a request of a client that means some work, under a context that ends when
// the client does not wait any longer.
type Send func(ctx context.Context, client int, work time.Duration) error

// Result is what clients have seen.
type Result struct {
	Sent   int
	Errors []error
	// P50 and P99 are quantiles of the time since a request was due. One that was waited
	// for in vain took the whole patience of its client; one that failed before has no
	// time.
	P50, P99 time.Duration
	// Late is the 99th percentile of how late requests were sent: it says how busy the
	// machine is.
	Late time.Duration
}

// ErrorShare returns the errors as a share of what was sent.
func (r Result) ErrorShare() float64 { return float64(len(r.Errors)) / float64(r.Sent) }

// Reasons returns what the errors say, the most frequent first, and ten at most.
func (r Result) Reasons() string {
	counts := map[string]int{}
	for _, err := range r.Errors {
		counts[err.Error()]++
	}
	reasons := slices.SortedFunc(maps.Keys(counts), func(a, b string) int {
		return cmp.Or(cmp.Compare(counts[b], counts[a]), cmp.Compare(a, b))
	})
	var text strings.Builder
	for _, reason := range reasons[:min(len(reasons), 10)] {
		fmt.Fprintf(&text, "\n%d times: %s", counts[reason], reason)
	}
	return text.String()
}

func (r Result) String() string {
	ms := func(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
	return fmt.Sprintf("%d requests, p50 %.0f ms, p99 %.0f ms, %d errors (%.2f%%), sent up to %.1f ms late (p99)",
		r.Sent, ms(r.P50), ms(r.P99), len(r.Errors), 100*r.ErrorShare(), ms(r.Late))
}

// Run sends the requests of a plan, each at its time whatever became of those before,
// has servers struck as planned, and returns when all that has ended. The error is that
// of a strike.
func (p *Plan) Run(f Fleet, patience time.Duration, send Send) (Result, error) {
	start := time.Now()
	var striking, requests sync.WaitGroup
	strikes := make([]error, len(p.Faults))
	for i, fault := range p.Faults {
		striking.Go(func() {
			time.Sleep(time.Until(start.Add(fault.From)))
			strikes[i] = f.Strike(fault, true)
			if fault.To == 0 {
				return
			}
			time.Sleep(time.Until(start.Add(fault.To)))
			strikes[i] = errors.Join(strikes[i], f.Strike(fault, false))
		})
	}
	errs := make([]error, len(p.Arrivals))
	took := make([]time.Duration, len(p.Arrivals))
	late := make([]time.Duration, len(p.Arrivals))
	for i, a := range p.Arrivals {
		due := start.Add(a.At)
		time.Sleep(time.Until(due))
		late[i] = time.Since(due)
		requests.Go(func() {
			ctx, cancel := context.WithDeadline(context.Background(), due.Add(patience))
			defer cancel()
			errs[i] = send(ctx, a.Client, a.Work)
			took[i] = time.Since(due)
			if errs[i] != nil && ctx.Err() != nil {
				took[i] = patience
			} else if errs[i] != nil {
				took[i] = -1
			}
		})
	}
	requests.Wait()
	striking.Wait()

	took = slices.DeleteFunc(took, func(d time.Duration) bool { return d < 0 })
	errs = slices.DeleteFunc(errs, func(err error) bool { return err == nil })
	slices.Sort(took)
	slices.Sort(late)
	return Result{
		Sent: len(p.Arrivals), Errors: errs,
		P50: quantile(took, 0.5), P99: quantile(took, 0.99), Late: quantile(late, 0.99),
	}, errors.Join(strikes...)
}

// quantile returns that of sorted values.
func quantile(sorted []time.Duration, q float64) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[min(int(q*float64(len(sorted))), len(sorted)-1)]
}
