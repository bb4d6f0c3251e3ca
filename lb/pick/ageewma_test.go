package pick

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/uprung/uprung"
	"github.com/uprung/uprung/internal/splitmix"
)

// model is the score of AgeEWMA from a list of all requests that are out.
type model struct {
	waiting []time.Duration // when they were sent
	cost    float64
	failed  bool // the last time
	seen    time.Duration
}

// score returns that of an endpoint among others, of which the busiest has so many
// requests.
func (m *model) score(now time.Duration, busiest int) float64 {
	cost := m.cost
	if cost == 0 {
		if len(m.waiting) == 0 {
			return 0
		}
		cost = 0.9 * float64(2*time.Second)
	} else if idle := now - m.seen; idle > 100*time.Millisecond {
		cost *= math.Exp(-(idle - 100*time.Millisecond).Seconds() / 10)
	}
	age := 0.0
	for _, start := range m.waiting {
		age += float64(now-start) / float64(len(m.waiting))
	}
	if m.failed {
		return max(cost, age) * float64(busiest+1)
	}
	return max(cost, age) * float64(len(m.waiting)+1)
}

func busiest(models []model) (n int) {
	for i := range models {
		n = max(n, len(models[i].waiting))
	}
	return n
}

func (m *model) observe(took, now time.Duration, outcome uprung.Outcome) {
	rtt, failure := float64(took), float64(2*time.Second)
	switch outcome {
	case uprung.Ignored:
		if rtt = min(rtt, failure); m.cost == 0 || rtt <= m.cost {
			return
		}
	case uprung.Failure, uprung.Overload:
		rtt = max(rtt, failure)
	}
	w := math.Exp(-(now - m.seen).Seconds())
	switch {
	case m.cost == 0:
		m.cost = rtt
	case rtt > m.cost:
		m.cost += max(0.1, 1-w) * (rtt - m.cost)
	default:
		m.cost = m.cost*w + rtt*(1-w)
	}
	m.seen = now
	if outcome != uprung.Ignored {
		m.failed = outcome != uprung.Success
	}
}

func TestAgeEWMAModel(t *testing.T) {
	t.Parallel()
	const n = 4
	for seed := range uint64(50) {
		rng := rand.New(rand.NewPCG(seed, 0))
		picker := mustPicker(t, AgeEWMA{}, numbered(n), nil).(*ageEWMA)
		models := make([]model, n)
		type out struct {
			token    Token
			answered bool
			failed   bool
		}
		var outs []out
		now := time.Hour
		for range 2000 {
			now += time.Duration(rng.ExpFloat64() * float64(2*time.Millisecond)).Round(time.Microsecond)
			if rng.IntN(200) == 0 {
				now += time.Duration(rng.IntN(5)) * time.Second
			}
			outcome := []uprung.Outcome{uprung.Success, uprung.Success, uprung.Success, uprung.Failure, uprung.Overload, uprung.Ignored}[rng.IntN(6)]
			if len(outs) == 0 || rng.IntN(2) == 0 && len(outs) < 50 {
				token, _ := picker.Pick(Request{Now: now, Random: rng.Uint64()})
				for i := range models {
					most := busiest(models)
					got, want := models[token.Endpoint].score(now, most), models[i].score(now, most)
					if got > want*(1+1e-6) {
						t.Fatalf("seed %d: picked %d with score %v, while %d has %v", seed, token.Endpoint, got, i, want)
					}
				}
				models[token.Endpoint].waiting = append(models[token.Endpoint].waiting, now)
				outs = append(outs, out{token: token})
				continue
			}
			i := rng.IntN(len(outs))
			o := &outs[i]
			m := &models[o.token.Endpoint]
			bad := outcome == uprung.Failure || outcome == uprung.Overload
			if !o.answered {
				at := slices.Index(m.waiting, o.token.Start)
				m.waiting = slices.Delete(m.waiting, at, at+1)
				m.observe(now-o.token.Start, now, outcome)
			}
			if !o.answered && rng.IntN(2) == 0 {
				o.token, o.answered, o.failed = picker.Answered(o.token, now, outcome), true, bad
				continue
			}
			if o.answered && !o.failed && bad {
				m.observe(0, now, outcome)
			}
			picker.Done(o.token, now, outcome)
			outs = slices.Delete(outs, i, i+1)
		}
		for i := range models {
			c := picker.pool.cells[i].at(now, picker.failure)
			if got, want := c.cost*c.requests, models[i].score(now, len(models[i].waiting)); math.Abs(got-want) > 1e-5*want || c.failing != models[i].failed {
				t.Errorf("seed %d: score of %d is %v, failing %v, want %v, %v", seed, i, got, c.failing, want, models[i].failed)
			}
		}
	}
}

// world is a small simulation: each endpoint answers after a time of its own, in
// steps of a millisecond.
type world struct {
	picker Picker
	serve  func(endpoint int, now time.Duration) (time.Duration, uprung.Outcome)
	counts []int
	most   []int // requests out at a time
	out    []int
}

type answer struct {
	at      time.Duration
	token   Token
	outcome uprung.Outcome
}

// run sends one request every millisecond.
func (w *world) run(rng *rand.Rand, n int, from, to time.Duration) {
	w.counts, w.most, w.out = make([]int, n), make([]int, n), make([]int, n)
	var answers []answer
	for now := from; now < to; now += time.Millisecond {
		answers = slices.DeleteFunc(answers, func(a answer) bool {
			if a.at > now {
				return false
			}
			w.out[a.token.Endpoint]--
			w.picker.Done(a.token, a.at, a.outcome)
			return true
		})
		token, _ := w.picker.Pick(Request{Now: now, Random: rng.Uint64()})
		i := token.Endpoint
		w.counts[i]++
		w.out[i]++
		w.most[i] = max(w.most[i], w.out[i])
		took, outcome := w.serve(i, now)
		answers = append(answers, answer{now + took, token, outcome})
	}
}

func TestTrap12NoStarvation(t *testing.T) {
	t.Parallel()
	const n = 20
	for name, policy := range policies {
		for seed := range uint64(5) {
			rng := rand.New(rand.NewPCG(seed, 0))
			w := world{picker: mustPicker(t, policy, numbered(n), nil), serve: func(int, time.Duration) (time.Duration, uprung.Outcome) {
				return time.Duration(rng.ExpFloat64() * float64(10*time.Millisecond)), uprung.Success
			}}
			if name == "Hashed" || name == "Hashed bound" {
				continue // keys decide
			}
			w.run(rng, n, time.Second, time.Minute+time.Second)
			for i, got := range w.counts {
				if want := 60_000 / n / 2; got < want {
					t.Errorf("%s, seed %d: endpoint %d got %d of 60000 requests, want at least %d", name, seed, i, got, want)
				}
			}
		}
	}
}

func TestTrap13FastFailingEndpoint(t *testing.T) {
	t.Parallel()
	const n = 20
	for seed := range uint64(5) {
		rng := rand.New(rand.NewPCG(seed, 0))
		w := world{picker: mustPicker(t, AgeEWMA{}, numbered(n), nil), serve: func(i int, _ time.Duration) (time.Duration, uprung.Outcome) {
			if i == 7 {
				return time.Millisecond, uprung.Failure
			}
			return time.Duration(rng.ExpFloat64() * float64(10*time.Millisecond)), uprung.Success
		}}
		w.run(rng, n, time.Second, time.Minute+time.Second)
		if got, want := w.counts[7], 60_000/n/20; got > want {
			t.Errorf("seed %d: the failing endpoint got %d of 60000 requests, want at most %d", seed, got, want)
		}
	}
}

func TestTrap14StalledEndpoint(t *testing.T) {
	t.Parallel()
	const n = 20
	rng := rand.New(rand.NewPCG(1, 0))
	w := world{picker: mustPicker(t, AgeEWMA{}, numbered(n), nil), serve: func(i int, now time.Duration) (time.Duration, uprung.Outcome) {
		if i == 7 && now > 10*time.Second {
			return time.Hour, uprung.Success
		}
		return time.Duration(rng.ExpFloat64() * float64(10*time.Millisecond)), uprung.Success
	}}
	w.run(rng, n, time.Second, 40*time.Second)
	if got := w.most[7]; got > 8 {
		t.Errorf("the stalled endpoint had %d requests out, want at most 8", got)
	}
}

// Requests to a stalled endpoint that are given up before a timeout, since their hedges
// are faster, do not go on one after the other.
func TestStalledEndpointOfHedges(t *testing.T) {
	t.Parallel()
	const n = 20
	for seed := range uint64(3) {
		rng := rand.New(rand.NewPCG(seed, 0))
		w := world{picker: mustPicker(t, AgeEWMA{}, numbered(n), nil), serve: func(i int, now time.Duration) (time.Duration, uprung.Outcome) {
			if i == 7 && now > 2*time.Second {
				return 50 * time.Millisecond, uprung.Ignored
			}
			return time.Duration(rng.ExpFloat64() * float64(10*time.Millisecond)), uprung.Success
		}}
		const requests = 20_000
		w.run(rng, n, time.Second, time.Second+requests*time.Millisecond)
		if got, want := w.counts[7], requests/n/4; got > want {
			t.Errorf("seed %d: the stalled endpoint got %d of %d requests, want at most %d", seed, got, requests, want)
		}
	}
}

func TestGivenUpRequest(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name     string
		first    uprung.Outcome // of an answer after 10 ms; Ignored is none
		waited   time.Duration
		min, max time.Duration // of the average after it
		failing  bool
	}{
		{"for less than the average", uprung.Success, 9 * time.Millisecond, 10 * time.Millisecond, 10 * time.Millisecond, false},
		{"for more", uprung.Success, 110 * time.Millisecond, 20 * time.Millisecond, 22 * time.Millisecond, false},
		{"for an hour, as a stream", uprung.Success, time.Hour, time.Second, 2 * time.Second, false},
		{"after a failure", uprung.Failure, time.Hour, 2 * time.Second, 2 * time.Second, true},
		{"the first one", uprung.Ignored, time.Second, 0, 0, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p := mustPicker(t, AgeEWMA{}, numbered(1), nil).(*ageEWMA)
			const answer = 10 * time.Millisecond
			p.Done(p.Take(0, 0), answer, tt.first)
			p.Done(p.Take(0, answer), answer+tt.waited, uprung.Ignored)
			c := p.pool.cells[0]
			got := c.at(time.Duration(c.seen.Load()), p.failure)
			if c.cost.Load() == 0 {
				got.cost = 0
			}
			if got.cost < float64(tt.min) || got.cost > float64(tt.max) || got.failing != tt.failing || c.waiting.Load() != 0 {
				t.Errorf("it is %+v, want %v to %v, failing: %v", got, tt.min, tt.max, tt.failing)
			}
		})
	}
}

func TestTrap22DistinctDraws(t *testing.T) {
	t.Parallel()
	for _, n := range []int{2, 3, 5, 100} {
		rng := rand.New(rand.NewPCG(1, uint64(n)))
		counts := map[[2]int]int{}
		for range 20_000 {
			a, b := pair(rng.Uint64(), n)
			if a == b || a < 0 || b < 0 || a >= n || b >= n {
				t.Fatalf("drew %d and %d of %d", a, b, n)
			}
			counts[[2]int{a, b}]++
		}
		if n < 6 {
			for draw, got := range counts {
				if want := 20_000 / (n * (n - 1)); math.Abs(float64(got-want)) > 5*math.Sqrt(float64(want)) {
					t.Errorf("n %d: drew %v %d times, want about %d", n, draw, got, want)
				}
			}
			if len(counts) != n*(n-1) {
				t.Errorf("n %d: drew %d different pairs, want %d", n, len(counts), n*(n-1))
			}
		}
	}
	// Of two endpoints of which one has a hundred requests, the other is picked.
	p := mustPicker(t, PowerOfTwo{}, numbered(2), nil)
	for range 100 {
		p.Take(0, 0)
	}
	for i := range uint64(50) {
		if token, _ := p.Pick(Request{Random: splitmix.Mix(i)}); token.Endpoint != 1 {
			t.Fatal("picked the endpoint with 100 requests")
		}
	}
}

// A reader must not see a request that seems to have been sent at the origin, and
// the sum of instants must not overflow.
func TestTrap25Sum(t *testing.T) {
	t.Parallel()
	p := mustPicker(t, AgeEWMA{}, numbered(1), nil).(*ageEWMA)
	c := p.pool.cells[0]
	now := 365 * 24 * time.Hour
	p.Done(p.Take(0, now), now+10*time.Millisecond, uprung.Success)
	var tokens []Token
	for range 100_000 {
		tokens = append(tokens, p.Take(0, now))
	}
	now += 50 * time.Millisecond
	if got := c.at(now, 0); math.Abs(got.cost-50e6) > 1e6 || got.requests != 100_001 {
		t.Errorf("100000 requests that are 50 ms old are %+v, want 50 ms for each", got)
	}
	for _, token := range tokens {
		p.Done(token, now, uprung.Ignored)
	}
	if c.waiting.Load() != 0 || c.started.Load() != 0 {
		t.Errorf("%d are waiting since %d, want none", c.waiting.Load(), c.started.Load())
	}
}

// A stream that is open for an hour is no request that waits.
func TestStreamChangesNoScore(t *testing.T) {
	t.Parallel()
	p := mustPicker(t, AgeEWMA{}, numbered(1), nil).(*ageEWMA)
	c := p.pool.cells[0]
	stream := p.Answered(p.Take(0, time.Second), time.Second+time.Millisecond, uprung.Success)
	now := time.Hour
	token := p.Take(0, now)
	token = p.Answered(token, now+time.Millisecond, uprung.Success)
	before := c.at(now+time.Second, p.failure)
	p.Done(stream, now+time.Second, uprung.Success)
	if got := c.at(now+time.Second, p.failure); got != before {
		t.Errorf("it is %+v after the stream, was %+v", got, before)
	}
	p.Done(token, now+time.Second, uprung.Failure) // its body was cut off
	if got := c.at(now+time.Second, p.failure); got.cost < 100e6 || !got.failing {
		t.Errorf("it is %+v after a failure, want more than 100 ms", got)
	}
}

func TestUnknownEndpointIsTriedOnce(t *testing.T) {
	t.Parallel()
	p := mustPicker(t, AgeEWMA{}, numbered(3), nil)
	for i := range 2 {
		p.Done(p.Take(i, 0), 5*time.Millisecond, uprung.Success)
	}
	counts := make([]int, 3)
	for i := range uint64(30) {
		token, _ := p.Pick(Request{Now: 6 * time.Millisecond, Random: splitmix.Mix(i)})
		counts[token.Endpoint]++
	}
	if counts[2] != 1 {
		t.Errorf("picked %v, want one request for the endpoint that is new", counts)
	}
}

func TestWeightOfTime(t *testing.T) {
	t.Parallel()
	for idle := time.Duration(0); idle < 3*time.Second; idle += 700 * time.Microsecond {
		if got, want := weight(float64(idle)), math.Exp(-idle.Seconds()); math.Abs(got-want) > 1e-6 {
			t.Fatalf("weight after %v is %v, want %v", idle, got, want)
		}
	}
}

// Those that are well have many requests waiting, and one fails at once: it is not
// preferred for having none.
func TestTrap13FastFailingAmongBusyEndpoints(t *testing.T) {
	t.Parallel()
	for _, busy := range []int{1, 32, 128} {
		const n = 5
		rng := rand.New(rand.NewPCG(1, 0))
		p := mustPicker(t, AgeEWMA{}, numbered(n), nil)
		var out []answer
		failing, sent := 0, 0
		gap := 50 * time.Millisecond / time.Duration((n-1)*busy)
		for now := time.Duration(0); now < 10*time.Second; now += gap {
			for len(out) > 0 && out[0].at <= now {
				p.Done(out[0].token, out[0].at, uprung.Success)
				out = out[1:]
			}
			token, _ := p.Pick(Request{Now: now, Random: rng.Uint64()})
			sent++
			if token.Endpoint == 2 {
				failing++
				p.Done(token, now+100*time.Microsecond, uprung.Failure)
				continue
			}
			out = append(out, answer{at: now + 50*time.Millisecond, token: token})
		}
		if failing > max(2, sent/1000) {
			t.Errorf("with %d requests at each, the failing endpoint got %d of %d", busy, failing, sent)
		}
	}
}

// Nothing is known of any, and two of ten fail at once.
func TestColdStart(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(1, 0))
	p := mustPicker(t, AgeEWMA{}, numbered(10), nil)
	var out []answer
	failed := 0
	for i := range 200 {
		now := time.Duration(i) * 200 * time.Microsecond
		for len(out) > 0 && out[0].at <= now {
			p.Done(out[0].token, out[0].at, uprung.Success)
			out = out[1:]
		}
		token, _ := p.Pick(Request{Now: now, Random: rng.Uint64()})
		if token.Endpoint < 2 {
			failed++
			p.Done(token, now, uprung.Failure)
			continue
		}
		out = append(out, answer{at: now + 50*time.Millisecond, token: token})
	}
	if failed > 4 {
		t.Errorf("%d of the first 200 requests failed, want one for each that fails, or so", failed)
	}
}
