package ladder

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"
)

func TestJudge(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name          string
		promise       Promise
		before, after int // served of 100
		factor        float64
		ok            bool
		want          string
	}{
		{"factor kept", Promise{Better: Higher, Factor: 2}, 20, 40, 2, true, "factor >= 2"},
		{"factor missed", Promise{Better: Higher, Factor: 2}, 20, 39, 1.95, false, "factor >= 2"},
		{"lower kept", Promise{Better: Lower, Factor: 0.5}, 80, 40, 0.5, true, "factor <= 0.5"},
		{"lower missed", Promise{Better: Lower, Factor: 0.5}, 50, 100, 2, false, "factor <= 0.5"},
		{"after kept", Promise{Better: Higher, After: 0.95}, 50, 95, 1.9, true, "after >= 0.95"},
		{"after missed", Promise{Better: Higher, After: 0.95}, 1, 90, 90, false, "after >= 0.95"},
		{"after lower", Promise{Better: Lower, After: 0.1}, 50, 20, 0.4, false, "after <= 0.1"},
		{"one of two", Promise{Better: Higher, Factor: 2, After: 0.95}, 20, 80, 4, false, "factor >= 2 and after >= 0.95"},
		{"both", Promise{Better: Higher, Factor: 2, After: 0.95}, 20, 100, 5, true, "factor >= 2 and after >= 0.95"},
		{"from nothing", Promise{Better: Higher, Factor: 2}, 0, 50, 1e6, true, "factor >= 2"},
		{"nothing at all", Promise{Better: Higher, Factor: 2}, 0, 0, 1, false, "factor >= 2"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			tt.promise.Metric, tt.promise.Of = "goodput_ratio", (*Record).Goodput
			e := tt.promise.judge("r", &Record{Offered: 100, Served: tt.before}, &Record{Offered: 100, Served: tt.after})
			if e.Factor != tt.factor || e.OK != tt.ok || e.Want != tt.want {
				t.Errorf("got factor %v, ok %v, want %q; want %v, %v, %q", e.Factor, e.OK, e.Want, tt.factor, tt.ok, tt.want)
			}
		})
	}
}

func TestEntryJSON(t *testing.T) {
	t.Parallel()
	got, err := json.Marshal(Entry{Name: "limit", Metric: "p99_ms", Better: Lower, Before: 800, After: 40, Factor: 0.05, OK: true, Want: "less"})
	want := `{"name":"limit","metric":"p99_ms","better":"lower","before":800,"after":40,"factor":0.05,"ok":true,"want":"less"}`
	if err != nil || string(got) != want {
		t.Errorf("got %s, %v; want %s", got, err, want)
	}
}

// testRung is valid, and short. Its handler takes 20 ms; with is not looked at.
func testRung() *Rung {
	return &Rung{
		Name:    "test",
		Story:   "it is only a test.",
		Judged:  "all",
		Streams: []Stream{{Tenant: "a", PerSecond: 100, Keys: 10, Judged: true}},
		Settle:  time.Second,
		Window:  time.Second,
		Handler: func(bool) (http.Handler, error) { return NewOrigin(10, 20*time.Millisecond, 10) },
		Promises: []Promise{{
			Metric: "goodput_ratio", Title: "goodput", Better: Higher, Of: (*Record).Goodput, Format: "%.2f", After: 0.9,
		}},
	}
}

func TestValidateNamesEveryBadField(t *testing.T) {
	t.Parallel()
	bad := &Rung{
		Name: "two words", Settle: -1, Patience: -1, Streams: []Stream{{PerSecond: -1, Keys: -1}},
		Promises: []Promise{{Better: "more"}},
	}
	for _, tt := range []struct {
		config Config
		want   []string
	}{
		{Config{}, []string{"ladder: Rungs is empty"}},
		{Config{Rungs: []*Rung{bad}, Duration: 2 * time.Hour}, []string{
			`ladder: rung "two words": Name is "two words", want one word`,
			`ladder: rung "two words": Settle is -1ns, want >= 0`,
			`ladder: rung "two words": Window is 0s, want > 0`,
			`ladder: rung "two words": Patience is -1ns, want >= 0`,
			`ladder: rung "two words": Handler is nil`,
			`ladder: rung "two words": Streams[0].PerSecond is -1, want > 0`,
			`ladder: rung "two words": Streams[0].Keys is -1, want >= 0`,
			`ladder: rung "two words": no stream is Judged`,
			`ladder: rung "two words": Promises[0] lacks Metric, Of or Format`,
			`ladder: rung "two words": Promises[0].Better is "more", want "lower" or "higher"`,
			`ladder: rung "two words": Promises[0] has neither Factor nor After`,
			"ladder: Duration is 2h0m0s, want at most 1h0m0s",
		}},
		{Config{Rungs: []*Rung{testRung(), testRung()}, Duration: 10 * time.Second}, []string{
			"ladder: Duration is 10s, want at least 16s (test 8s + test 8s)",
		}},
		{Config{Rungs: []*Rung{testRung()}, Duration: 8 * time.Second}, nil},
	} {
		got := ""
		if err := tt.config.Validate(); err != nil {
			got = err.Error()
		}
		if want := strings.Join(tt.want, "\n"); got != want {
			t.Errorf("got\n%s\nwant\n%s", got, want)
		}
	}
}
