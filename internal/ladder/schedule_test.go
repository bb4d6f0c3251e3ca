package ladder

import (
	"math"
	"slices"
	"testing"
	"time"
)

var testStreams = []Stream{
	{Tenant: "a", PerSecond: 200, Keys: 100, Judged: true},
	{Tenant: "b", PerSecond: 50},
}

func TestScheduleDependsOnItsArgumentsOnly(t *testing.T) {
	t.Parallel()
	one := schedule(testStreams, 7, 10*time.Second)
	if again := schedule(testStreams, 7, 10*time.Second); !slices.Equal(one, again) {
		t.Error("the same seed gives two schedules")
	}
	if other := schedule(testStreams, 8, 10*time.Second); slices.Equal(one, other) {
		t.Error("two seeds give one schedule")
	}
	shorter := schedule(testStreams, 7, 4*time.Second)
	if len(shorter) == 0 || !slices.Equal(shorter, one[:len(shorter)]) {
		t.Errorf("%d arrivals of 4s are not the first of 10s", len(shorter))
	}
	if !slices.IsSortedFunc(one, func(a, b arrival) int { return int(a.at - b.at) }) {
		t.Error("arrivals are not in order")
	}
}

// Arrivals are a Poisson process: as many as the rate says, and as irregular.
func TestScheduleIsPoisson(t *testing.T) {
	t.Parallel()
	const seconds = 100
	all := schedule(testStreams, 1, seconds*time.Second)
	for i, s := range testStreams {
		want := s.PerSecond * seconds
		var perSecond [seconds]float64
		n, popular := 0.0, 0.0
		for _, a := range all {
			if a.stream != i {
				continue
			}
			n++
			perSecond[int(a.at.Seconds())]++
			if a.key == 0 {
				popular++
			}
			if a.key >= uint64(max(s.Keys, 1)) {
				t.Fatalf("stream %d: key is %d of %d", i, a.key, s.Keys)
			}
		}
		// Five standard deviations.
		if math.Abs(n-want) > 5*math.Sqrt(want) {
			t.Errorf("stream %d: %v arrivals, want about %v", i, n, want)
		}
		// In a Poisson process the variance of a count is its mean.
		variance := 0.0
		for _, count := range perSecond {
			variance += (count - s.PerSecond) * (count - s.PerSecond) / seconds
		}
		if ratio := variance / s.PerSecond; ratio < 0.5 || ratio > 2 {
			t.Errorf("stream %d: variance is %.2f of the mean, want about 1", i, ratio)
		}
		if share := popular / n; s.Keys == 100 && (share < 0.15 || share > 0.35) {
			t.Errorf("stream %d: the first key has a share of %.2f, want that of Zipf, about 0.24", i, share)
		}
	}
}
