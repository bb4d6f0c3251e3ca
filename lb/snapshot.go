package lb

import (
	"cmp"
	"math"
	"slices"
	"time"

	"github.com/uprung/uprung/health"
	"github.com/uprung/uprung/lb/pick"
)

// snapshot is what requests choose from: immutable, but for what its nodes count.
type snapshot struct {
	nodes  []*node // all, sorted by ID
	levels []level // by priority
	view   *health.View
	// until is when the next snapshot is due, if nothing happens before.
	until time.Duration
	// warm is when the last slow start is over.
	warm time.Duration
	// panicking says that endpoints are picked from that are not usable.
	panicking bool
	usable    int
}

// place is where an endpoint stands: its priority, and whether it is in the own
// zone.
type place struct {
	priority int
	own      bool
}

// draw makes a snapshot of nodes, which are sorted by ID. Pickers take over what
// those of prev know.
func (b *Balancer) draw(nodes []*node, prev *snapshot, now time.Duration) (*snapshot, error) {
	s := &snapshot{nodes: nodes}
	if b.monitor != nil {
		s.view = b.monitor.View()
	}
	up := make(map[*node]bool, len(nodes))
	members := map[place][]*node{}
	for _, n := range nodes {
		out := n.outlier.ejected && b.o.Outlier.Mode.Enforces(n.ID)
		if up[n] = !out && (s.view == nil || s.view.Usable(n.ID)); up[n] {
			s.usable++
		}
		at := place{n.Priority, b.o.Zone != "" && n.Zone == b.o.Zone}
		members[at] = append(members[at], n)
	}

	var priorities []int
	for at := range members {
		priorities = append(priorities, at.priority)
	}
	slices.Sort(priorities)
	sum := 0.0
	shares := make(map[int]float64) // of usable endpoints
	for _, p := range slices.Compact(priorities) {
		all, usable := 0, 0
		for _, own := range []bool{true, false} {
			for _, n := range members[place{p, own}] {
				if all++; up[n] {
					usable++
				}
			}
		}
		shares[p] = float64(usable) / float64(all)
		sum += capacity(float64(usable), float64(all))
	}
	for _, p := range slices.Compact(priorities) {
		panics := sum < 1 && shares[p] < b.o.PanicThreshold
		s.panicking = s.panicking || panics
		l := level{}
		for _, own := range []bool{true, false} {
			at := place{p, own}
			g, err := b.group(members[at], up, panics, prev.group(at))
			if err != nil {
				return nil, err
			}
			if own {
				l.own = g
			} else {
				l.other = g
			}
		}
		if l.own != nil {
			if l.own.load = prev.load(p); l.own.load == nil {
				l.own.load = new(load)
			}
		}
		s.levels = append(s.levels, l)
	}
	b.warm(s, up, prev, now)
	s.spread(now, b.o.SlowStart)
	s.until = b.until(s, now)
	return s, nil
}

// spread gives to levels, and to zones in them, what their usable endpoints can bear,
// as far as those have got in a slow start. The caller holds Balancer.mu.
func (s *snapshot) spread(now, window time.Duration) {
	bear := make([]float64, len(s.levels))
	sum := 0.0
	for i := range s.levels {
		l := &s.levels[i]
		own, other := l.own.strength(now, window), l.other.strength(now, window)
		l.stay = own.capacity()
		bear[i] = own.and(other).capacity()
		sum += bear[i]
	}
	upTo, whole := 0.0, min(sum, 1)
	for i := range s.levels {
		if whole > 0 {
			upTo += min(bear[i]/whole, 1-upTo)
		} else {
			upTo = 1 // nothing is usable anywhere
		}
		s.levels[i].upTo = upTo
	}
}

// group makes a group of nodes, or nil if there are none.
func (b *Balancer) group(nodes []*node, up map[*node]bool, all bool, prev *group) (*group, error) {
	if len(nodes) == 0 {
		return nil, nil
	}
	g := &group{nodes: nodes, down: make([]bool, len(nodes))}
	endpoints := make([]pick.Endpoint, len(nodes))
	for i, n := range nodes {
		usable := up[n] || all
		if usable {
			g.usable++
		}
		g.down[i] = !usable
		endpoints[i] = pick.Endpoint{ID: n.ID, Weight: n.Weight, Down: !usable, Fresh: !n.drawn}
	}
	var before pick.Picker
	if prev != nil {
		before = prev.picker
	}
	var err error
	g.picker, err = b.o.Policy.Picker(endpoints, before)
	return g, err
}

// warm begins the slow start of endpoints that were not there before, or were not
// usable. If those are all, there is nobody to go slower than. Those of a group are
// compared with each other: where all are as cold, none has less than the others, but
// the group has (see spread).
func (b *Balancer) warm(s *snapshot, up map[*node]bool, prev *snapshot, now time.Duration) {
	stays := false
	for _, n := range s.nodes {
		stays = stays || up[n] && n.up
	}
	for _, n := range s.nodes {
		if up[n] && !n.up {
			if stays && prev != nil && b.o.SlowStart > 0 {
				n.warmFrom.Store(int64(now))
			} else {
				n.warmFrom.Store(never)
			}
			n.added = !n.drawn
		}
		n.up, n.drawn = up[n], true
		s.warm = max(s.warm, time.Duration(n.warmFrom.Load())+b.o.SlowStart)
	}
	for i := range s.levels {
		for _, g := range []*group{s.levels[i].own, s.levels[i].other} {
			if g == nil {
				continue
			}
			g.warmest = math.MaxInt64
			for j, n := range g.nodes {
				if !g.down[j] {
					g.warmest = min(g.warmest, time.Duration(n.warmFrom.Load()))
				}
			}
		}
	}
}

// level returns that of a priority, or nil.
func (s *snapshot) level(priority int) *level {
	if s == nil {
		return nil
	}
	for i := range s.levels {
		if l := &s.levels[i]; cmp.Or(l.own, l.other).nodes[0].Priority == priority {
			return l
		}
	}
	return nil
}

// group returns the group of a place, or nil.
func (s *snapshot) group(at place) *group {
	switch l := s.level(at.priority); {
	case l == nil:
		return nil
	case at.own:
		return l.own
	default:
		return l.other
	}
}

// load returns that of the own zone, or nil.
func (s *snapshot) load(priority int) *load {
	if l := s.level(priority); l != nil && l.own != nil {
		return l.own.load
	}
	return nil
}

// find returns the group of the endpoint of an ID and its index there, or nil.
func (s *snapshot) find(id string) (*group, int) {
	for i := range s.levels {
		for _, g := range []*group{s.levels[i].own, s.levels[i].other} {
			if g == nil {
				continue
			}
			if at := slices.IndexFunc(g.nodes, func(n *node) bool { return n.ID == id }); at >= 0 {
				return g, at
			}
		}
	}
	return nil, 0
}
