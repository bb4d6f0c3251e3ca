package prom

import (
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/uprung/uprung"
)

// Collector reads sources when Prometheus scrapes. It is safe for concurrent
// use. Use NewCollector.
type Collector struct {
	sources []uprung.Source
}

// NewCollector returns a collector of the given sources. It returns an error if
// one of them is nil or if two yield the same series: parts of one kind need
// names of their own.
func NewCollector(sources ...uprung.Source) (*Collector, error) {
	var errs []error
	seen := make(map[string]int)
	for i, source := range sources {
		if source == nil {
			errs = append(errs, fmt.Errorf("prom: source %d is nil, want what has figures, such as a limiter or a cache", i))
			continue
		}
		for m := range source.Metrics {
			series := seriesOf(m)
			if first, twice := seen[series]; twice {
				errs = append(errs, fmt.Errorf("prom: source %d yields %s, as source %d does: give each part a name of its own", i, series, first))
				break
			}
			seen[series] = i
		}
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	return &Collector{sources: append([]uprung.Source(nil), sources...)}, nil
}

// seriesOf returns the name and labels of a metric in the notation of
// Prometheus.
func seriesOf(m uprung.Metric) string {
	var b strings.Builder
	b.WriteString(m.Name + "{")
	for i, label := range m.Labels {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, "%s=%q", label.Name, label.Value)
	}
	b.WriteByte('}')
	return b.String()
}

// Describe sends the descriptions of all series. It implements
// [prometheus.Collector].
func (c *Collector) Describe(descs chan<- *prometheus.Desc) {
	prometheus.DescribeByCollect(c, descs)
}

// Collect sends the present value of all series. It implements
// [prometheus.Collector].
func (c *Collector) Collect(metrics chan<- prometheus.Metric) {
	for _, source := range c.sources {
		for m := range source.Metrics {
			metrics <- constMetric(m)
		}
	}
}

func constMetric(m uprung.Metric) prometheus.Metric {
	names, values := make([]string, len(m.Labels)), make([]string, len(m.Labels))
	for i, label := range m.Labels {
		names[i], values[i] = label.Name, label.Value
	}
	desc := prometheus.NewDesc(m.Name, m.Help, names, nil)
	valueType := prometheus.GaugeValue
	if m.Type == uprung.Counter {
		valueType = prometheus.CounterValue
	}
	metric, err := prometheus.NewConstMetric(desc, valueType, m.Value, values...)
	if err != nil {
		return prometheus.NewInvalidMetric(desc, err)
	}
	return metric
}

// Handler returns a page that shows the given sources, and them alone, in the
// formats that Prometheus scrapes. It fails as [NewCollector] does, and if the
// sources disagree about the labels or the help text of a metric.
func Handler(sources ...uprung.Source) (http.Handler, error) {
	collector, err := NewCollector(sources...)
	if err != nil {
		return nil, err
	}
	registry := prometheus.NewRegistry()
	if err := registry.Register(collector); err != nil {
		return nil, fmt.Errorf("prom: %w", err)
	}
	return promhttp.HandlerFor(registry, promhttp.HandlerOpts{}), nil
}
