package health

import (
	"context"
	"maps"
	"math"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/uprung/uprung"
)

func metrics(source uprung.Source) map[string]float64 {
	all := map[string]float64{}
	for m := range source.Metrics {
		var id strings.Builder
		id.WriteString(m.Name)
		for _, label := range m.Labels {
			id.WriteString(" " + label.Name + "=" + label.Value)
		}
		all[id.String()] = m.Value
	}
	return all
}

// compare compares metrics with what is wanted, and how a source keeps the rules.
func compare(t *testing.T, source uprung.Source, want map[string]float64) {
	t.Helper()
	if got := metrics(source); !maps.Equal(got, want) {
		t.Errorf("metrics are\n%v\nwant\n%v", got, want)
	}
	for m := range source.Metrics {
		if !strings.HasPrefix(m.Name, "uprung_health_") || m.Help == "" || (m.Type == uprung.Counter) != strings.HasSuffix(m.Name, "_total") {
			t.Errorf("%+v is not named as metrics are", m)
		}
	}
	for stop := range len(want) {
		n := 0
		source.Metrics(func(uprung.Metric) bool { n++; return n <= stop })
		if n != stop+1 {
			t.Errorf("yield was called %d times, want %d", n, stop+1)
		}
	}
}

func TestMonitorMetrics(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := &servers{}
		s.set("b", false)
		m := newMonitor(t, ProberFunc(func(ctx context.Context, addr string) error {
			time.Sleep(100 * time.Millisecond)
			if addr == "c" {
				<-ctx.Done()
			}
			return s.Probe(ctx, addr)
		}), &MonitorOptions{Name: "m", Interval: 2 * time.Second, Jitter: -1}, "a", "b", "c")
		series := len(metrics(m))
		stop := running(t, m)
		time.Sleep(9500 * time.Millisecond) // probes at 0, 2, 4, 6 and 8
		stop()
		for range 2 {
			m.Report("a", uprung.Failure) // nothing runs
		}
		compare(t, m, map[string]float64{
			"uprung_health_targets monitor=m state=unknown":          0,
			"uprung_health_targets monitor=m state=healthy":          1,
			"uprung_health_targets monitor=m state=unhealthy":        2,
			"uprung_health_probes_total monitor=m result=success":    5,
			"uprung_health_probes_total monitor=m result=failure":    5,
			"uprung_health_probes_total monitor=m result=timeout":    5,
			"uprung_health_probes_total monitor=m result=skipped":    0,
			"uprung_health_transitions_total monitor=m to=healthy":   1,
			"uprung_health_transitions_total monitor=m to=unhealthy": 2,
			"uprung_health_reported_failures_total monitor=m":        0,
			"uprung_health_probe_duration_seconds_total monitor=m":   6,
		})
		setTargets(t, m, "x", "y", "z", "secret-host:1")
		if got := metrics(m); len(got) != series || strings.Contains(strings.Join(keys(got), " "), "secret") {
			t.Errorf("series are %v, want %d, and no target in them", keys(got), series)
		}
	})
}

func keys(all map[string]float64) []string {
	var names []string
	for name := range all {
		names = append(names, name)
	}
	return names
}

func TestRegistryMetrics(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRegistry(t, &RegistryOptions{Name: "r", DrainWait: -1},
			Check{Name: "a", TTL: -1, Probe: func(context.Context) error { time.Sleep(time.Second / 4); return nil }},
			Check{Name: "b", Probe: failing})
		compare(t, r, map[string]float64{
			"uprung_health_draining registry=r":                                0,
			"uprung_health_check_state registry=r check=a state=unknown":       1,
			"uprung_health_check_state registry=r check=a state=healthy":       0,
			"uprung_health_check_state registry=r check=a state=unhealthy":     0,
			"uprung_health_check_runs_total registry=r check=a result=success": 0,
			"uprung_health_check_runs_total registry=r check=a result=failure": 0,
			"uprung_health_check_duration_seconds_total registry=r check=a":    0,
			"uprung_health_check_state registry=r check=b state=unknown":       1,
			"uprung_health_check_state registry=r check=b state=healthy":       0,
			"uprung_health_check_state registry=r check=b state=unhealthy":     0,
			"uprung_health_check_runs_total registry=r check=b result=success": 0,
			"uprung_health_check_runs_total registry=r check=b result=failure": 0,
			"uprung_health_check_duration_seconds_total registry=r check=b":    0,
		})
		for range 2 {
			_ = r.Readiness(t.Context())
		}
		_ = r.Drain(t.Context())
		synctest.Wait()
		compare(t, r, map[string]float64{
			"uprung_health_draining registry=r":                                1,
			"uprung_health_check_state registry=r check=a state=unknown":       0,
			"uprung_health_check_state registry=r check=a state=healthy":       1,
			"uprung_health_check_state registry=r check=a state=unhealthy":     0,
			"uprung_health_check_runs_total registry=r check=a result=success": 2,
			"uprung_health_check_runs_total registry=r check=a result=failure": 0,
			"uprung_health_check_duration_seconds_total registry=r check=a":    0.5,
			"uprung_health_check_state registry=r check=b state=unknown":       0,
			"uprung_health_check_state registry=r check=b state=healthy":       0,
			"uprung_health_check_state registry=r check=b state=unhealthy":     1,
			"uprung_health_check_runs_total registry=r check=b result=success": 0,
			"uprung_health_check_runs_total registry=r check=b result=failure": 1,
			"uprung_health_check_duration_seconds_total registry=r check=b":    0,
		})
	})
}

func TestScaleMetrics(t *testing.T) {
	t.Parallel()
	s := newScale(t, &ScaleOptions{Name: "s", Replicas: func() int { return 3 }}, 0.9, 0.2)
	compare(t, s, map[string]float64{
		"uprung_health_current_replicas scale=s":          3,
		"uprung_health_desired_replicas scale=s":          4,
		"uprung_health_saturation_ratio scale=s source=a": 0.9,
		"uprung_health_saturation_ratio scale=s source=b": 0.2,
	})
	compare(t, newScale(t, nil, 0.9), map[string]float64{"uprung_health_saturation_ratio scale=default source=a": 0.9})
	s = newScale(t, nil, math.NaN())
	if got := metrics(s)["uprung_health_saturation_ratio scale=default source=a"]; !math.IsNaN(got) {
		t.Errorf("a saturation that is not known is %v, want NaN", got)
	}
}
