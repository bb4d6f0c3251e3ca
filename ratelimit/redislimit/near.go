package redislimit

import (
	"hash/maphash"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
)

// near is what this process knows of the keys that it has to do with: until when they
// are denied, and what was bought ahead for them. It is a table of sets of four
// places; a key that finds none takes one from another, which is asked for again.
type near struct {
	seed maphash.Seed
	sets [][4]atomic.Pointer[place]
}

// maxNear is the length up to which keys are remembered, so that those that clients make
// up take no more memory than others.
const maxNear = 256

// place is what is known of one key.
type place struct {
	hash  uint64
	key   string
	seen  atomic.Pointer[sight]
	lease [2]atomic.Pointer[lease] // that which is used, and one bought meanwhile

	mu    sync.Mutex
	last  *lease    // the newest; guarded by mu
	batch int64     // how much to buy next; guarded by mu
	buyer *purchase // under way; guarded by mu
}

// sight is what Redis has told of a key: it will not be full before an instant, unless
// somebody gives back. Instants are nanoseconds of the process.
type sight struct {
	full  int64
	until int64 // how long this is believed
}

// lease is what was bought ahead. It is replaced, never refilled: a caller that has taken
// too much puts it back to where it came from.
type lease struct {
	left atomic.Int64
	size int64
	end  int64
}

// purchase is a call for a lease. Whoever needs the same waits for it.
type purchase struct {
	done chan struct{}
	err  error // valid once done is closed
}

func newNear(capacity int) *near {
	sets := 1
	for sets*4 < capacity {
		sets *= 2
	}
	return &near{seed: maphash.MakeSeed(), sets: make([][4]atomic.Pointer[place], sets)}
}

func (t *near) hash(key string) uint64 { return maphash.String(t.seed, key) }

// find returns the place of a key, or nil.
func (t *near) find(hash uint64, key string) *place {
	set := &t.sets[hash&uint64(len(t.sets)-1)]
	for i := range set {
		if p := set[i].Load(); p != nil && p.hash == hash && p.key == key {
			return p
		}
	}
	return nil
}

// put returns the place of a key, which is made if there is none. Two made at once are
// as two processes: each buys for itself.
func (t *near) put(hash uint64, key string, now int64) *place {
	if p := t.find(hash, key); p != nil {
		return p
	}
	set := &t.sets[hash&uint64(len(t.sets)-1)]
	at := int(rand.Uint32() & 3)
	for i := range set {
		if p := set[i].Load(); p == nil || p.idle(now) {
			at = i
			break
		}
	}
	p := &place{hash: hash, key: key, batch: 1}
	set[at].Store(p)
	return p
}

// forget removes a key.
func (t *near) forget(key string) {
	hash := t.hash(key)
	set := &t.sets[hash&uint64(len(t.sets)-1)]
	for i := range set {
		if p := set[i].Load(); p != nil && p.hash == hash && p.key == key {
			set[i].CompareAndSwap(p, nil)
		}
	}
}

// idle reports whether nothing is lost with the place.
func (p *place) idle(now int64) bool {
	if s := p.seen.Load(); s != nil && now < s.until {
		return false
	}
	return p.lease[0].Load().spent(now) && p.lease[1].Load().spent(now)
}

// spent reports whether nothing is left of a lease.
func (l *lease) spent(now int64) bool { return l == nil || now >= l.end || l.left.Load() <= 0 }

// debt returns a lower bound of what the key owes, in units, and false if nothing is
// known of it.
func (p *place) debt(now int64) (int64, bool) {
	s := p.seen.Load()
	if s == nil || now >= s.until {
		return 0, false
	}
	return max(s.full-now, 0) / int64(unit), true
}

// see notes a debt that Redis told of when it was asked at an instant. It was asked later
// than that: the key is full no sooner than this says.
func (p *place) see(asked int64, debt int64, believed time.Duration) {
	p.seen.Store(&sight{full: asked + debt*int64(unit), until: asked + int64(believed)})
}

// take takes n events from what was bought ahead, and reports whether that will soon be
// used up, so that one who has what it needs can buy before others have to wait.
func (p *place) take(now, n int64) (ok, low bool) {
	for i := range p.lease {
		l := p.lease[i].Load()
		if l == nil || now >= l.end {
			continue
		}
		if left := l.left.Add(-n); left >= 0 {
			return true, left < l.size/2 && p.lease[1-i].Load().spent(now)
		}
		l.left.Add(n)
	}
	return false, false
}

// begin returns the purchase that is under way, or a new one, which is the caller's to
// make, and the size that it should have: twice that of the last if that did not last, what
// was used of it if it did.
func (p *place) begin(now, most int64) (b *purchase, mine bool, batch int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.buyer != nil {
		return p.buyer, false, 0
	}
	if l := p.last; l != nil {
		switch left := max(l.left.Load(), 0); {
		case now < l.end:
			p.batch = 2 * max(l.size, 1)
		case left > 0:
			p.batch = max(l.size-left, 1)
		}
	}
	p.batch = min(p.batch, most)
	p.buyer = &purchase{done: make(chan struct{})}
	return p.buyer, true, p.batch
}

// end ends a purchase, with what was bought, if something was.
func (p *place) end(b *purchase, bought *lease, err error) {
	p.mu.Lock()
	if bought != nil {
		at := 0 // the older one makes room
		if p.lease[0].Load() == p.last {
			at = 1
		}
		p.lease[at].Store(bought)
		p.last = bought
	}
	p.buyer = nil
	p.mu.Unlock()
	b.err = err
	close(b.done)
}
