package ladder

import (
	"strings"
	"testing"
	"time"
)

func TestWriteTable(t *testing.T) {
	t.Parallel()
	r := testRung()
	r.Story = strings.Repeat("word ", 20)
	r.Promises = append(r.Promises, Promise{
		Metric: "p99_ms", Title: "p99 of all", Better: Lower, Factor: 0.3, Format: "%.0f ms",
		Of: func(r *Record) float64 { return milliseconds(r.Latency(99)) },
	})
	before := &Record{Offered: 100, Served: 38, Lateness: 1200 * time.Microsecond}
	after := &Record{Offered: 100, Served: 100}
	for i := range parts {
		before.latencies[i] = []time.Duration{800 * time.Millisecond}
		after.latencies[i] = []time.Duration{400 * time.Millisecond}
	}
	o := Outcome{Rung: r, Before: before, After: after}
	for i := range r.Promises {
		o.Entries = append(o.Entries, r.Promises[i].judge(r.Name, before, after))
	}
	want := `rung  metric      before   after  factor  promise
---------------------------------------------------------------
test  goodput       0.38    1.00    2.63  after >= 0.9   kept
      p99 of all  800 ms  400 ms     0.5  factor <= 0.3  MISSED

test: word word word word word word word word word word word word word word word
word word word word word

The generator sent 99% of its requests within 1.2 ms of their instant.
`
	var b strings.Builder
	if err := WriteTable(&b, []Outcome{o}, false); err != nil || b.String() != want {
		t.Errorf("got\n%s%v\nwant\n%s", b.String(), err, want)
	}
	b.Reset()
	if err := WriteTable(&b, []Outcome{o}, true); err != nil {
		t.Error(err)
	}
	uncolored := strings.NewReplacer(bold, "", green, "", red, "", plain, "").Replace(b.String())
	if uncolored != want || !strings.Contains(b.String(), red+"MISSED"+plain) {
		t.Errorf("in color, got\n%q", b.String())
	}
}

func TestProgressLine(t *testing.T) {
	t.Parallel()
	p := Progress{
		Rung: testRung(), Elapsed: 1500 * time.Millisecond, Length: 8 * time.Second, Settling: true,
		Offered: 780.4, Served: 300, Refused: 479.6, P99: 832 * time.Millisecond,
	}
	want := "test     without   1.5s of 8.0s  offered  780/s  ok  300/s  refused  480/s  failed    0/s  p99 of all  832 ms  (settling)"
	if got := p.String(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	p.With, p.Settling, p.P99 = true, false, 0
	want = "test     with      1.5s of 8.0s  offered  780/s  ok  300/s  refused  480/s  failed    0/s  p99 of all       -"
	if got := p.String(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}
