package cache

// duel has two policies play against each other for a shard whose policy is Adaptive: each
// has a cache in miniature, which holds no values, for the same sample of the keys. Who
// wins by far has the shard. Such miniatures predict well: Waldspurger, Saemundsson, Ahmad and
// Park, Cache Modeling and Optimization using Miniature Simulations, USENIX ATC 2017.
type duel[K comparable, V any] struct {
	players [2]room[uint64, struct{}] // S3-FIFO, and W-TinyLFU, the challenger
	hits    [2]int
	samples int
	period  int
	score   float64 // how much better the challenger is than S3-FIFO, of late
	active  int     // whose the shard is
}

const (
	// One in sampled keys is played for.
	sampled = 16
	// leastDuel is the smallest shard for which miniatures say anything.
	leastDuel = 64 * sampled
	// playsPerEntry is how many samples there are for each entry of a miniature before the
	// next look at the score.
	playsPerEntry = 4
	// A score is the difference of two hit ratios, and half of the score before. A shard is
	// not given away for what may be chance: it pauses for a few milliseconds for each
	// hundred thousand entries. Six hundredths are more than recorded traces and zipf ever
	// show, and less than loops do.
	challengeAt = 0.06
	retreatAt   = 0
)

// newDuel returns nil if a shard is too small.
func newDuel[K comparable, V any](most int) *duel[K, V] {
	if most < leastDuel {
		return nil
	}
	d := &duel[K, V]{period: playsPerEntry * most / sampled}
	d.players[0].init(newFIFO[uint64, struct{}], most/sampled, 0)
	d.players[1].init(newTinyLFU[uint64, struct{}], most/sampled, 0)
	return d
}

// isSampled tells by bits of the hash that neither the shard nor the place in it is of.
func isSampled(hash uint64) bool { return hash>>40&(sampled-1) == 0 }

// play is told of a key that was asked for and is of the sample. It reports whether the
// shard is to change hands.
func (d *duel[K, V]) play(hash uint64) (change bool) {
	for i := range d.players {
		r := &d.players[i]
		if n := r.index.find(hash, hash); n != nil {
			r.policy.hit(n)
			d.hits[i]++
			continue
		}
		r.policy.miss(hash)
		r.put(&node[uint64, struct{}]{key: hash, hash: hash, look: never, weight: 1}, 0)
	}
	if d.samples++; d.samples < d.period {
		return false
	}
	d.score = d.score/2 + float64(d.hits[1]-d.hits[0])/float64(d.samples)
	d.samples, d.hits = 0, [2]int{}
	switch {
	case d.active == 0 && d.score > challengeAt:
		d.active = 1
	case d.active == 1 && d.score < retreatAt:
		d.active = 0
	default:
		return false
	}
	return true
}

// change gives a room to another policy, which gets all nodes, those that the old one would
// drop first before the others.
func (r *room[K, V]) change(to func(most int) policy[K, V]) {
	old := r.policy
	r.order, r.policy = to, to(r.most)
	for range r.index.len {
		n := old.evict(0)
		n.freq.Store(0)
		r.policy.insert(n)
	}
}
