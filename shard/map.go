package shard

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/uprung/uprung/internal/option"
)

// ErrNoNodes is the error of every lookup in a [Map] that has no entries.
var ErrNoNodes = errors.New("shard: no nodes")

var errMismatch = errors.New("shard: MapOptions.Table returned a table of other nodes than it was given")

// Entry is a node and what is reached there: a *sql.DB, an [http.Handler], a
// client, a base URL.
type Entry[T any] struct {
	Node  Node
	Value T
}

// MapOptions are the settings of a [Map]. The zero value of each field is its
// default.
type MapOptions struct {
	// Name is the name of the map in metrics and errors: 1 to 64 printable ASCII
	// characters. Zero means "default".
	Name string

	// Table builds the table of nodes, of which there is at least one. What it
	// returns must have just these nodes, with their weights, of which none is zero,
	// and never change. It is called by [NewMap], [Map.Set] and [Map.Preview], and
	// concurrently if they are.
	//
	// The table that is to be replaced is previous; it is nil if there is none.
	// Constructors know nothing of it: [NewSlots] assigns all slots anew, and [NewJump]
	// numbers all nodes anew, whatever that moves. Derive theirs from previous, by
	// [Slots.Rebalance], or [Jump.Add] and [Jump.Remove]. Nil means a [Ring] with its
	// defaults.
	Table func(nodes []Node, previous Table) (Table, error)

	// Hot counts which keys are asked for most, for [Map.Stats] and [Map.Spread].
	// Nil means that nothing is counted, and that Spread is Get.
	Hot *Hot
}

// A Map finds what belongs to a key: the entry of the node to which a table maps
// it. The table and all entries are one snapshot, which [Map.Set] replaces as a
// whole: a reader never waits, and sees all of a change or nothing of it. Two
// calls may see two snapshots; who needs several answers of one asks for them at
// once, with [Map.GetN] or [Map.Entries].
//
// A Map without entries is valid, and every lookup in it is [ErrNoNodes].
//
// A Map is safe for concurrent use. Use [NewMap]: every call on the zero Map panics.
type Map[T any] struct {
	name  string
	build func([]Node, Table) (Table, error)
	hot   *Hot

	current atomic.Pointer[snapshot[T]]
	sets    atomic.Uint64
	walks   sync.Pool // of *walk
}

// snapshot is one state of a Map. It is immutable.
type snapshot[T any] struct {
	table   Table // nil without entries
	entries []Entry[T]
	zone    []int // of each entry: its zone, from 0 to zones-1
	zones   int
}

// checkName returns the name that a field gives, or the default one.
func checkName(field, name string) (string, error) {
	if name == "" {
		return "default", nil
	}
	if err := option.CheckName(field, name); err != nil {
		return "", fmt.Errorf("shard: %w", err)
	}
	return name, nil
}

// NewMap returns a map with the given entries, whose order does not matter. Nil
// options are the defaults. The error names every field that is not valid, and is
// that of the table if the nodes are not.
func NewMap[T any](entries []Entry[T], o *MapOptions) (*Map[T], error) {
	if o == nil {
		o = &MapOptions{}
	}
	m := &Map[T]{build: o.Table, hot: o.Hot}
	if m.build == nil {
		m.build = buildRing
	}
	m.walks.New = func() any { return newWalk() }
	name, nameErr := checkName("MapOptions.Name", o.Name)
	m.name = name
	s, err := m.snapshot(entries, nil)
	if err := errors.Join(nameErr, err); err != nil {
		return nil, err
	}
	m.current.Store(s)
	return m, nil
}

// buildRing is the default of MapOptions.Table.
func buildRing(nodes []Node, _ Table) (Table, error) {
	ring, err := NewRing(nodes, nil)
	if err != nil {
		return nil, err // and no Table that holds a nil *Ring
	}
	return ring, nil
}

// snapshot builds the table for entries and checks that it is theirs.
func (m *Map[T]) snapshot(entries []Entry[T], previous Table) (*snapshot[T], error) {
	s := &snapshot[T]{entries: slices.Clone(entries)}
	if len(entries) == 0 {
		return s, nil
	}
	slices.SortStableFunc(s.entries, func(a, b Entry[T]) int { return strings.Compare(a.Node.ID, b.Node.ID) })
	// In the caller's order, in which an error names them.
	nodes := make([]Node, len(entries))
	for i := range entries {
		nodes[i] = entries[i].Node
	}
	table, err := m.build(nodes, previous)
	if err != nil {
		return nil, err
	}
	if err := checkTable("MapOptions.Table returned", table); err != nil {
		return nil, err
	}
	s.table = table
	if !slices.EqualFunc(table.Nodes(), s.entries, func(n Node, e Entry[T]) bool { return n.ID == e.Node.ID }) {
		return nil, errMismatch
	}
	s.number()
	return s, nil
}

// number gives every zone a number. A node without a zone is in one of its own,
// since nothing says that it would fail together with another.
func (s *snapshot[T]) number() {
	s.zone = make([]int, len(s.entries))
	numbers := make(map[string]int)
	for i := range s.entries {
		zone := s.entries[i].Node.Zone
		number, known := numbers[zone]
		if !known || zone == "" {
			number = s.zones
			s.zones++
			numbers[zone] = number
		}
		s.zone[i] = number
	}
}

// Set replaces all entries, whose order does not matter. If they are not valid it
// changes nothing and returns the error of the table. Of calls that overlap, one
// prevails as a whole. No entries leave the map empty: who takes them from a
// discovery that may fail should not hand on its failures as emptiness.
//
// Set moves no data. From then on a key is looked for at its new node, whether or not
// what is stored has come along: a cache fills itself, and for a store a [Mover] comes
// first.
//
// The values that are no longer in the map are the caller's to close; readers may
// still be using what they got before.
func (m *Map[T]) Set(entries []Entry[T]) error {
	for {
		old := m.current.Load()
		s, err := m.snapshot(entries, old.table)
		if err != nil {
			return err
		}
		if m.current.CompareAndSwap(old, s) { // else the table was derived from another
			m.sets.Add(1)
			return nil
		}
	}
}

// Preview says what Set would move, and changes nothing. It fails as Set does. A
// change from or to no entries moves nothing, since there is nowhere from or to
// which it could.
func (m *Map[T]) Preview(entries []Entry[T]) (Difference, error) {
	current := m.current.Load()
	s, err := m.snapshot(entries, current.table)
	if err != nil {
		return Difference{}, err
	}
	if s.table == nil || current.table == nil {
		return Difference{}, nil
	}
	return Diff(current.table, s.table), nil
}

// Get returns the value of the node to which key belongs, or [ErrNoNodes]. It
// does not allocate.
func (m *Map[T]) Get(key string) (T, error) {
	s, node, err := m.home(key)
	if err != nil {
		var none T
		return none, err
	}
	return s.entries[node].Value, nil
}

// Entry is [Map.Get] for those who need to know the node as well.
func (m *Map[T]) Entry(key string) (Entry[T], error) {
	s, node, err := m.home(key)
	if err != nil {
		return Entry[T]{}, err
	}
	return s.entries[node], nil
}

// Node returns the entry of the node with this ID, such as that of a [Lease] or the
// home that a [Mover] names, and whether there is one. It does not allocate.
func (m *Map[T]) Node(id string) (Entry[T], bool) {
	entries := m.current.Load().entries
	at, found := slices.BinarySearchFunc(entries, id, func(e Entry[T], id string) int { return strings.Compare(e.Node.ID, id) })
	if !found {
		return Entry[T]{}, false
	}
	return entries[at], true
}

// home finds the node of a key.
func (m *Map[T]) home(key string) (*snapshot[T], int, error) {
	s := m.current.Load()
	if s.table == nil {
		return nil, 0, ErrNoNodes
	}
	hash := Hash(key)
	if m.hot != nil {
		m.hot.Observe(hash)
	}
	return s, s.table.Lookup(hash), nil
}

// Spread is [Map.Get], except that a key that MapOptions.Hot holds to be hot goes,
// as if drawn at random, to one of the nodes that [Map.GetN] returns for it and
// HotOptions.Nodes, to each as often as to the others. It is for what all of these can
// answer, such as a read of what is cached or replicated there; writes and reads that
// must see them go through Get. It does not allocate if the table's Walk does not.
func (m *Map[T]) Spread(key string) (T, error) {
	var none T
	s := m.current.Load()
	if s.table == nil {
		return none, ErrNoNodes
	}
	hash := Hash(key)
	if m.hot != nil {
		if place := m.hot.place(hash, len(s.entries)); place > 0 {
			return s.entries[m.place(s, hash, place)].Value, nil
		}
	}
	return s.entries[s.table.Lookup(hash)].Value, nil
}

// place returns the node that stands at a place, from 0, in the order of GetN.
func (m *Map[T]) place(s *snapshot[T], hash uint64, place int) int {
	w := m.walks.Get().(*walk)
	defer m.walks.Put(w)
	w.begin(s.zone, s.zones, place+1)
	s.table.Walk(hash, w.visit)
	return w.all()[place]
}

// GetN appends to dst the entries of n distinct nodes for key, or of all nodes if
// there are fewer, and returns the extended slice. The first is that of Get. The
// others follow in the order of preference, nodes in zones that are not yet there
// before those in zones that are: of n entries, as many are in different zones as
// there are zones. A node without a zone counts as one in a zone of its own.
//
// It returns [ErrNoNodes] if there are none, and dst as it was if n is zero or
// less. It does not allocate if dst has room and the table's Walk does not.
func (m *Map[T]) GetN(dst []Entry[T], key string, n int) ([]Entry[T], error) {
	s := m.current.Load()
	if s.table == nil {
		return dst, ErrNoNodes
	}
	if n <= 0 {
		return dst, nil
	}
	hash := Hash(key)
	if m.hot != nil {
		m.hot.Observe(hash)
	}
	w := m.walks.Get().(*walk)
	defer m.walks.Put(w)
	w.begin(s.zone, s.zones, min(n, len(s.entries)))
	s.table.Walk(hash, w.visit)
	for _, node := range w.all() {
		dst = append(dst, s.entries[node])
	}
	return dst, nil
}

// Entries returns all entries, sorted by the ID of the node. The slice is the
// caller's.
func (m *Map[T]) Entries() []Entry[T] { return slices.Clone(m.current.Load().entries) }

// Table returns the table, or nil if there are no entries.
func (m *Map[T]) Table() Table { return m.current.Load().table }
