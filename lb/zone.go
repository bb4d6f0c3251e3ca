package lb

import (
	"math"
	"sync/atomic"
	"time"

	"github.com/uprung/uprung"
	"github.com/uprung/uprung/lb/pick"
)

// level is the endpoints of one priority.
type level struct {
	// upTo is the share of the requests that goes to this level and those before.
	upTo float64
	// own are the endpoints of the own zone, and other all the rest: those of other
	// zones and those of which it is not known. Either is nil if it has none.
	own, other *group
	// stay is the share of the requests of the level that its own zone can bear, as
	// far as that depends on how many of its endpoints are usable.
	stay float64
}

// group is a set of endpoints among which a policy chooses.
type group struct {
	nodes  []*node
	down   []bool // by index of nodes
	picker pick.Picker
	usable int
	load   *load // of the own zone; nil elsewhere
	// warmest is when the slow start began of the endpoint that is furthest in its own,
	// or never.
	warmest time.Duration
}

// share returns the part of its requests that an endpoint should get at an instant,
// relative to the one that is furthest in a slow start.
func (g *group) share(n *node, now, window time.Duration) float64 {
	return n.share(now, window) / warmth(now-g.warmest, window)
}

// strength is how much endpoints can bear, in shares of one.
type strength struct {
	usable float64
	// old are all that have been there before, usable or not, and added the others,
	// which nobody has relied on yet.
	old   int
	added float64 // as far as they have got
	news  int     // how many they are
}

// strength returns that of a group, which may be nil.
func (g *group) strength(now, window time.Duration) strength {
	var s strength
	if g == nil {
		return s
	}
	for _, n := range g.nodes {
		share := 1.0
		if n.up {
			share = n.share(now, window)
			s.usable += share
		}
		if n.added && share < 1 {
			s.added += share
			s.news++
		} else {
			s.old++
		}
	}
	return s
}

func (s strength) and(t strength) strength {
	return strength{usable: s.usable + t.usable, old: s.old + t.old, added: s.added + t.added, news: s.news + t.news}
}

// capacity returns which part of its share of the load a set of endpoints can bear.
// Those which were added take nothing away from what the others could bear.
func (s strength) capacity() float64 {
	if s.old == 0 {
		return capacity(s.usable, float64(s.news))
	}
	return capacity(s.usable, float64(s.old)+s.added)
}

// load is how much the endpoints of a zone have to do. It outlives snapshots.
type load struct {
	inFlight atomic.Int64
	// overload is the moving average of the share of requests that were answered with
	// Overload, as the bits of a float64, and seen is when it was last changed.
	overload atomic.Uint64
	seen     atomic.Int64
}

// overloadDecay is the time constant of that average.
const overloadDecay = 10 * time.Second

// ended counts an outcome. An update that another overtakes is lost.
func (l *load) ended(now time.Duration, outcome uprung.Outcome) {
	l.inFlight.Add(-1)
	if outcome == uprung.Ignored {
		return
	}
	value := 0.0
	if outcome == uprung.Overload {
		value = 1
	}
	before := math.Float64frombits(l.overload.Load())
	if before == 0 && value == 0 {
		return
	}
	idle := now - time.Duration(l.seen.Swap(int64(now)))
	keep := min(math.Exp(-float64(max(idle, 0))/float64(overloadDecay)), 1-leastStep)
	l.overload.Store(math.Float64bits(before*keep + value*(1-keep)))
}

// leastStep is the least weight of one answer, so that the average follows also
// where answers come fast.
const leastStep = 0.01

// overloaded returns the share of the requests that would be answered with
// Overload, as far as the last answers tell.
func (l *load) overloaded(now time.Duration) float64 {
	share := math.Float64frombits(l.overload.Load())
	if share == 0 {
		return 0
	}
	idle := now - time.Duration(l.seen.Load())
	return share * math.Exp(-float64(max(idle, 0))/float64(overloadDecay))
}

// leaves decides, by a random number of 0..1, whether a request for this level goes
// to another zone.
func (l *level) leaves(now time.Duration, inFlight int, random float64) bool {
	if l.own == nil || l.other == nil || l.other.usable == 0 {
		return false
	}
	if inFlight > 0 && l.own.load.inFlight.Load() >= int64(inFlight)*int64(l.own.usable) {
		return true
	}
	return random >= l.stay*(1-l.own.load.overloaded(now))
}

// capacity returns which part of its share of the load a set of endpoints can bear.
func capacity(usable, all float64) float64 {
	if all == 0 {
		return 0
	}
	return min(1, overprovisioned*usable/all)
}
