package deadline

import (
	"sync/atomic"

	"github.com/uprung/uprung"
	"github.com/uprung/uprung/internal/option"
)

var _ uprung.Source = (*Deadline)(nil)

// counters are what is counted.
type counters struct {
	done, refused, exceeded, cut, shadowRefused, shadowExceeded atomic.Uint64
	malformed, latePanics                                       atomic.Uint64
	late                                                        atomic.Int64
}

// Stats are the figures of a [Deadline] since it was made. Requests that were exempt
// are not in them.
type Stats struct {
	// Done counts work that ended before its deadline, well or not.
	Done uint64
	// Refused counts work that was not begun for want of time.
	Refused uint64
	// Exceeded counts work that had no response when its time was over, and Cut that
	// whose response had begun, and was cut off.
	Exceeded, Cut uint64
	// ShadowRefused and ShadowExceeded would have been refused, and exceeded or cut, but
	// for the mode.
	ShadowRefused, ShadowExceeded uint64
	// Malformed counts header fields of trusted requests that could not be read.
	Malformed uint64
	// Late is the number of handlers at this moment that go on after their deadline. If
	// it stays above zero, handlers ignore their context.
	Late int64
	// LatePanics counts those that panicked then, [http.ErrAbortHandler] apart.
	LatePanics uint64
}

// Stats returns a snapshot, whose figures may be a few requests apart from one
// another.
func (d *Deadline) Stats() Stats {
	c := &d.count
	return Stats{
		Done: c.done.Load(), Refused: c.refused.Load(), Exceeded: c.exceeded.Load(), Cut: c.cut.Load(),
		ShadowRefused: c.shadowRefused.Load(), ShadowExceeded: c.shadowExceeded.Load(),
		Malformed: c.malformed.Load(), Late: max(c.late.Load(), 0), LatePanics: c.latePanics.Load(),
	}
}

// Metrics yields the figures of Stats for an exporter.
func (d *Deadline) Metrics(yield func(uprung.Metric) bool) {
	s := d.Stats()
	name := uprung.Label{Name: "deadline", Value: d.o.Name}
	metric := func(typ uprung.MetricType, metric, help string, value float64, labels ...uprung.Label) uprung.Metric {
		return uprung.Metric{Name: metric, Help: help, Type: typ, Value: value, Labels: append([]uprung.Label{name}, labels...)}
	}
	outcome := func(value string, count uint64) uprung.Metric {
		const help = "Requests by outcome: done (before the deadline), refused (for want of time, not begun), exceeded (no response in time), cut (the response had begun), shadow_refused and shadow_exceeded (would have been, but for the mode)."
		return metric(uprung.Counter, "uprung_deadline_requests_total", help, float64(count), uprung.Label{Name: "outcome", Value: value})
	}
	for _, m := range []uprung.Metric{
		outcome("done", s.Done),
		outcome("refused", s.Refused),
		outcome("exceeded", s.Exceeded),
		outcome("cut", s.Cut),
		outcome("shadow_refused", s.ShadowRefused),
		outcome("shadow_exceeded", s.ShadowExceeded),
		metric(uprung.Counter, "uprung_deadline_malformed_headers_total", "Header fields of trusted requests that could not be read.", float64(s.Malformed)),
		metric(uprung.Gauge, "uprung_deadline_late_handlers", "Handlers that go on after their deadline.", float64(s.Late)),
		metric(uprung.Counter, "uprung_deadline_late_panics_total", "Panics of handlers after their deadline.", float64(s.LatePanics)),
		metric(uprung.Gauge, "uprung_deadline_limit_seconds", "The limit.", d.Limit().Seconds()),
	} {
		if !yield(m) {
			return
		}
	}
}

// describe writes down the settings that do not change. o are the options as given.
func (d *Deadline) describe(o *Options) {
	margin := "a tenth, at most " + maxMargin.String()
	switch {
	case o.Margin > 0:
		margin = o.Margin.String()
	case o.Margin < 0:
		margin = "none"
	}
	common := []uprung.Setting{
		{Name: "Header", Value: d.o.Header, Default: d.o.Header == DefaultHeader},
		{Name: "MinRemaining", Value: o.MinRemaining.String(), Default: o.MinRemaining == 0},
		{Name: "Skip", Value: option.Function(o.Skip != nil, "none"), Default: o.Skip == nil},
	}
	keyed := func(otherwise string) uprung.Setting {
		return uprung.Setting{Name: "Key", Value: option.Function(o.Key != nil, otherwise), Default: o.Key == nil}
	}
	d.settings = append([]uprung.Setting{
		{Name: "Trust", Value: option.Function(o.Trust != nil, "nobody"), Default: o.Trust == nil},
		keyed("key.Direct"),
		{Name: "Refused", Value: option.Function(o.Refused != nil, "problem document"), Default: o.Refused == nil},
	}, common...)
	d.outgoing = append([]uprung.Setting{
		{Name: "Margin", Value: margin, Default: o.Margin == 0},
		keyed("the host of the URL"),
	}, common...)
}

// Layer describes the deadline and the effective settings of Middleware.
func (d *Deadline) Layer() uprung.Layer { return d.layer(d.settings) }

// layer describes one of the faces.
func (d *Deadline) layer(settings []uprung.Setting) uprung.Layer {
	mode := d.Mode()
	return uprung.Layer{Kind: uprung.KindDeadline, Name: d.o.Name, Settings: append([]uprung.Setting{
		{Name: "Limit", Value: d.Limit().String()},
		{Name: "Mode", Value: mode.String(), Default: mode == uprung.Enforce},
	}, settings...)}
}
