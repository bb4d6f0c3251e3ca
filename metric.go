package uprung

// MetricType says how a [Metric] behaves over time.
type MetricType uint8

const (
	// Counter only ever grows. Its name ends in _total.
	Counter MetricType = iota
	// Gauge goes up and down.
	Gauge
)

// Metric is one figure at one moment, ready for any exporter. Names follow
// uprung_<package>_<noun>_<unit>, units are base units (seconds, bytes, ratios
// from 0 to 1), and label values come only from names that the programmer
// declared, never from keys, addresses or paths: the number of series is a
// constant of the program.
type Metric struct {
	Name   string
	Help   string
	Type   MetricType
	Labels []Label
	Value  float64
}

// Label is one dimension of a [Metric].
type Label struct {
	Name, Value string
}

// Source is anything with figures to export. Metrics calls yield once for each
// and stops early when yield returns false, so that a range over it reads
//
//	for m := range source.Metrics { ... }
//
// It is cheap, safe for concurrent use, and yields the same series each time.
type Source interface {
	Metrics(yield func(Metric) bool)
}
