package retry

import (
	"sync/atomic"

	"github.com/uprung/uprung"
)

// counters are what is counted.
type counters struct {
	requests, retries, moves, hedges, hedgesWon             atomic.Uint64
	exhausted, unbudgeted, tooLate, shadowed, notRepeatable atomic.Uint64
}

// Stats are the figures of a [Retrier], since it was made.
type Stats struct {
	// Requests counts requests, and calls of Do, however often they were sent. Those
	// that were exempt are not in it.
	Requests uint64
	// Retries counts further attempts after one that failed, Moves those after one that
	// reached no server, and Hedges second requests while the first was out, of which
	// HedgesWon came first.
	Retries, Moves, Hedges, HedgesWon uint64
	// Failed requests were returned and not repeated: Exhausted because they had been
	// as often as is allowed, Unbudgeted for want of budget, TooLate because the
	// deadline or Options.MaxWait would have passed, NotRepeatable because they may have
	// been served or their body cannot be had again. Shadowed would have been repeated,
	// but for the mode.
	Exhausted, Unbudgeted, TooLate, NotRepeatable, Shadowed uint64
	// Tokens is the number of retries that the budget has left.
	Tokens float64
}

// Stats returns a snapshot.
func (r *Retrier) Stats() Stats {
	c := &r.count
	return Stats{
		Requests: c.requests.Load(), Retries: c.retries.Load(), Moves: c.moves.Load(),
		Hedges: c.hedges.Load(), HedgesWon: c.hedgesWon.Load(),
		Exhausted: c.exhausted.Load(), Unbudgeted: c.unbudgeted.Load(), TooLate: c.tooLate.Load(),
		NotRepeatable: c.notRepeatable.Load(), Shadowed: c.shadowed.Load(),
		Tokens: r.budget.left(r.now()),
	}
}

// Metrics yields the figures.
func (r *Retrier) Metrics(yield func(uprung.Metric) bool) {
	s := r.Stats()
	name := uprung.Label{Name: "retrier", Value: r.o.Name}
	counter := func(metric, help string, value uint64, labels ...uprung.Label) uprung.Metric {
		return uprung.Metric{Name: metric, Help: help, Type: uprung.Counter, Value: float64(value), Labels: append([]uprung.Label{name}, labels...)}
	}
	kind := func(value string) uprung.Label { return uprung.Label{Name: "kind", Value: value} }
	reason := func(value string) uprung.Label { return uprung.Label{Name: "reason", Value: value} }
	const attempts, attemptsHelp = "uprung_retry_attempts_total", "Further attempts, by kind: after a failure, after one that reached no server, while the first was out."
	const refused, refusedHelp = "uprung_retry_refused_total", "Failed requests that were not repeated, by reason."
	for _, m := range []uprung.Metric{
		counter("uprung_retry_requests_total", "Requests, however often they were sent.", s.Requests),
		counter(attempts, attemptsHelp, s.Retries, kind("retry")),
		counter(attempts, attemptsHelp, s.Moves, kind("move")),
		counter(attempts, attemptsHelp, s.Hedges, kind("hedge")),
		counter("uprung_retry_hedges_won_total", "Hedges that answered first.", s.HedgesWon),
		counter(refused, refusedHelp, s.Exhausted, reason("exhausted")),
		counter(refused, refusedHelp, s.Unbudgeted, reason("budget")),
		counter(refused, refusedHelp, s.TooLate, reason("too_late")),
		counter(refused, refusedHelp, s.NotRepeatable, reason("not_repeatable")),
		counter(refused, refusedHelp, s.Shadowed, reason("shadow")),
		{Name: "uprung_retry_budget_retries", Help: "Retries that the budget has left.", Type: uprung.Gauge, Value: s.Tokens, Labels: []uprung.Label{name}},
	} {
		if !yield(m) {
			return
		}
	}
}

// Layer describes the retrier and its effective settings.
func (r *Retrier) Layer() uprung.Layer {
	settings := append([]uprung.Setting(nil), r.settings...)
	mode := r.Mode()
	settings[0] = uprung.Setting{Name: "Mode", Value: mode.String(), Default: mode == uprung.Enforce}
	return uprung.Layer{Kind: uprung.KindRetry, Name: r.o.Name, Settings: settings}
}
