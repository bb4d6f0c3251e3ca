package breaker

import (
	"slices"
	"time"

	"github.com/uprung/uprung"
)

// Counts are results and decisions since a breaker was made. They never decrease.
type Counts struct {
	// Successes and Failures are the results that count, those of probes included, and
	// Overloads and Ignored those that do not. Slow ones took longer than
	// Options.SlowCall; they are in Failures as well, or in Successes if they have a
	// ratio of their own.
	Successes, Failures, Overloads, Ignored, Slow uint64
	// Late results came after the state had changed, and do not count.
	Late uint64
	// Rejected calls were refused. Shadowed ones were let through because of the mode.
	Rejected, Shadowed uint64
	// Opened is how often it has opened, each failed probing included, and LeasesOver how
	// many probes had no answer in time.
	Opened, LeasesOver uint64
}

// add adds counts to others.
func (c *Counts) add(d *Counts) {
	c.Successes += d.Successes
	c.Failures += d.Failures
	c.Overloads += d.Overloads
	c.Ignored += d.Ignored
	c.Slow += d.Slow
	c.Late += d.Late
	c.Rejected += d.Rejected
	c.Shadowed += d.Shadowed
	c.Opened += d.Opened
	c.LeasesOver += d.LeasesOver
}

// Stats are the figures of a [Breaker].
type Stats struct {
	// State is that of this moment, and Forced says whether it was made so by
	// [Breaker.Force].
	State  State
	Forced bool
	// RetryAfter is how much longer it is open. It is zero if that is not known.
	RetryAfter time.Duration
	// WindowRequests and WindowFailures are the results in the window.
	WindowRequests, WindowFailures uint64

	Counts
}

// Stats returns a snapshot, whose figures may be a few calls apart from one another.
func (b *Breaker) Stats() Stats {
	now := b.core.now()
	s := Stats{State: Closed}
	if w := b.word.Load(); w&stateMask != wordClosed {
		s.State = b.stateAt(now)
		w = b.word.Load()
		s.Forced = w&stateMask > wordOpen
		if s.State == Open && !s.Forced {
			s.RetryAfter = max(0, time.Duration(b.openTil.Load()-now))
		}
	}
	good, bad := b.results.sum(b.core.period.of(now))
	s.WindowRequests, s.WindowFailures = good+bad, bad
	s.Counts = b.counts()
	return s
}

func (b *Breaker) counts() Counts {
	c := Counts{
		Overloads: b.overloads.Load(), Ignored: b.ignored.Load(), Slow: b.slows.Load(), Late: b.late.Load(),
		Rejected: b.rejected.Load(), Shadowed: b.shadowed.Load(),
	}
	c.Successes, c.Failures = b.results.totals()
	b.mu.Lock()
	defer b.mu.Unlock()
	if m := b.machine; m != nil {
		c.Opened, c.LeasesOver = m.opened, m.expired
	}
	return c
}

// Metrics yields the figures. It makes a Breaker an [uprung.Source].
func (b *Breaker) Metrics(yield func(uprung.Metric) bool) {
	s := b.Stats()
	name := uprung.Label{Name: "breaker", Value: b.core.o.Name}
	for _, state := range []State{Closed, HalfOpen, Open} {
		value := 0.0
		if s.State == state {
			value = 1
		}
		if !yield(stateMetric("uprung_breaker_state", "Whether the breaker is in this state, as 0 or 1.", name, state, value)) {
			return
		}
	}
	s.metrics(name, yield)
}

func stateMetric(metric, help string, name uprung.Label, state State, value float64) uprung.Metric {
	return uprung.Metric{Name: metric, Help: help, Type: uprung.Gauge, Value: value,
		Labels: []uprung.Label{name, {Name: "state", Value: state.String()}}}
}

// metrics yields the counters.
func (c *Counts) metrics(name uprung.Label, yield func(uprung.Metric) bool) bool {
	const results, resultsHelp = "uprung_breaker_results_total", "Results by outcome. Only success and failure count; late ones came after the state had changed."
	const refused, refusedHelp = "uprung_breaker_refused_total", "Calls that were refused, and those that would have been but for the mode."
	counter := func(metric, help string, value uint64, labels ...uprung.Label) bool {
		return yield(uprung.Metric{Name: metric, Help: help, Type: uprung.Counter, Value: float64(value), Labels: append([]uprung.Label{name}, labels...)})
	}
	outcome := func(value string) uprung.Label { return uprung.Label{Name: "outcome", Value: value} }
	action := func(value string) uprung.Label { return uprung.Label{Name: "action", Value: value} }
	return counter(results, resultsHelp, c.Successes, outcome(uprung.Success.String())) &&
		counter(results, resultsHelp, c.Failures, outcome(uprung.Failure.String())) &&
		counter(results, resultsHelp, c.Overloads, outcome(uprung.Overload.String())) &&
		counter(results, resultsHelp, c.Ignored, outcome(uprung.Ignored.String())) &&
		counter(results, resultsHelp, c.Late, outcome("late")) &&
		counter("uprung_breaker_slow_calls_total", "Calls that took longer than SlowCall.", c.Slow) &&
		counter(refused, refusedHelp, c.Rejected, action("refuse")) &&
		counter(refused, refusedHelp, c.Shadowed, action("shadow")) &&
		counter("uprung_breaker_opened_total", "Times that it has opened, each failed probing included.", c.Opened) &&
		counter("uprung_breaker_probe_leases_over_total", "Probes that had no answer in time.", c.LeasesOver)
}

// Layer describes the breaker and its effective settings.
func (b *Breaker) Layer() uprung.Layer { return b.core.layer() }

func (c *core) layer() uprung.Layer {
	settings := slices.Clone(c.settings)
	mode := uprung.Mode(c.mode.Load())
	settings[0] = uprung.Setting{Name: "Mode", Value: mode.String(), Default: mode == uprung.Enforce}
	return uprung.Layer{Kind: uprung.KindBreaker, Name: c.o.Name, Settings: settings}
}
