package breaker

import (
	"cmp"
	"errors"
	"fmt"
	"hash/maphash"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/uprung/uprung"
	"github.com/uprung/uprung/internal/option"
)

// GroupOptions are the settings of a [Group]. The zero value of each field is its
// default.
type GroupOptions[K comparable] struct {
	// Breaker are the settings of each breaker. Its Name and Mode are those of the group.
	Breaker Options

	// Capacity is the number of keys that are known at a time, at most. Where all of them
	// are in use, a new one takes the place of the one that has been quiet for longest, a
	// closed one if there is any among those that are looked at. Zero means 10000.
	Capacity int

	// Idle is how long a breaker has to be closed and quiet until it can be forgotten,
	// which costs nothing but its memory: it is made again when it is needed. It is at
	// least the window. Zero means 10m.
	Idle time.Duration

	// KeyOf finds the key of a request, for the faces of the group; a request without one
	// passes. Nil means, in a Group[string], the host of the URL for Transport; Middleware
	// then takes the pattern of the route, which a request has inside of an
	// [http.ServeMux] only. For other kinds of keys nil means that no request has one.
	KeyOf func(*http.Request) (K, bool)

	// OnChange is told of every change of state, as Options.OnChange is, and of which key.
	OnChange func(K, Event)
}

const (
	defaultCapacity = 10_000
	maxCapacity     = 1 << 24
	defaultIdle     = 10 * time.Minute
)

// Group is a registry of breakers, one for each host, endpoint, route or any other key.
// They are made when they are asked for. Finding one takes no lock. Use [NewGroup].
//
// It is safe for concurrent use.
type Group[K comparable] struct {
	core  *core
	o     GroupOptions[K]
	seed  maphash.Seed
	table atomic.Pointer[table[K]]
	grave *entry[K] // stands in slots where entries were; it has no group

	mu      sync.Mutex // held to add and to remove
	hand    int        // where to look for what can go; guarded by mu
	keys    int        // guarded by mu
	evicted uint64     // guarded by mu
	retired Counts     // of those that are gone; guarded by mu
}

// entry is the breaker of a key.
type entry[K comparable] struct {
	Breaker
	group *Group[K]
	hash  uint64
	key   K
}

// table is a hash table with linear probing. A slot that was used is never empty again
// until the table is built anew: what is gone leaves a grave.
type table[K comparable] struct {
	slots []atomic.Pointer[entry[K]]
	used  int // graves included; guarded by Group.mu
}

// mask maps hashes to slots.
func (t *table[K]) mask() int { return len(t.slots) - 1 }

// NewGroup returns a group without keys. Nil options are the defaults. The error names
// every field that is not valid.
//
//	hosts, err := breaker.NewGroup[string](nil)
func NewGroup[K comparable](o *GroupOptions[K]) (*Group[K], error) {
	if o == nil {
		o = &GroupOptions[K]{}
	}
	g := &Group[K]{o: *o, seed: maphash.MakeSeed(), grave: new(entry[K])}
	g.o.Capacity = cmp.Or(o.Capacity, defaultCapacity)
	c, err := newCore(&o.Breaker)
	errs := []error{err}
	window := 10 * time.Second
	if err == nil {
		window = c.o.Window
	}
	g.o.Idle = cmp.Or(o.Idle, max(defaultIdle, window))
	if g.o.Capacity < 1 || g.o.Capacity > maxCapacity {
		errs = append(errs, fmt.Errorf("breaker: Capacity is %d, want 1 to %d", o.Capacity, maxCapacity))
	}
	if g.o.Idle < window || g.o.Idle > longest {
		errs = append(errs, fmt.Errorf("breaker: Idle is %v, want %v to %v", o.Idle, window, longest))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	g.core = c
	c.settings = append(c.settings,
		uprung.Setting{Name: "Capacity", Value: strconv.Itoa(g.o.Capacity), Default: o.Capacity == 0},
		uprung.Setting{Name: "Idle", Value: g.o.Idle.String(), Default: o.Idle == 0},
		uprung.Setting{Name: "KeyOf", Value: option.Function(o.KeyOf != nil, "host or route"), Default: o.KeyOf == nil},
	)
	g.table.Store(&table[K]{slots: make([]atomic.Pointer[entry[K]], 8)})
	return g, nil
}

// changed tells of an event of one breaker.
func (e *entry[K]) changed(event Event) {
	if e.group.o.OnChange != nil {
		e.group.o.OnChange(e.key, event)
	}
}

// label returns the key as text.
func (e *entry[K]) label() string {
	if s, ok := any(e.key).(string); ok {
		return s
	}
	return fmt.Sprint(e.key)
}

// Mode returns the mode of all breakers of the group.
func (g *Group[K]) Mode() uprung.Mode { return uprung.Mode(g.core.mode.Load()) }

// SetMode changes the mode of all of them while calls go on. An invalid mode is an error
// and changes nothing.
func (g *Group[K]) SetMode(mode uprung.Mode) error { return g.core.setMode(mode) }

// Allow asks the breaker of a key whether a call may be made. See [Breaker.Allow].
func (g *Group[K]) Allow(k K) (Permit, error) { return g.Breaker(k).Allow() }

// Eligible reports whether a call to a key would be let through now. It takes no probe
// and makes no breaker: one that is not known would let it through. In a Group[string]
// of endpoints it is what Options.Eligible of package lb asks for. See [Breaker.Eligible].
func (g *Group[K]) Eligible(k K) bool {
	e := g.find(k, g.hash(k))
	return e == nil || e.Eligible()
}

// Breaker returns the breaker of a key. It can be kept for as long as a call takes;
// after that, ask again.
func (g *Group[K]) Breaker(k K) *Breaker {
	hash := g.hash(k)
	if e := g.find(k, hash); e != nil {
		return &e.Breaker
	}
	return g.add(k, hash)
}

func (g *Group[K]) hash(k K) uint64 { return maphash.Comparable(g.seed, k) }

// find returns the entry of a key, or nil.
func (g *Group[K]) find(k K, hash uint64) *entry[K] {
	t := g.table.Load()
	for i := int(hash) & t.mask(); ; i = (i + 1) & t.mask() {
		e := t.slots[i].Load()
		if e == nil {
			return nil
		}
		if e.hash == hash && e.group != nil && e.key == k {
			return e
		}
	}
}

// add makes the breaker of a key, unless somebody else just has.
func (g *Group[K]) add(k K, hash uint64) *Breaker {
	g.mu.Lock()
	defer g.mu.Unlock()
	if e := g.find(k, hash); e != nil {
		return &e.Breaker
	}
	now := g.core.now()
	g.makeRoom(now)
	e := &entry[K]{group: g, hash: hash, key: k}
	e.init(g.core)
	e.owner = e
	e.results.begin(g.core.period.of(now))
	t := g.table.Load()
	if t.used+1 > len(t.slots)/4*3 {
		t = g.rebuild(t)
	}
	t.put(e)
	g.keys++
	return &e.Breaker
}

// put puts an entry into the first slot that is free, while mu is held.
func (t *table[K]) put(e *entry[K]) {
	i := int(e.hash) & t.mask()
	for t.slots[i].Load() != nil {
		i = (i + 1) & t.mask()
	}
	t.slots[i].Store(e)
	t.used++
}

// rebuild returns a table of the size that is right now, which is in use from then on.
func (g *Group[K]) rebuild(old *table[K]) *table[K] {
	size := 8
	for size < (g.keys+1)*2 {
		size *= 2
	}
	t := &table[K]{slots: make([]atomic.Pointer[entry[K]], size)}
	for i := range old.slots {
		if e := old.slots[i].Load(); e != nil && e.group != nil {
			t.put(e)
		}
	}
	g.table.Store(t)
	g.hand = 0
	return t
}

const (
	// swept is how many slots are looked at for what can go whenever a key comes, and
	// sampled how many keys one of which has to go.
	swept   = 8
	sampled = 32
)

// makeRoom forgets a few breakers that can be forgotten and, if there are still as many
// keys as there may be, one more.
func (g *Group[K]) makeRoom(now int64) {
	t := g.table.Load()
	epoch := g.core.period.of(now)
	idle := uint64(g.o.Idle/(g.core.o.Window/buckets)) + 1
	worst, worstAge := -1, uint64(0)
	for looked, i := 0, 0; i < len(t.slots) && (i < swept || g.keys >= g.o.Capacity && looked < sampled); i++ {
		at := g.hand & t.mask()
		g.hand++
		e := t.slots[at].Load()
		if e == nil || e.group == nil {
			continue
		}
		looked++
		age := min(e.results.age(epoch), epochMask/2)
		closed := e.word.Load()&stateMask == wordClosed
		if closed && age >= idle {
			g.remove(t, at, e)
			continue
		}
		if closed {
			age += epochMask // before all that are not
		}
		if worst < 0 || age > worstAge {
			worst, worstAge = at, age
		}
	}
	if g.keys >= g.o.Capacity && worst >= 0 {
		g.remove(t, worst, t.slots[worst].Load())
	}
}

// remove forgets a breaker. Calls that have it go on with it.
func (g *Group[K]) remove(t *table[K], at int, e *entry[K]) {
	t.slots[at].Store(g.grave)
	g.keys--
	g.evicted++
	c := e.counts()
	g.retired.add(&c)
}

// KeyStats are the figures of one key of a group.
type KeyStats[K comparable] struct {
	Key K
	Stats
}

// GroupStats are the figures of a [Group].
type GroupStats struct {
	// Keys is how many are known, and Closed, HalfOpen and Open how many of them are so.
	Keys, Closed, HalfOpen, Open int
	// Evicted counts those that were forgotten.
	Evicted uint64
	// Counts are the sums over all keys, those that were forgotten included.
	Counts
}

// Stats returns a snapshot. It looks at every key.
func (g *Group[K]) Stats() GroupStats {
	g.mu.Lock()
	entries := g.entries()
	s := GroupStats{Keys: g.keys, Evicted: g.evicted, Counts: g.retired}
	for _, e := range entries { // while none can go, and so be counted twice or not at all
		c := e.counts()
		s.add(&c)
	}
	g.mu.Unlock()
	for _, e := range entries {
		switch e.State() { // may tell OnChange
		case Closed:
			s.Closed++
		case HalfOpen:
			s.HalfOpen++
		case Open:
			s.Open++
		}
	}
	return s
}

// Each calls yield with the figures of each key, in no order, until it returns false:
//
//	for one := range hosts.Each { ... }
func (g *Group[K]) Each(yield func(KeyStats[K]) bool) {
	g.mu.Lock()
	entries := g.entries()
	g.mu.Unlock()
	for _, e := range entries {
		if !yield(KeyStats[K]{e.key, e.Stats()}) {
			return
		}
	}
}

// entries returns all entries, while mu is held.
func (g *Group[K]) entries() []*entry[K] {
	all := make([]*entry[K], 0, g.keys)
	t := g.table.Load()
	for i := range t.slots {
		if e := t.slots[i].Load(); e != nil && e.group != nil {
			all = append(all, e)
		}
	}
	return all
}

// Metrics yields the figures of Stats, of all keys together: keys are no labels. It makes
// a Group an [uprung.Source].
func (g *Group[K]) Metrics(yield func(uprung.Metric) bool) {
	s := g.Stats()
	name := uprung.Label{Name: "breaker", Value: g.core.o.Name}
	for _, one := range []struct {
		state State
		keys  int
	}{{Closed, s.Closed}, {HalfOpen, s.HalfOpen}, {Open, s.Open}} {
		if !yield(stateMetric("uprung_breaker_keys", "Keys of the group in this state.", name, one.state, float64(one.keys))) {
			return
		}
	}
	_ = yield(uprung.Metric{Name: "uprung_breaker_evictions_total", Help: "Keys that were forgotten to make room.", Type: uprung.Counter,
		Value: float64(s.Evicted), Labels: []uprung.Label{name}}) && s.metrics(name, yield)
}

// Layer describes the group and the effective settings.
func (g *Group[K]) Layer() uprung.Layer { return g.core.layer() }

// Transport is [Breaker.Transport] with a breaker for each key of a request, which is the
// host of the URL by default.
func (g *Group[K]) Transport(base http.RoundTripper) http.RoundTripper {
	return newTransport(g.core, base, g.of(func(r *http.Request) string { return r.URL.Host }))
}

// Middleware is [Breaker.Middleware] with a breaker for each key of a request, such as
// its route: one that fails does not take the others with it.
func (g *Group[K]) Middleware(next http.Handler) http.Handler {
	return &handler{core: g.core, next: next, of: g.of(func(r *http.Request) string { return r.Pattern })}
}

// of returns what finds the breaker of a request.
func (g *Group[K]) of(text func(*http.Request) string) func(*http.Request) *Breaker {
	keyOf := g.o.KeyOf
	if keyOf == nil {
		ofText, _ := any(func(r *http.Request) (string, bool) { t := text(r); return t, t != "" }).(func(*http.Request) (K, bool))
		if keyOf = ofText; keyOf == nil {
			return func(*http.Request) *Breaker { return nil }
		}
	}
	return func(r *http.Request) *Breaker {
		k, ok := keyOf(r)
		if !ok {
			return nil
		}
		return g.Breaker(k)
	}
}
