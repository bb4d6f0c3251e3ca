package replicate

import (
	"context"
	"sync"
)

// A Bookmark is how far one client of a [Cluster] has come: what it has written, and what
// it has seen. Reads that carry it in their context see no less. It stands for a user, or
// whoever else is to notice nothing of replication; [Cluster.Middleware] makes one for
// each request, and carries it over to the next by a cookie.
//
// The zero value is that of a client that has done nothing yet. It is for one Cluster
// alone, safe for concurrent use, and not to be copied.
type Bookmark struct {
	mu       sync.Mutex
	progress     // guarded by mu
	last     int // the node of the last statement, shifted by one; guarded by mu
}

// progress is what a Bookmark knows.
type progress struct {
	// need is what a server must have applied.
	need Position
	// open counts writes whose rows are being read: until they are over nobody knows
	// their position, and only the primary has them for sure.
	open int
	// wrote is the instant at which a write was over whose position is not known, so that
	// a server must have everything up to it; 0 if there is none.
	wrote int64
	// read is the instant at which the last read had its answer: what it saw is wherever
	// everything up to then is; 0 if nothing was read that need does not contain.
	read int64
	// node is where that was, by index, shifted by one, and incarnation: it is there too.
	node        int
	incarnation uint32
}

func (b *Bookmark) at() progress {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.progress
}

// raise notes a position that reads must contain from now on. Where timelines follow one
// another, one that has ended raises nothing.
func (b *Bookmark) raise(p Position, epochs bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case p.IsZero() || epochs && p.Timeline < b.need.Timeline:
	case p.Timeline != b.need.Timeline || p.Offset > b.need.Offset:
		b.need = p
	}
}

// covered notes that a position contains everything up to what b was.
func (b *Bookmark) covered(was *progress) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.wrote <= was.wrote {
		b.wrote = 0
	}
	b.sawNothingSince(was)
}

// seen notes that a position contains everything that b had read when it was this.
func (b *Bookmark) seen(was *progress) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.sawNothingSince(was)
}

// sawNothingSince forgets the last read unless it came later. It is called under mu.
func (b *Bookmark) sawNothingSince(was *progress) {
	if b.read <= was.read {
		b.read, b.node, b.incarnation = 0, 0, 0
	}
}

// hasWritten notes a write that was over at an instant, and whose position is unknown.
func (b *Bookmark) hasWritten(at int64) {
	b.mu.Lock()
	b.wrote = max(b.wrote, at)
	b.mu.Unlock()
}

// writes counts a write that goes on, or is over.
func (b *Bookmark) writes(n int) {
	b.mu.Lock()
	b.open += n
	b.mu.Unlock()
}

// hasRead notes a read at a node that had its answer at an instant.
func (b *Bookmark) hasRead(node int, incarnation uint32, at int64) {
	b.mu.Lock()
	if at >= b.read {
		b.node, b.incarnation, b.read = node+1, incarnation, at
	}
	b.mu.Unlock()
}

func (b *Bookmark) ran(node int) {
	b.mu.Lock()
	b.last = node + 1
	b.mu.Unlock()
}

// WithBookmark returns a context whose statements at this Cluster continue from b, and
// move it on. A nil b begins anew.
func (c *Cluster) WithBookmark(ctx context.Context, b *Bookmark) context.Context {
	if b == nil {
		b = new(Bookmark)
	}
	return context.WithValue(ctx, (*bookmarkKey)(c), b)
}

// bookmarkKey makes the address of a Cluster a key of its own.
type bookmarkKey Cluster

// BookmarkOf returns what the context carries for this Cluster, or nil.
func (c *Cluster) BookmarkOf(ctx context.Context) *Bookmark {
	b, _ := ctx.Value((*bookmarkKey)(c)).(*Bookmark)
	return b
}

// NodeOf returns the name of the server that the last statement under this context ran
// on. It returns false if there was none, or the context has no [Bookmark].
func (c *Cluster) NodeOf(ctx context.Context) (name string, ok bool) {
	b := c.BookmarkOf(ctx)
	if b == nil {
		return "", false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.last == 0 {
		return "", false
	}
	return c.nodes[b.last-1].Name, true
}

// wish is what a context says about its statements, at whatever Cluster.
type wish struct {
	level    Level
	hasLevel bool
	target   Role // UnknownRole says nothing
}

type wishKey struct{}

func wishOf(ctx context.Context) *wish {
	w, _ := ctx.Value(wishKey{}).(*wish)
	return w
}

// with returns a context with a changed wish.
func with(ctx context.Context, change func(*wish)) context.Context {
	var w wish
	if old := wishOf(ctx); old != nil {
		w = *old
	}
	change(&w)
	return context.WithValue(ctx, wishKey{}, &w)
}

// WithLevel returns a context whose reads have a level other than [Options.Level]. One
// that is not valid is taken for Strong.
func WithLevel(ctx context.Context, l Level) context.Context {
	if l.Validate() != nil {
		l = Strong
	}
	return with(ctx, func(w *wish) { w.level, w.hasLevel = l, true })
}

// OnPrimary returns a context whose statements run at the primary.
func OnPrimary(ctx context.Context) context.Context {
	return with(ctx, func(w *wish) { w.target = Primary })
}

// OnReplica returns a context whose queries are taken for reads, whatever they look like:
// for a function of your own that is known to write nothing, or a lock that is meant to
// be the replica's. Exec and transactions that are not read-only go to the primary all
// the same, and a server that refuses to write has the query repeated at the primary.
func OnReplica(ctx context.Context) context.Context {
	return with(ctx, func(w *wish) { w.target = Replica })
}
