package ratelimit

import (
	"fmt"
	"strings"
	"testing"

	"github.com/uprung/uprung"
	"github.com/uprung/uprung/key"
)

func metrics(l *Limiter) map[string]float64 {
	all := map[string]float64{}
	for m := range l.Metrics {
		var id strings.Builder
		id.WriteString(m.Name)
		for _, label := range m.Labels {
			id.WriteString(" " + label.Name + "=" + label.Value)
		}
		all[id.String()] = m.Value
	}
	return all
}

func TestMetricsTellStats(t *testing.T) {
	t.Parallel()
	l := newLimiter(t, PerDay(2), &Options{Name: "p", Capacity: 16, Key: key.Header("Api-Key")})
	for range 5 {
		l.Allow("k")
	}
	send(l.Middleware(accept), request(""))
	if err := l.SetMode(uprung.Shadow); err != nil {
		t.Fatal(err)
	}
	l.Allow("k")
	want := map[string]float64{
		"uprung_ratelimit_decisions_total policy=p outcome=allow":       2,
		"uprung_ratelimit_decisions_total policy=p outcome=deny":        3,
		"uprung_ratelimit_decisions_total policy=p outcome=shadow_deny": 1,
		"uprung_ratelimit_decisions_total policy=p outcome=missing_key": 1,
		"uprung_ratelimit_decisions_total policy=p outcome=error":       0,
		"uprung_ratelimit_evictions_total policy=p":                     0,
		"uprung_ratelimit_keys policy=p":                                1,
		"uprung_ratelimit_capacity_keys policy=p":                       16,
	}
	got := metrics(l)
	for id, value := range want {
		if v, ok := got[id]; !ok || v != value {
			t.Errorf("%s is %v (%v), want %v", id, v, ok, value)
		}
	}
	if len(got) != len(want) {
		t.Errorf("%d series, want %d: %v", len(got), len(want), got)
	}
	if s := l.Stats(); s != (Stats{Granted: 2, Denied: 3, ShadowDenied: 1, Keyless: 1, Keys: 1, Capacity: 16}) {
		t.Errorf("Stats() is %+v", s)
	}
	for stop := range len(want) {
		n := 0
		l.Metrics(func(uprung.Metric) bool { n++; return n <= stop })
		if n != stop+1 {
			t.Errorf("yield was called %d times, want %d", n, stop+1)
		}
	}
}

func TestMetricsNeverCarryTheKey(t *testing.T) {
	t.Parallel()
	const secret = "s3cret"
	l := newLimiter(t, PerDay(1), &Options{Name: "p", Key: key.Header("Api-Key")})
	h := l.Middleware(accept)
	series := len(metrics(l))
	var told strings.Builder
	for i := range 500 {
		name := fmt.Sprint(secret, i%100)
		w := send(h, request(name))
		_ = w.Header().Write(&told)
		told.WriteString(w.Body.String())
		_, err := l.Take(t.Context(), name, 2)
		fmt.Fprintln(&told, err, l.Wait(t.Context(), name, 2), l.Refund(name, -1))
	}
	for m := range l.Metrics {
		fmt.Fprintln(&told, m)
		if !strings.HasPrefix(m.Name, "uprung_ratelimit_") || m.Help == "" || (m.Type == uprung.Counter) != strings.HasSuffix(m.Name, "_total") {
			t.Errorf("%+v is not named as metrics are", m)
		}
		for _, label := range m.Labels {
			if label.Name != "policy" && label.Name != "outcome" {
				t.Errorf("%+v has a label that nobody declared", m)
			}
		}
	}
	if got := len(metrics(l)); got != series {
		t.Errorf("%d series after 100 keys, want %d as before", got, series)
	}
	fmt.Fprintln(&told, l.Layer(), l.Stats())
	if strings.Contains(told.String(), secret) {
		t.Errorf("a key is told:\n%s", told.String()[max(strings.Index(told.String(), secret)-200, 0):])
	}
}
