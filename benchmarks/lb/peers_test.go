package lb

import (
	"math"
	"testing"
	"time"

	"github.com/uprung/uprung"
	"github.com/uprung/uprung/lb/pick"
)

func near(a, b float64) bool { return math.Abs(a-b) <= 1e-6*math.Abs(b) }

func TestCostEntrantsPick(t *testing.T) {
	t.Parallel()
	const endpoints = 10
	for _, one := range costEntrants {
		balance, err := one.make(endpoints)
		if err != nil {
			t.Fatal(err)
		}
		counts := [endpoints]int{}
		for range 20_000 {
			i := balance()
			if i < 0 || i >= endpoints {
				t.Fatalf("%s picks %d", one.name, i)
			}
			counts[i]++
		}
		for i, n := range counts {
			if n == 0 {
				t.Errorf("%s never picks endpoint %d: %v", one.name, i, counts)
			}
		}
	}
}

func TestPeakEWMA(t *testing.T) {
	t.Parallel()
	var e peakEndpoint
	if got := e.load(0); got != 0 {
		t.Errorf("load of an idle endpoint that is not known is %v, want 0", got)
	}
	e.pending = 2
	if got := e.load(0); got < peakUnknown {
		t.Errorf("load of an endpoint that is being tried is %v, want the penalty", got)
	}
	e.observe(10*ms, time.Second)
	if got := e.load(time.Second); got != 3*10e6 {
		t.Errorf("load is %v, want 3 x 10 ms", got)
	}
	e.observe(90*ms, time.Second) // a peak counts at once
	e.observe(10*ms, 11*time.Second)
	want := 90e6/math.E + 10e6*(1-1/math.E)
	if !near(e.cost, want) {
		t.Errorf("cost is %v, want %v", e.cost, want)
	}
	if got := e.load(21 * time.Second); !near(got, 3*want/math.E) { // reading decays
		t.Errorf("load is %v, want %v", got, 3*want/math.E)
	}

	one, err := newPeakEWMA(make([]*backend, 2))
	if err != nil {
		t.Fatal(err)
	}
	p := one.(*peakEWMA)
	p.endpoints = []peakEndpoint{{cost: 30e6}, {cost: 20e6}}
	for i, want := range []int{1, 0, 1} { // 30:20, 30:40, 60:40
		if token, _ := p.Pick(pick.Request{Random: uint64(i)}); token.Endpoint != want {
			t.Errorf("pick %d is %d, want %d", i, token.Endpoint, want)
		}
	}
	p.Done(pick.Token{Endpoint: 1}, 50*ms, uprung.Failure)
	if got := p.endpoints[1]; got.pending != 1 || got.cost != 50e6 {
		t.Errorf("after a request of 50 ms: %+v", got)
	}
}

func TestGoZero(t *testing.T) {
	t.Parallel()
	now := time.Hour
	p := newGoZero(2, new(draws), func() time.Duration { return now })
	a, b := p.conns[0], p.conns[1]
	a.picked.Store(int64(now))
	b.picked.Store(int64(now))
	a.lag.Store(400 - 1)
	b.lag.Store(100 - 1)
	if a.load() != 20 || b.load() != 10 {
		t.Errorf("loads are %d and %d, want the roots 20 and 10", a.load(), b.load())
	}
	for i, want := range []*goZeroConn{b, b, a} { // 20:10, 20:20, 20:30
		if i == 1 {
			a.lag.Store(401 * 401) // above 20
		}
		if i == 2 {
			a.lag.Store(400 - 1)
		}
		if got := p.pick(); got != want {
			t.Errorf("pick %d is endpoint %d, want %d", i, got.index, want.index)
		}
	}
	// One that has not been picked for more than a second is, once.
	a.lag.Store(1e12)
	now += goZeroForced + 1
	b.picked.Store(int64(now))
	if first, second := p.pick(), p.pick(); first != a || second != b {
		t.Errorf("after a second, endpoints %d and %d are picked, want 0 and 1", first.index, second.index)
	}

	c := &goZeroConn{}
	c.success.Store(goZeroSuccess)
	c.inflight.Store(3)
	p.end(c, now-50*ms, false) // the first latency counts as it is
	if got := c.lag.Load(); got != uint64(50*ms) {
		t.Errorf("lag is %d, want 50 ms", got)
	}
	now += goZeroDecay
	p.end(c, now-10*ms, true)
	if got, want := float64(c.lag.Load()), 50e6/math.E+10e6*(1-1/math.E); math.Abs(got-want) > 1 {
		t.Errorf("lag is %v, want %v", got, want)
	}
	if got := c.success.Load(); got != 367 { // 1000/e
		t.Errorf("success is %d, want 367", got)
	}
	if c.healthy() || c.inflight.Load() != 1 {
		t.Errorf("healthy is %v with %d in flight, want false with 1", c.healthy(), c.inflight.Load())
	}
	var unknown goZeroConn
	if got := unknown.load(); got != 1 {
		t.Errorf("load of an endpoint that is not known is %d, want 1", got)
	}
}

// TestGoZeroAvoidsFailing draws again where an endpoint fails, three times at most.
func TestGoZeroAvoidsFailing(t *testing.T) {
	t.Parallel()
	p := newGoZero(10, new(draws), func() time.Duration { return time.Hour })
	for _, c := range p.conns {
		c.picked.Store(int64(time.Hour))
	}
	p.conns[3].success.Store(0)
	const picks = 100_000
	n := 0
	for range picks {
		c := p.pick()
		c.inflight.Store(0)
		if c.index == 3 {
			n++
		}
	}
	// A pair has it with probability 1/5; of three such pairs in a row, the last is
	// taken, and half of it.
	if want := picks / 250.0; math.Abs(float64(n)-want) > 5*math.Sqrt(want) {
		t.Errorf("the failing endpoint is picked %d times of %d, want about %v", n, picks, want)
	}
}

func TestGRPCLeast(t *testing.T) {
	t.Parallel()
	drawn := []uint32{0, 1, 4, 1, 2, 2, 0, 2}
	p := makeGRPCLeast(3, func() uint32 { d := drawn[0]; drawn = drawn[1:]; return d })
	var done []func(error)
	for i, want := range []int{0, 1, 2, 0} { // 0:0; the same twice; the same twice; 1:1
		picked, err := p.pick()
		if err != nil || picked.conn != want {
			t.Errorf("pick %d is %d, %v, want %d", i, picked.conn, err, want)
		}
		done = append(done, picked.done)
	}
	if got := p.endpoints[0].requests.Load(); got != 2 {
		t.Errorf("endpoint 0 has %d requests, want 2", got)
	}
	for _, f := range done {
		f(nil)
	}
	for i := range p.endpoints {
		if got := p.endpoints[i].requests.Load(); got != 0 {
			t.Errorf("endpoint %d has %d requests at the end, want 0", i, got)
		}
	}
}

func TestPrequalSize(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		backends, size int
		uses           float64
	}{
		{100, 16, 2 / (0.84 - 0.25)},
		{20, 5, 2 / (0.75 - 0.25)},
		{1000, 16, 2 / (0.984 - 0.25)},
		{2, 2, math.Inf(1)},
	} {
		if size, uses := prequalSize(tt.backends); size != tt.size || uses != tt.uses && !near(uses, tt.uses) {
			t.Errorf("prequalSize(%d) = %d, %v, want %d, %v", tt.backends, size, uses, tt.size, tt.uses)
		}
	}
}

// TestPrequalChooses has a pool of probes that are hot, cold and of a backend that
// fails.
func TestPrequalChooses(t *testing.T) {
	t.Parallel()
	p := &prequal{success: []float64{1, 1, 1, 0.5}, uses: math.Inf(1)}
	p.seen.limit = 10
	p.pool = []probe{
		{backend: 0, inFlight: 11, latency: ms}, // hot
		{backend: 1, inFlight: 9, latency: 3 * ms},
		{backend: 2, inFlight: 10, latency: 2 * ms},
		{backend: 3, inFlight: 1, latency: ms}, // fails
	}
	var random draws
	// Of the cold the fastest, until it is hot too: then the next; then of the hot the
	// one with the fewest in flight.
	for i, want := range []int{2, 1, 1, 3} {
		if got := p.choose(&random); got != want {
			t.Errorf("choice %d is %d, want %d", i, got, want)
		}
	}
	p.worst = true
	p.pool[3].inFlight, p.pool[0].inFlight = 1, 40
	p.remove() // of the hot the one with the most in flight
	if len(p.pool) != 3 || p.pool[0].backend != 1 {
		t.Errorf("the worst is not removed: %+v", p.pool)
	}
	p.remove() // the oldest
	if len(p.pool) != 2 || p.pool[0].backend != 2 {
		t.Errorf("the oldest is not removed: %+v", p.pool)
	}
	p.uses = 1
	p.choose(&random)
	if len(p.pool) != 1 {
		t.Errorf("a probe that is used up is not removed: %+v", p.pool)
	}
}

func TestPrequalReceives(t *testing.T) {
	t.Parallel()
	backends := make([]*backend, 40)
	for i := range backends {
		backends[i] = &backend{}
	}
	one, err := newPrequal(backends)
	if err != nil {
		t.Fatal(err)
	}
	p := one.(*prequal)
	p.probe(7, 0)
	if p.receive(2*network - 1); len(p.pool) != 0 {
		t.Errorf("an answer is here before it has come: %+v", p.pool)
	}
	if p.receive(2 * network); len(p.pool) != 1 || p.pool[0].backend != 7 {
		t.Errorf("the answer is not here: %+v", p.pool)
	}
	for i := range backends {
		p.probe(i, ms)
	}
	p.probe(39, ms)
	p.receive(2 * ms)
	if n := len(p.pool); n != p.size || p.pool[n-1].backend != 39 || p.pool[n-2].backend != 38 || p.pool[0].backend != 40-p.size {
		t.Errorf("the pool is not that of the last backends: %+v", p.pool)
	}
	if p.receive(ms + 2*network + prequalAge + 1); len(p.pool) != 0 {
		t.Errorf("probes are too old: %+v", p.pool)
	}
	for range 2 {
		p.Done(pick.Token{Endpoint: 7}, 0, uprung.Failure)
	}
	if got := p.success[7]; !near(got, 0.81) {
		t.Errorf("success is %v after two failures, want 0.81", got)
	}
}

func TestQuantiles(t *testing.T) {
	t.Parallel()
	var q quantiles
	for i := range 1000 {
		q.add(i % 100)
	}
	// The last 128 are 72 to 99 and 0 to 99: 28 twice at the top, rank 108.
	if q.limit != 89 {
		t.Errorf("the 0.84 quantile is %d, want 89", q.limit)
	}
	if q.add(100_000); q.n != 1001 {
		t.Errorf("n is %d, want 1001", q.n)
	}
}
