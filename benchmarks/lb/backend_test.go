package lb

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

const ms = time.Millisecond

func TestSpeeds(t *testing.T) {
	t.Parallel()
	all := []speed{{10 * ms, 1}, {20 * ms, 0}, {30 * ms, 0.5}, {forever, 1}}
	for _, tt := range []struct{ start, work, want time.Duration }{
		{0, 10 * ms, 10 * ms},
		{0, 11 * ms, 22 * ms},  // 10 before the stall, 1 at half speed
		{5 * ms, ms, 6 * ms},   //
		{12 * ms, ms, 22 * ms}, // begins in the stall
		{20 * ms, 5 * ms, 30 * ms},
		{20 * ms, 6 * ms, 31 * ms},
		{29 * ms, 2 * ms, 31*ms + 500*time.Microsecond},
		{0, 25 * ms, 40 * ms},
		{31 * ms, ms, 32 * ms},
	} {
		s := speeds{all: all}
		if got := s.after(tt.start, tt.work); got != tt.want {
			t.Errorf("%v of work from %v on ends at %v, want %v", tt.work, tt.start, got, tt.want)
		}
	}
}

func TestNewSpeeds(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 1))
	for _, tt := range []struct {
		role     role
		min, max float64 // progress in a second
	}{{plain, 1, 1}, {slow, 1, 1}, {failing, 1, 1}, {disturbed, 0.7, 0.8}, {stalling, 0.79, 0.81}} {
		work := time.Duration(0)
		const backends, until = 20, 290 * time.Second
		for range backends {
			at := time.Duration(0)
			for _, v := range newSpeeds(tt.role, random).all {
				work += time.Duration(float64(max(0, min(v.until, until)-at)) * v.progress)
				at = v.until
			}
		}
		if got := work.Seconds() / (backends * until.Seconds()); got < tt.min || got > tt.max {
			t.Errorf("role %d makes progress of %v, want %v to %v", tt.role, got, tt.min, tt.max)
		}
	}
}

func TestBackend(t *testing.T) {
	t.Parallel()
	b := &backend{speeds: speeds{all: []speed{{forever, 1}}}, slowBy: 3, from: 100 * ms, to: 200 * ms}
	for i, tt := range []struct {
		at, work, want time.Duration
		failed         bool
	}{
		{0, 10 * ms, 30 * ms, false},
		{0, 20 * ms, 60 * ms, false},
		{0, 20 * ms, 60 * ms, false},
		{0, 20 * ms, 60 * ms, false},
		{5 * ms, ms, 33 * ms, false}, // waits for the first
		{100 * ms, 9 * ms, 101 * ms, true},
		{199 * ms, 9 * ms, 200 * ms, true},
		{200 * ms, ms, 203 * ms, false},
	} {
		if got, failed := b.arrive(tt.at, tt.work); got != tt.want || failed != tt.failed {
			t.Errorf("request %d ends at %v, %v, want %v, %v", i, got, failed, tt.want, tt.failed)
		}
	}
}

// TestStatus compares with a model that looks at all requests there were.
func TestStatus(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2))
	b := &backend{speeds: newSpeeds(disturbed, random), slowBy: 1, status: &status{}}
	var all []served
	inFlight := func(now time.Duration) (n int) {
		for _, one := range all {
			if one.finished > now {
				n++
			}
		}
		return n
	}
	now := time.Duration(0)
	for i := range 3000 {
		now += time.Duration(random.ExpFloat64() * 3.3 * float64(ms))
		found := inFlight(now)
		if i%3 == 0 {
			// The last that found as many, or nearly as many, in the order of their ends.
			byEnd := slices.Clone(all)
			slices.SortStableFunc(byEnd, func(a, b served) int { return int(a.finished - b.finished) })
			var want time.Duration
			for off := 0; off < 1000 && want == 0; off++ {
				for _, n := range []int{found - off, found + off} {
					var took []time.Duration
					for _, one := range byEnd {
						if one.found == n && one.finished <= now {
							took = append(took, one.finished-one.arrived)
						}
					}
					if took = took[max(0, len(took)-kept):]; len(took) > 0 && want == 0 {
						slices.Sort(took)
						want = took[len(took)/2]
					}
				}
			}
			if n, latency := b.status.probe(now); n != found || latency != want {
				t.Fatalf("probe %d tells %d, %v, want %d, %v", i, n, latency, found, want)
			}
		}
		finish, _ := b.arrive(now, lognormal(random))
		all = append(all, served{now, finish, found})
	}
}
