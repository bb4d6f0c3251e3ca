package cache

// tinyLFU is W-TinyLFU. What is new goes through a window in the order of use. What falls
// out of it competes, by how often it was asked for, with what the main part would drop
// first: what was asked for once since it came (probation), and only then what was asked for
// again (protected). The window grows and shrinks by climbing the hill of hit ratios.
//
// Weights count for the sizes of the parts, and not for the contest.
type tinyLFU[K comparable, V any] struct {
	window, probation, protected list[K, V]
	sketch                       sketch
	most                         int
	share                        float64 // of the weight that the window may have
	random                       uint64

	// The climber.
	step          float64
	before        float64 // the hit ratio of the period before
	hits, lookups int
}

const (
	firstWindow    = 0.01
	mostWindow     = 0.8
	protectedShare = 0.8

	// The numbers of the climber are those of Caffeine: restart with a large step when
	// the hit ratio changes a lot, and come to rest otherwise.
	firstStep    = 1.0 / 16
	restartAt    = 0.05
	stepDecay    = 0.98
	periodFactor = 10

	// A candidate that is warm is admitted now and then although it loses, so that
	// whoever knows keys that collide with a victim cannot pin it.
	warm        = 6
	warmOneIn   = 128
	randomPrime = 0x9e3779b97f4a7c15
)

func newTinyLFU[K comparable, V any](most int) policy[K, V] {
	return &tinyLFU[K, V]{
		most: most, share: firstWindow, step: -firstStep, random: randomPrime,
		sketch: newSketch(most),
	}
}

func (p *tinyLFU[K, V]) weight() int64 {
	return p.window.weight + p.probation.weight + p.protected.weight
}

func (p *tinyLFU[K, V]) hit(n *node[K, V]) {
	p.lookup(n.hash, 1)
	p.touch(n)
}

func (p *tinyLFU[K, V]) touch(n *node[K, V]) {
	switch n.queue {
	case window:
		p.window.moveToFront(n)
	case protected:
		p.protected.moveToFront(n)
	case probation:
		p.probation.remove(n)
		p.protected.pushFront(n, protected)
		p.demote()
	}
}

func (p *tinyLFU[K, V]) miss(hash uint64) { p.lookup(hash, 0) }

func (p *tinyLFU[K, V]) lookup(hash uint64, hit int) {
	p.sketch.add(hash)
	p.hits += hit
	if p.lookups++; p.lookups >= periodFactor*p.most {
		p.climb()
	}
}

// climb moves the bound between window and main part. The parts follow as they evict.
func (p *tinyLFU[K, V]) climb() {
	ratio := float64(p.hits) / float64(p.lookups)
	change := ratio - p.before
	amount := p.step
	if change < 0 {
		amount = -amount
	}
	if max(change, -change) >= restartAt {
		p.step = firstStep
		if amount < 0 {
			p.step = -firstStep
		}
	} else {
		p.step = stepDecay * amount
	}
	p.share = min(max(p.share+amount, 0), mostWindow)
	p.before, p.hits, p.lookups = ratio, 0, 0
	p.narrow()
	p.demote()
}

// bound is the weight that the window may have.
func (p *tinyLFU[K, V]) bound() int64 { return max(1, int64(p.share*float64(p.weight()))) }

// narrow moves what is too much in the window to the main part.
func (p *tinyLFU[K, V]) narrow() {
	for bound := p.bound(); p.window.weight > bound && p.window.len > 1; {
		n := p.window.back
		p.window.remove(n)
		p.probation.pushFront(n, probation)
	}
}

// demote moves what is too much from protected to probation.
func (p *tinyLFU[K, V]) demote() {
	bound := int64(protectedShare * (1 - p.share) * float64(p.weight()))
	for p.protected.weight > bound && p.protected.len > 1 {
		n := p.protected.back
		p.protected.remove(n)
		p.probation.pushFront(n, probation)
	}
}

func (p *tinyLFU[K, V]) insert(n *node[K, V]) {
	p.window.pushFront(n, window)
	p.narrow()
}

func (p *tinyLFU[K, V]) of(q queue) *list[K, V] {
	switch q {
	case window:
		return &p.window
	case probation:
		return &p.probation
	}
	return &p.protected
}

func (p *tinyLFU[K, V]) replace(old, n *node[K, V]) {
	p.of(old.queue).replace(old, n)
	p.touch(n)
}

func (p *tinyLFU[K, V]) remove(n *node[K, V]) { p.of(n.queue).remove(n) }

func (p *tinyLFU[K, V]) evict(now int64) *node[K, V] {
	victim := p.probation.back
	if victim == nil {
		victim = p.protected.back
	}
	candidate := p.window.back
	switch {
	case victim == nil:
		p.window.remove(candidate)
		return candidate
	case candidate == nil || p.window.weight < p.bound():
		p.remove(victim)
		return victim
	case candidate.gone(now), !victim.gone(now) && !p.admit(candidate, victim):
		p.window.remove(candidate)
		return candidate
	}
	p.remove(victim)
	p.window.remove(candidate)
	p.probation.pushFront(candidate, probation)
	return victim
}

func (p *tinyLFU[K, V]) admit(candidate, victim *node[K, V]) bool {
	c, v := p.sketch.estimate(candidate.hash), p.sketch.estimate(victim.hash)
	if c > v {
		return true
	}
	if c < warm {
		return false
	}
	p.random ^= p.random << 13
	p.random ^= p.random >> 7
	p.random ^= p.random << 17
	return p.random%warmOneIn == 0
}

// sketch counts how often hashes came, up to 15 times each, and a little too often when
// they share all their counters: a count-min sketch of four rows. The counters of a hash
// are in one line of 64 bytes. When it has counted ten times as many as there are entries,
// all counts are halved, so that what was popular once makes way.
type sketch struct {
	lines     [][8]uint64 // 16 counters to a word, two words to a row
	additions int
	halveAt   int
}

func newSketch(most int) sketch {
	return sketch{lines: make([][8]uint64, most/8+1), halveAt: periodFactor * max(most, 8)}
}

// locate returns the line of a hash, and a number with a byte for each of its rows: the
// word in the lowest bit, and the counter in the highest four.
func (s *sketch) locate(hash uint64) (line *[8]uint64, rows uint64) {
	mixed := hash * randomPrime
	mixed ^= mixed >> 32
	return &s.lines[home(mixed, len(s.lines))], mixed * randomPrime >> 32
}

func (s *sketch) add(hash uint64) {
	line, rows := s.locate(hash)
	added := 0
	for row := range 4 {
		at := rows >> (8 * row)
		word, shift := &line[2*row+int(at&1)], at>>4&15*4
		if *word>>shift&15 < 15 {
			*word += 1 << shift
			added = 1
		}
	}
	if s.additions += added; s.additions >= s.halveAt {
		s.additions /= 2
		for i := range s.lines {
			for j := range s.lines[i] {
				s.lines[i][j] = s.lines[i][j] >> 1 & 0x7777_7777_7777_7777
			}
		}
	}
}

func (s *sketch) estimate(hash uint64) uint64 {
	line, rows := s.locate(hash)
	least := uint64(15)
	for row := range 4 {
		at := rows >> (8 * row)
		least = min(least, line[2*row+int(at&1)]>>(at>>4&15*4)&15)
	}
	return least
}
