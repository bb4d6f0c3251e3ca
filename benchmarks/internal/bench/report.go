package bench

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
)

// table holds the figures of one case.
type table struct {
	name, ratio, reference string
	impls                  []string
	figures                map[string]Figures
}

// metrics returns the metrics that the case has, in the order of Metrics.
func (t *table) metrics() []Metric {
	var present []Metric
	for _, m := range Metrics {
		if slices.ContainsFunc(t.impls, func(impl string) bool { _, ok := t.figures[impl][m.Name]; return ok }) {
			present = append(present, m)
		}
	}
	return present
}

func (t *table) results(suite string) []Result {
	var results []Result
	for _, impl := range t.impls {
		for _, m := range t.metrics() {
			if v, ok := t.figures[impl][m.Name]; ok {
				results = append(results, Result{suite, t.name, impl, m.Name, v, m.Unit})
			}
		}
	}
	return results
}

// String returns the table as text, the best implementation first.
func (t *table) String() string {
	title := t.name
	if t.reference != "" {
		title += " (added to " + t.reference + ")"
	}
	var out strings.Builder
	fmt.Fprintf(&out, "\n%s\n", title)
	impls := slices.Clone(t.impls)
	slices.SortStableFunc(impls, func(a, b string) int {
		if a == t.reference || b == t.reference {
			return cmp.Compare(btoi(a == t.reference), btoi(b == t.reference))
		}
		if higherIsBetter(t.ratio) {
			a, b = b, a
		}
		return cmp.Compare(t.figures[a][t.ratio], t.figures[b][t.ratio])
	})
	metrics := t.metrics()
	w := tabwriter.NewWriter(&out, 0, 0, 2, ' ', tabwriter.AlignRight)
	row := func(impl string, cells ...string) {
		// The padding puts the names, alone, on the left.
		_, _ = fmt.Fprintf(w, "  %-*s\t%s\t\n", t.width(), impl, strings.Join(cells, "\t")) // out takes everything
	}
	head := make([]string, 0, len(metrics)+1)
	for _, m := range metrics {
		head = append(head, m.Name)
	}
	row("impl", append(head, Ours+"/peer ("+t.ratio+")")...)
	for _, impl := range impls {
		cells := make([]string, 0, len(metrics)+1)
		for _, m := range metrics {
			cells = append(cells, t.cell(impl, m.Name))
		}
		ratio := "-"
		if v, ok := t.compare(t.ratio, Ours, impl); ok && !ours(impl) && impl != t.reference {
			ratio = number(v)
		}
		row(impl, append(cells, ratio)...)
	}
	_ = w.Flush()
	return out.String()
}

func (t *table) cell(impl, metric string) string {
	if v, ok := t.figures[impl][metric]; ok {
		return number(v)
	}
	return "-"
}

func (t *table) width() int {
	width := len("impl")
	for _, impl := range t.impls {
		width = max(width, len(impl))
	}
	return width
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

// compare returns the figure of one of ours divided by the peer's, and false if either is missing or
// the quotient says nothing.
func (t *table) compare(metric, impl, peer string) (float64, bool) {
	a, okA := t.figures[impl][metric]
	b, okB := t.figures[peer][metric]
	return a / b, okA && okB && b > 0
}

// best returns the peer that is best in the direction of a bound.
func (t *table) best(metric string, bound Bound) string {
	var best string
	for _, impl := range t.impls {
		v, ok := t.figures[impl][metric]
		if !ok || ours(impl) || impl == t.reference {
			continue
		}
		if best == "" || bound.better(v, t.figures[best][metric]) {
			best = impl
		}
	}
	return best
}

// Verdict is how a target stands.
type Verdict struct {
	Target *Target
	// Cases is the number of cases in which it could be judged; with none of them
	// the target neither holds nor is missed.
	Cases int
	// Case, Peer and Value are the case where the figure or ratio is worst, the
	// peer it was compared to, and it.
	Case, Peer string
	Value      float64
}

// Holds reports whether the target was judged and holds in every case.
func (v *Verdict) Holds() bool { return v.Cases > 0 && v.Target.Bound.holds(v.Value) }

// Missed reports whether the target was judged and does not hold somewhere.
func (v *Verdict) Missed() bool { return v.Cases > 0 && !v.Target.Bound.holds(v.Value) }

// judge looks a target up in all tables that it is about.
func (t *Target) judge(tables []*table) Verdict {
	verdict := Verdict{Target: t}
	names := whole(t.Case)
	for _, table := range tables {
		if !names.MatchString(table.name) {
			continue
		}
		peer := t.Peer
		if peer == Best {
			peer = table.best(t.Metric, t.Bound)
		}
		v, ok := table.figures[t.impl()][t.Metric]
		if t.Peer != "" {
			v, ok = table.compare(t.Metric, t.impl(), peer)
		}
		if !ok {
			continue
		}
		if verdict.Cases == 0 || t.Bound.better(verdict.Value, v) {
			verdict.Case, verdict.Peer, verdict.Value = table.name, peer, v
		}
		verdict.Cases++
	}
	return verdict
}

// String returns one line: the verdict, the target, and the figure.
func (v *Verdict) String() string {
	word := "no figure"
	switch {
	case v.Holds():
		word = "holds"
	case v.Missed():
		word = "MISSED"
	}
	what := v.Target.impl()
	if v.Target.Peer != "" {
		what += "/" + v.Target.Peer
	}
	text := fmt.Sprintf("%-9s  %s: %s of %s %s", word, v.Target.Case, v.Target.Metric, what, v.Target.Bound)
	if v.Target.Stretch {
		text += " (stretch)"
	}
	if v.Cases == 0 {
		return text
	}
	text += ", is " + number(v.Value)
	if v.Target.Peer == Best {
		text += " to " + v.Peer
	}
	if v.Cases > 1 {
		text += fmt.Sprintf(" at worst in %d cases (%s)", v.Cases, v.Case)
	}
	return text
}

// number writes a figure with as many digits as it deserves.
func number(v float64) string {
	switch abs := math.Abs(v); {
	case v == math.Trunc(v) && abs < 1e6:
		return strconv.FormatFloat(v, 'f', -1, 64)
	case abs < 0.1:
		return strconv.FormatFloat(v, 'g', 2, 64)
	case abs < 10:
		return strconv.FormatFloat(v, 'f', 2, 64)
	case abs < 100:
		return strconv.FormatFloat(v, 'f', 1, 64)
	}
	return strconv.FormatFloat(v, 'f', 0, 64)
}
