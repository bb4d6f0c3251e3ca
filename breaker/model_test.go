package breaker

import (
	"errors"
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"github.com/uprung/uprung"
)

// model is a breaker, slow and obvious: it keeps every result.
type model struct {
	o      Options
	period period

	state     State
	gen       int
	til       int64 // the end of the open time
	since     int64
	closed    int64
	results   []result
	inRow     int
	probes    []*modelProbe // that are out
	admitted  int           // of this half-open generation, less those that did not count
	succeeded int

	late, leases, opened uint64
}

type result struct {
	epoch     uint64
	bad, slow bool
}

type modelProbe struct {
	til            int64
	answered, slow bool
	over           bool
}

// call is a call that was let through, of both.
type call struct {
	permit Permit
	gen    int
	start  int64
	probe  *modelProbe
	timed  bool
	slow   bool
}

func (m *model) turn(state State) {
	m.state, m.results, m.inRow = state, nil, 0
	m.gen++
	m.admitted, m.succeeded = 0, 0
	if state != HalfOpen {
		m.probes = nil
	}
}

func (m *model) open(now int64) {
	open := m.o.OpenFor
	for open < m.o.OpenMax && now-m.since >= int64(16*open) {
		open = min(2*open, m.o.OpenMax)
	}
	m.til = now + int64(open)
	m.opened++
	m.turn(Open)
}

func (m *model) settle(now int64) {
	if m.state == Open && now >= m.til {
		m.probes = nil
		m.turn(HalfOpen)
	}
	for i := 0; i < len(m.probes); i++ {
		p := m.probes[i]
		if now < p.til {
			continue
		}
		if !p.answered {
			m.leases++
		}
		m.end(p, now, p.answered && !p.slow)
		i = -1
	}
}

// end ends a probe that counts.
func (m *model) end(p *modelProbe, now int64, good bool) {
	p.over = true
	var left []*modelProbe
	for _, q := range m.probes {
		if q != p {
			left = append(left, q)
		}
	}
	m.probes = left
	if !good {
		m.open(now)
		return
	}
	if m.succeeded++; m.succeeded == m.o.Probes {
		m.closed = now
		m.turn(Closed)
	}
}

func (m *model) allow(now int64) (*call, error) {
	m.settle(now)
	c := &call{gen: m.gen, start: now}
	switch m.state {
	case Open:
		return nil, ErrOpen
	case HalfOpen:
		if m.admitted == m.o.Probes {
			return nil, ErrProbing
		}
		m.admitted++
		c.probe = &modelProbe{til: now + int64(m.o.ProbeLease)}
		m.probes = append(m.probes, c.probe)
	}
	return c, nil
}

func (m *model) answered(c *call, now int64) {
	c.timed, c.slow = true, m.o.SlowCall > 0 && now-c.start > int64(m.o.SlowCall)
	if c.probe != nil && !c.probe.over {
		c.probe.answered, c.probe.slow = true, c.slow
		c.probe.til = now + int64(m.o.OpenFor)
	}
}

func (m *model) done(c *call, now int64, o uprung.Outcome) {
	slow := c.slow
	if !c.timed {
		slow = m.o.SlowCall > 0 && now-c.start > int64(m.o.SlowCall)
	}
	if p := c.probe; p != nil {
		m.settle(now)
		switch {
		case p.over || c.gen != m.gen:
			m.late++
		case o == uprung.Overload || o == uprung.Ignored:
			p.over = true
			for i, q := range m.probes {
				if q == p {
					m.probes = append(m.probes[:i:i], m.probes[i+1:]...)
				}
			}
			m.admitted--
		default:
			m.end(p, now, o == uprung.Success && !slow)
		}
		return
	}
	switch {
	case o == uprung.Overload || o == uprung.Ignored:
		return
	case c.gen != m.gen:
		m.late++
		return
	}
	bad := o == uprung.Failure || slow && m.o.SlowRatio == 0
	epoch := m.period.of(now)
	m.results = append(m.results, result{epoch, bad, slow})
	if !bad {
		m.inRow = 0
	} else {
		m.inRow++
	}
	total, failed, slows := 0, 0, 0
	for _, r := range m.results {
		if epoch-r.epoch < buckets {
			total++
			if r.bad {
				failed++
			}
			if r.slow {
				slows++
			}
		}
	}
	trip := bad && m.o.Consecutive > 0 && m.inRow >= m.o.Consecutive
	if total >= m.o.MinRequests {
		trip = trip || bad && float64(failed) >= m.o.FailureRatio*float64(total) ||
			slow && m.o.SlowRatio > 0 && float64(slows) >= m.o.SlowRatio*float64(total)
	}
	if trip {
		if now-m.closed >= int64(m.o.Window) {
			m.since = now
		}
		m.open(now)
	}
}

func TestModel(t *testing.T) {
	t.Parallel()
	operations := 100_000
	if os.Getenv("UPRUNG_FULL_MODELS") != "" {
		operations = 5_000_000
	}
	for name, o := range map[string]Options{
		"defaults":    {},
		"consecutive": {Consecutive: 5, Probes: 1, OpenMax: 4 * time.Second},
		"slow":        {SlowCall: 500 * time.Millisecond, MinRequests: 10},
		"slow ratio":  {SlowCall: 500 * time.Millisecond, SlowRatio: 0.8, MinRequests: 10, ProbeLease: 2 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			seed := rand.Uint64()
			t.Logf("seed %d", seed)
			rng := rand.New(rand.NewPCG(seed, 0))
			o.Jitter = -1
			b := mustNew(t, &o)
			m := &model{o: b.core.o, period: b.core.period, closed: never}
			var now int64
			var out []*call
			failing := 0.0
			for i := range operations {
				switch rng.IntN(20) {
				case 0:
					now += rng.Int64N(second)
				case 1:
					if rng.IntN(20) == 0 {
						now += rng.Int64N(30 * second)
					}
				case 2:
					if rng.IntN(100) == 0 {
						failing = []float64{0, 0.1, 0.45, 1}[rng.IntN(4)]
					}
				}
				switch op := rng.IntN(20); {
				case op < 9 && len(out) < 50:
					permit, err := b.allowAt(now, b.word.Load(), nil)
					c, want := m.allow(now)
					if !errors.Is(err, want) || (err == nil) != (want == nil) || errors.Is(err, ErrProbing) != errors.Is(want, ErrProbing) {
						t.Fatalf("operation %d at %d: allow gives %v, want %v", i, now, err, want)
					}
					if c != nil {
						c.permit = permit
						out = append(out, c)
					}
				case op < 10 && len(out) > 0:
					if c := out[rng.IntN(len(out))]; !c.timed {
						c.permit.answeredAt(now)
						c.permit.timed = true
						m.answered(c, now)
					}
				case op < 19 && len(out) > 0:
					at := rng.IntN(len(out))
					c := out[at]
					out = append(out[:at], out[at+1:]...)
					outcome := uprung.Success
					switch {
					case rng.Float64() < failing:
						outcome = uprung.Failure
					case rng.IntN(20) == 0:
						outcome = []uprung.Outcome{uprung.Overload, uprung.Ignored}[rng.IntN(2)]
					}
					c.permit.doneAt(b, now, outcome)
					m.done(c, now, outcome)
				case rng.IntN(50) == 0 && len(out) > 0: // forgotten
					out = out[:len(out)-1]
				default:
					m.settle(now)
					if got := b.stateAt(now); got != m.state {
						t.Fatalf("operation %d at %d: state is %v, want %v", i, now, got, m.state)
					}
				}
			}
			s := b.Stats()
			if s.Late != m.late || s.LeasesOver != m.leases || s.Opened != m.opened || m.opened < 10 {
				t.Errorf("%+v, want %d late, %d leases over and %d openings", s.Counts, m.late, m.leases, m.opened)
			}
		})
	}
}
