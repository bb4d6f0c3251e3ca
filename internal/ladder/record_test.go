package ladder

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// slowPercentile tries every value.
func slowPercentile(values []time.Duration, percent int) time.Duration {
	smallest := time.Duration(-1)
	for _, v := range values {
		within := 0
		for _, other := range values {
			if other <= v {
				within++
			}
		}
		if within*100 >= percent*len(values) && (smallest < 0 || v < smallest) {
			smallest = v
		}
	}
	return smallest
}

func TestPercentileModel(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(1, 0))
	for range 300 {
		values := make([]time.Duration, 1+rng.IntN(250))
		for i := range values {
			values[i] = time.Duration(rng.IntN(100))
		}
		sorted := slices.Sorted(slices.Values(values))
		for _, percent := range []int{1, 50, 90, 99, 100} {
			got, ok := percentile(sorted, percent)
			if want := slowPercentile(values, percent); !ok || got != want {
				t.Fatalf("%d%% of %v is %d, %v; want %d", percent, sorted, got, ok, want)
			}
		}
	}
	if _, ok := percentile(nil, 99); ok {
		t.Error("no values have a percentile")
	}
}

func TestRecord(t *testing.T) {
	t.Parallel()
	streams := []Stream{{Judged: true}, {}}
	const ms = time.Millisecond
	arrivals := []arrival{{at: 0}, {at: 10 * ms}, {at: 11 * ms}, {at: 12 * ms, stream: 1}, {at: 13 * ms}, {at: 14 * ms}}
	samples := []sample{
		{failed, DefaultPatience, 9 * ms}, // before the measured part
		{served, 3 * ms, 1 * ms},
		{refused, 1 * ms, 1 * ms},
		{failed, DefaultPatience, 2 * ms}, // not judged
		{served, 5 * ms, 1 * ms},
		{failed, DefaultPatience, 1 * ms},
	}
	r := newRecord(&Rung{Streams: streams, Settle: 10 * ms}, arrivals, samples, 15*ms)
	if r.Offered != 4 || r.Served != 2 || r.Refused != 1 || r.Failed != 1 || r.Lateness != 2*ms {
		t.Errorf("got %s, lateness %v", counts(r), r.Lateness)
	}
	if got := r.Goodput(); got != 0.5 {
		t.Errorf("goodput is %v, want 0.5", got)
	}
	if empty := newRecord(&Rung{Streams: streams}, nil, nil, ms); empty.Goodput() != 0 || empty.Latency(99) != DefaultPatience {
		t.Errorf("nothing offered: goodput is %v, latency %v; want 0, %v", empty.Goodput(), empty.Latency(99), DefaultPatience)
	}
}

// Each row gives the latencies in milliseconds of the five parts of a record, -1
// for a refusal and -2 for a failure.
func TestRecordLatency(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name    string
		parts   [parts][]int
		percent int
		want    time.Duration
	}{
		{"median", [parts][]int{{10}, {50}, {20}, {40}, {30}}, 99, 30 * time.Millisecond},
		{"one stall", [parts][]int{{10, 900, 800}, {11}, {12}, {13}, {14}}, 99, 13 * time.Millisecond},
		{"half of each", [parts][]int{{1, 9}, {2, 9}, {3, 9}, {4, 9}, {5, 9}}, 50, 3 * time.Millisecond},
		{"refusals do not flatter", [parts][]int{{9, -1, -1}, {9, -1}, {9, -1}, {9, -1}, {-1, 9}}, 50, 9 * time.Millisecond},
		{"failures are slow", [parts][]int{{9, -2}, {9, -2}, {9, -2}, {9}, {9}}, 99, DefaultPatience},
		{"all refused", [parts][]int{{-1}, {-1}, {-1}, {9}, {9}}, 99, DefaultPatience},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var arrivals []arrival
			var samples []sample
			for i, part := range tt.parts {
				for j, ms := range part {
					s := sample{latency: time.Duration(ms) * time.Millisecond}
					switch ms {
					case -1:
						s = sample{result: refused, latency: time.Millisecond}
					case -2:
						s = sample{result: failed, latency: DefaultPatience}
					}
					arrivals = append(arrivals, arrival{at: time.Minute + time.Duration(i)*time.Second + time.Duration(j)})
					samples = append(samples, s)
				}
			}
			r := newRecord(&Rung{Streams: []Stream{{Judged: true}}, Settle: time.Minute}, arrivals, samples, time.Minute+parts*time.Second)
			if got := r.Latency(tt.percent); got != tt.want {
				t.Errorf("latency at %d%% is %v, want %v", tt.percent, got, tt.want)
			}
		})
	}
}
