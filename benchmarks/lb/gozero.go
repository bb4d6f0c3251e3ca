package lb

import (
	"math"
	"math/rand"
	"sync"
	"sync/atomic"
	"time"
)

// The settings of go-zero's policy, which cannot be changed there.
const (
	goZeroDecay   = 10 * time.Second // time constant of averages
	goZeroForced  = time.Second      // after which one that was not picked is
	goZeroSuccess = 1000             // of an endpoint that does not fail
	goZeroDraws   = 3                // of pairs, for one of which both do not fail
	goZeroUnknown = math.MaxInt32    // load of an endpoint whose load is 0
	goZeroLog     = time.Minute
)

// goZero does what the picker p2c_ewma of go-zero's zrpc does, version 1.10.3, which
// is internal: under one lock it draws two different endpoints, up to three times
// until more than half of what both did last went well, and takes the one with the
// smaller square root of the average latency times requests in progress and one;
// unless the other has not been picked for a second: then that one.
type goZero struct {
	clock func() time.Duration
	logs  atomic.Int64 // when the last line was logged

	mu     sync.Mutex
	random *rand.Rand // guarded by mu
	conns  []*goZeroConn
}

type goZeroConn struct {
	index    int
	lag      atomic.Uint64 // average latency in nanoseconds
	inflight atomic.Int64
	success  atomic.Uint64
	requests atomic.Int64 // for the log
	last     atomic.Int64 // when a request was done
	picked   atomic.Int64 // when it was picked
}

func newGoZero(endpoints int, source rand.Source, clock func() time.Duration) *goZero {
	p := &goZero{clock: clock, random: rand.New(source)}
	for i := range endpoints {
		c := &goZeroConn{index: i}
		c.success.Store(goZeroSuccess)
		p.conns = append(p.conns, c)
	}
	return p
}

// pick returns an endpoint, which has one request more.
func (p *goZero) pick() *goZeroConn {
	p.mu.Lock()
	defer p.mu.Unlock()
	var chosen *goZeroConn
	switch n := len(p.conns); n {
	case 1:
		chosen = p.choose(p.conns[0], nil)
	case 2:
		chosen = p.choose(p.conns[0], p.conns[1])
	default:
		var a, b *goZeroConn
		for range goZeroDraws {
			i, j := p.random.Intn(n), p.random.Intn(n-1)
			if j >= i {
				j++
			}
			if a, b = p.conns[i], p.conns[j]; a.healthy() && b.healthy() {
				break
			}
		}
		chosen = p.choose(a, b)
	}
	chosen.inflight.Add(1)
	chosen.requests.Add(1)
	return chosen
}

func (p *goZero) choose(a, b *goZeroConn) *goZeroConn {
	now := int64(p.clock())
	if b == nil {
		a.picked.Store(now)
		return a
	}
	if a.load() > b.load() {
		a, b = b, a
	}
	if before := b.picked.Load(); now-before > int64(goZeroForced) && b.picked.CompareAndSwap(before, now) {
		return b
	}
	a.picked.Store(now)
	return a
}

// begin returns what is to be called when the picked request is done.
func (p *goZero) begin(c *goZeroConn) func(failed bool) {
	start := p.clock()
	return func(failed bool) { p.end(c, start, failed) }
}

func (p *goZero) end(c *goZeroConn, start time.Duration, failed bool) {
	c.inflight.Add(-1)
	now := p.clock()
	idle := max(0, int64(now)-c.last.Swap(int64(now)))
	w := math.Exp(float64(-idle) / float64(goZeroDecay))
	lag := c.lag.Load()
	if lag == 0 {
		w = 0
	}
	c.lag.Store(uint64(float64(lag)*w + float64(max(0, now-start))*(1-w)))
	success := float64(goZeroSuccess)
	if failed {
		success = 0
	}
	c.success.Store(uint64(float64(c.success.Load())*w + success*(1-w)))
	if logged := p.logs.Load(); int64(now)-logged >= int64(goZeroLog) {
		p.logs.CompareAndSwap(logged, int64(now))
	}
}

func (c *goZeroConn) healthy() bool { return c.success.Load() > goZeroSuccess/2 }

func (c *goZeroConn) load() int64 {
	load := int64(math.Sqrt(float64(c.lag.Load()+1))) * (c.inflight.Load() + 1)
	if load == 0 {
		return goZeroUnknown
	}
	return load
}

// newGoZeroBalancer reads the clock as go-zero does, and draws from a generator
// under the lock of the picker.
func newGoZeroBalancer(endpoints int) (balancer, error) {
	base := time.Now().AddDate(-1, -1, -1)
	p := newGoZero(endpoints, rand.NewSource(time.Now().UnixNano()), func() time.Duration { return time.Since(base) })
	return func() int {
		c := p.pick()
		done := p.begin(c)
		done(false)
		return c.index
	}, nil
}
