package shard

// walk collects nodes in the order of a table's Walk. It is kept in a pool, with
// the function to yield to made once, so that walking does not allocate.
type walk struct {
	visit func(node int) bool

	n       int
	zone    []int // of each node; nil if zones do not matter
	unseen  int   // zones that are not among the picked
	seen    []bool
	picked  []int // each in a zone of its own
	skipped []int // the others, in case that zones do not suffice

	room [2][8]int // what picked and skipped begin with
	few  [8]bool   // and seen
}

func newWalk() *walk {
	w := &walk{}
	w.visit = w.take
	w.picked, w.skipped, w.seen = w.room[0][:0], w.room[1][:0], w.few[:]
	return w
}

// begin prepares for picking n nodes, n >= 1, in as many zones as possible.
func (w *walk) begin(zone []int, zones, n int) {
	w.n, w.zone, w.unseen = n, zone, zones
	w.picked, w.skipped = w.picked[:0], w.skipped[:0]
	if cap(w.seen) < zones {
		w.seen = make([]bool, zones)
	}
	w.seen = w.seen[:zones]
	clear(w.seen)
}

// take is given one node after the other, and returns false when it has enough.
func (w *walk) take(node int) bool {
	switch {
	case w.zone == nil:
		w.picked = append(w.picked, node)
	case w.seen[w.zone[node]]:
		w.skipped = append(w.skipped, node)
	default:
		w.seen[w.zone[node]] = true
		w.unseen--
		w.picked = append(w.picked, node)
	}
	return len(w.picked) < w.n && (w.unseen > 0 || w.zone == nil || len(w.picked)+len(w.skipped) < w.n)
}

// all returns the nodes that were asked for.
func (w *walk) all() []int {
	missing := min(w.n-len(w.picked), len(w.skipped))
	w.picked = append(w.picked, w.skipped[:missing]...) // and keep what it grows to
	return w.picked
}
