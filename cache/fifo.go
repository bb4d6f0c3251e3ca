package cache

// fifo is S3-FIFO. What is new goes through a small queue; what has been asked for again
// by its end moves to the main queue, where each time round is paid with a hit. The hashes
// of what was dropped from the small queue are remembered, and let a key that comes back
// into the main queue at once.
type fifo[K comparable, V any] struct {
	small, main list[K, V]
	ghost       ghost
}

const (
	// smallShare is the part of the weight that the small queue may have before it has
	// to give, one in so many: section 4.1 of the paper.
	smallShare = 10
	// mostFreq is how many hits count, and movesFrom how many take a node to the main
	// queue: algorithm 1 of the paper.
	mostFreq  = 3
	movesFrom = 2
	// mostLooks bounds what one eviction looks at while readers go on to hit.
	mostLooks = 4096
)

func newFIFO[K comparable, V any](most int) policy[K, V] {
	p := &fifo[K, V]{}
	p.ghost.most = max(1, most-most/smallShare)
	return p
}

// hit takes no lock. That a hit is lost now and then, when two come at once, does not
// matter.
func (p *fifo[K, V]) hit(n *node[K, V]) {
	if f := n.freq.Load(); f < mostFreq {
		n.freq.Store(f + 1)
	}
}

func (p *fifo[K, V]) miss(uint64) {}

func (p *fifo[K, V]) insert(n *node[K, V]) {
	if p.ghost.take(n.hash) {
		p.main.pushFront(n, big)
	} else {
		p.small.pushFront(n, small)
	}
}

func (p *fifo[K, V]) of(q queue) *list[K, V] {
	if q == small {
		return &p.small
	}
	return &p.main
}

func (p *fifo[K, V]) replace(old, n *node[K, V]) {
	n.freq.Store(min(mostFreq, old.freq.Load()+1))
	p.of(old.queue).replace(old, n)
}

func (p *fifo[K, V]) remove(n *node[K, V]) { p.of(n.queue).remove(n) }

func (p *fifo[K, V]) evict(now int64) *node[K, V] {
	for looks := 0; ; looks++ {
		last := looks >= mostLooks
		if p.main.len == 0 || p.small.len > 0 && p.small.weight*smallShare >= p.small.weight+p.main.weight {
			n := p.small.back
			p.small.remove(n)
			switch {
			case n.gone(now):
				return n
			case n.freq.Load() < movesFrom || last:
				p.ghost.add(n.hash, p.small.len+p.main.len)
				return n
			}
			n.freq.Store(0)
			p.main.pushFront(n, big)
			continue
		}
		n := p.main.back
		p.main.remove(n)
		f := n.freq.Load()
		if f == 0 || last || n.gone(now) {
			return n
		}
		n.freq.Store(f - 1)
		p.main.pushFront(n, big)
	}
}

// ghost remembers the last hashes that were added, as many as most, give or take a few:
// it is a table of lines of eight, in which a full line forgets its oldest. 32 bits of a
// hash have to do.
type ghost struct {
	lines [][ghostLine]uint64 // each the upper half of a hash, and the number of its addition
	most  int
	added uint32
}

const ghostLine = 8

func (g *ghost) alive(slot uint64) bool { return int64(g.added-uint32(slot)) < int64(g.most) }

func (g *ghost) line(hash uint64) *[ghostLine]uint64 {
	return &g.lines[home(hash, len(g.lines))]
}

// take reports whether a hash is remembered, and forgets it.
func (g *ghost) take(hash uint64) bool {
	if len(g.lines) == 0 {
		return false
	}
	line := g.line(hash)
	for i, slot := range line {
		if slot>>32 == hash>>32 && g.alive(slot) {
			line[i] = uint64(g.added - uint32(g.most)) // dead
			return true
		}
	}
	return false
}

// add remembers a hash. nodes is how many there are in the cache: the table is made when
// the first of them has to go, and is then as large as it ever needs to be.
func (g *ghost) add(hash uint64, nodes int) {
	if want := min(g.most, max(nodes, ghostLine)); len(g.lines)*ghostLine < want {
		g.grow(want)
	}
	g.added++
	line := g.line(hash)
	oldest := 0
	for i, slot := range line {
		if !g.alive(slot) {
			oldest = i
			break
		}
		if g.added-uint32(slot) > g.added-uint32(line[oldest]) {
			oldest = i
		}
	}
	line[oldest] = hash>>32<<32 | uint64(g.added)
}

// grow makes the table larger by an eighth than what is to be remembered, since lines
// fill unevenly. What was remembered is forgotten: it happens while a cache that is
// bounded by weight gets to know its entries.
func (g *ghost) grow(want int) {
	g.lines = make([][ghostLine]uint64, (want+want/2)/ghostLine+1)
	g.added = uint32(g.most)
}
