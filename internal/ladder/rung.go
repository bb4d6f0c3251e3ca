package ladder

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// Rung is one technique under the fault that it exists for.
type Rung struct {
	// Name is one word, for -rungs and reports.
	Name string
	// Story is a sentence or two for people: what goes wrong, which package deals
	// with it, and how.
	Story string
	// Judged says whose requests the promises are about, such as "the others": those
	// of the streams that are Judged.
	Judged string
	// Streams are the traffic, the same without the technique and with it. At least
	// one is Judged.
	Streams []Stream
	// Settle is how long a half runs before anything is recorded: until queues have
	// filled and bursts are spent.
	Settle time.Duration
	// Window is the least time for which each half is to be measured. A longer
	// Duration makes it longer.
	Window time.Duration
	// Patience is how long a client waits for an answer, from the scheduled instant of
	// the request. Zero means [DefaultPatience].
	Patience time.Duration
	// Handler sets up what the traffic is sent to, without the technique or with it.
	// It is called once for each half. A handler that embeds a [*Cluster] has its
	// servers run as long as the half does.
	Handler func(with bool) (http.Handler, error)
	// Promises are what the technique is to achieve; all of them.
	Promises []Promise
}

// Figured is a handler of a rung that has figures of its own to judge. It is asked
// for them when its half has ended.
type Figured interface {
	Figures() map[string]float64
}

// Least returns the least time that the rung takes, both halves together.
func (r *Rung) Least() time.Duration { return 2 * (r.Settle + r.Window + r.patience()) }

func (r *Rung) patience() time.Duration { return cmp.Or(r.Patience, DefaultPatience) }

// validate returns an error that names every field that is out of range.
func (r *Rung) validate() error {
	var errs []error
	bad := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf("ladder: rung %q: "+format, append([]any{r.Name}, args...)...))
	}
	if r.Name == "" || strings.ContainsAny(r.Name, ", ") {
		bad("Name is %q, want one word", r.Name)
	}
	if r.Settle < 0 {
		bad("Settle is %v, want >= 0", r.Settle)
	}
	if r.Window <= 0 {
		bad("Window is %v, want > 0", r.Window)
	}
	if r.Patience < 0 {
		bad("Patience is %v, want >= 0", r.Patience)
	}
	if r.Handler == nil {
		bad("Handler is nil")
	}
	if len(r.Promises) == 0 {
		bad("Promises is empty")
	}
	judged := false
	for i, s := range r.Streams {
		judged = judged || s.Judged
		if !(s.PerSecond > 0) {
			bad("Streams[%d].PerSecond is %v, want > 0", i, s.PerSecond)
		}
		if s.Keys < 0 {
			bad("Streams[%d].Keys is %d, want >= 0", i, s.Keys)
		}
	}
	if !judged {
		bad("no stream is Judged")
	}
	for i, p := range r.Promises {
		if p.Metric == "" || p.Of == nil || p.Format == "" {
			bad("Promises[%d] lacks Metric, Of or Format", i)
		}
		if p.Better != Lower && p.Better != Higher {
			bad("Promises[%d].Better is %q, want %q or %q", i, p.Better, Lower, Higher)
		}
		if p.Factor <= 0 && p.After <= 0 {
			bad("Promises[%d] has neither Factor nor After", i)
		}
	}
	return errors.Join(errs...)
}

// Better is the direction in which a metric improves.
type Better string

const (
	// Lower is better.
	Lower Better = "lower"
	// Higher is better.
	Higher Better = "higher"
)

// Promise is what one metric of a rung has to reach.
type Promise struct {
	// Metric is the name in JSON, with its unit and whose it is: p99_ms_of_others.
	Metric string
	// Title is the name in the table.
	Title string
	// Better says whether the bounds are upper or lower ones.
	Better Better
	// Of takes the metric from a record.
	Of func(*Record) float64
	// Format is how a value of the metric is printed, such as "%.0f ms".
	Format string
	// Factor is the bound of after/before. Zero means none.
	Factor float64
	// After is the bound of the metric with the technique. Zero means none.
	After float64
}

// maxFactor stands for every factor above it, such as that of a before of zero,
// which JSON could not hold.
const maxFactor = 1e6

// judge compares the two halves.
func (p *Promise) judge(rung string, before, after *Record) Entry {
	e := Entry{Name: rung, Metric: p.Metric, Better: p.Better, Before: p.Of(before), After: p.Of(after), OK: true}
	switch {
	case e.Before == e.After:
		e.Factor = 1
	case e.Before == 0 || e.After/e.Before > maxFactor:
		e.Factor = maxFactor
	default:
		e.Factor = e.After / e.Before
	}
	sign, within := ">=", func(value, bound float64) bool { return value >= bound }
	if p.Better == Lower {
		sign, within = "<=", func(value, bound float64) bool { return value <= bound }
	}
	var wants []string
	if p.Factor > 0 {
		wants = append(wants, fmt.Sprintf("factor %s %g", sign, p.Factor))
		e.OK = e.OK && within(e.Factor, p.Factor)
	}
	if p.After > 0 {
		wants = append(wants, fmt.Sprintf("after %s %g", sign, p.After))
		e.OK = e.OK && within(e.After, p.After)
	}
	e.Want = strings.Join(wants, " and ")
	return e
}

// Entry is how one metric of a rung came out: an element of the JSON report.
type Entry struct {
	// Name is the rung's.
	Name string `json:"name"`
	// Metric is what was measured, with its unit and whose it is.
	Metric string `json:"metric"`
	// Better is the direction in which the metric improves.
	Better Better `json:"better"`
	// Before is the metric without the technique.
	Before float64 `json:"before"`
	// After is the metric with it.
	After float64 `json:"after"`
	// Factor is After/Before, at most 1e6; 1 if they are equal.
	Factor float64 `json:"factor"`
	// OK says that the promise in Want was kept. It need not be about Factor: a
	// goodput that was bad enough before can grow by any factor and still be bad.
	OK bool `json:"ok"`
	// Want is the promise: "factor <= 0.3", "after >= 0.95", or both.
	Want string `json:"want"`
}

// Outcome is how a rung came out.
type Outcome struct {
	// Rung is the one that was measured.
	Rung *Rung
	// Before and After are the records without the technique and with it.
	Before, After *Record
	// Entries are the verdicts, one for each promise, in their order.
	Entries []Entry
}
