package shard

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"math"
	"math/bits"
	"slices"
	"strings"

	"github.com/cespare/xxhash/v2"
)

// Range is a range of hashes: those from First to Last, both included.
type Range struct {
	First, Last uint64
}

// Contains reports whether hash is in the range.
func (r Range) Contains(hash uint64) bool { return r.First <= hash && hash <= r.Last }

// Share returns the range's share of all hashes, which is its expected share of all
// keys, 0 to 1.
func (r Range) Share() float64 { return width{}.add(r).share() }

// String returns both ends in hexadecimal: "[4000000000000000, 7fffffffffffffff]".
func (r Range) String() string { return fmt.Sprintf("[%016x, %016x]", r.First, r.Last) }

// width is a number of hashes. All of them are 2^64, which takes a 65th bit.
type width struct{ high, low uint64 }

func (w width) add(r Range) width {
	low, carry := bits.Add64(w.low, r.Last-r.First, 1)
	return width{w.high + carry, low}
}

func (w width) share() float64 { return float64(w.high) + float64(w.low)/(1<<64) }

// Step is one step of a [Plan]: all keys whose hashes are in the range go from one
// node to another.
type Step struct {
	Range
	// From and To are IDs of nodes, and are not equal.
	From, To string
}

// String names both nodes and the range.
func (s Step) String() string { return fmt.Sprintf("%s -> %s %s", s.From, s.To, s.Range) }

// Plan says which hashes change their node when one table takes the place of
// another. Unlike [Diff], which samples, it is exact. It is immutable and safe for
// concurrent use. Use [NewPlan].
type Plan struct {
	from, to    Table
	steps       []Step
	fingerprint uint64 // of where both tables put every hash
}

// NewPlan compares two tables range by range. Nodes are the same if their IDs are.
//
// The tables may be of different kinds, but each must be a [Ring], a [Slots] or a
// [Maglev]: only these give whole ranges of hashes to a node. For any other table,
// and for nil, the error says which one is not right.
func NewPlan(from, to Table) (*Plan, error) {
	before, fromErr := pieces("from", from)
	after, toErr := pieces("to", to)
	if err := errors.Join(fromErr, toErr); err != nil {
		return nil, err
	}
	p := &Plan{from: from, to: to}
	digest := xxhash.New()
	previous := Step{}
	next, stop := iter.Pull2(after)
	defer stop()
	last, owner, _ := next()
	first := uint64(0)
	for end, holder := range before {
		for {
			step := Step{Range{first, min(end, last)}, from.Nodes()[holder].ID, to.Nodes()[owner].ID}
			if step.From == previous.From && step.To == previous.To {
				step.First = previous.First
			} else {
				p.take(previous, digest)
			}
			previous = step
			first = step.Last + 1
			if last <= end && last < math.MaxUint64 {
				last, owner, _ = next()
			}
			if step.Last == end {
				break
			}
		}
	}
	p.take(previous, digest)
	p.fingerprint = digest.Sum64()
	return p, nil
}

// take adds a range that ends where the owners change, unless they are the same
// before and after.
func (p *Plan) take(s Step, digest *xxhash.Digest) {
	if s.From == "" {
		return // there is no range before the first
	}
	text := binary.BigEndian.AppendUint64(nil, s.Last)
	for _, id := range []string{s.From, s.To} {
		text = append(text, byte(len(id))) // at most maxLabel
		text = append(text, id...)
	}
	_, _ = digest.Write(text) // never fails
	if s.From != s.To {
		p.steps = append(p.steps, s)
	}
}

// pieces yields the ranges of a table in order: the last hash of each, and its
// node. The last is the largest hash.
func pieces(name string, t Table) (iter.Seq2[uint64, int], error) {
	if err := checkTable(name+" is", t); err != nil {
		return nil, err
	}
	switch t := t.(type) {
	case *Ring:
		return t.pieces, nil
	case *Slots:
		return equalPieces(t.owners), nil
	case *Maglev:
		return equalPieces(t.table), nil
	}
	return nil, fmt.Errorf("shard: %s is a %T, want a *Ring, *Slots or *Maglev: others do not give ranges of hashes to nodes", name, t)
}

// pieces yields the ranges that end at the points of the ring. Of equal points the
// first counts.
func (r *Ring) pieces(yield func(uint64, int) bool) {
	for i, h := range r.points {
		if (i == 0 || h != r.points[i-1]) && !yield(h, int(r.owners[i])) {
			return
		}
	}
}

// equalPieces yields the ranges that scale maps to 0, 1 and so on.
func equalPieces(owners []uint16) iter.Seq2[uint64, int] {
	return func(yield func(uint64, int) bool) {
		n := uint64(len(owners))
		for i, owner := range owners {
			last := uint64(math.MaxUint64)
			if next := uint64(i + 1); next < n {
				quotient, rest := bits.Div64(next, 0, n)
				last = quotient // the next begins at the quotient, rounded up
				if rest == 0 {
					last--
				}
			}
			if !yield(last, int(owner)) {
				return
			}
		}
	}
}

// Steps returns the ranges that move, sorted by their hashes, which do not overlap.
// Neighbours that move between the same two nodes are one step. The caller does
// not modify the slice.
func (p *Plan) Steps() []Step { return p.steps }

// Moved returns the share of all hashes that change their node, which is the
// expected share of all keys, 0 to 1.
func (p *Plan) Moved() float64 {
	sum := width{}
	for _, s := range p.steps {
		sum = sum.add(s.Range)
	}
	return sum.share()
}

// String explains the plan to an operator: how much moves in all, and between each
// two nodes, the most first.
func (p *Plan) String() string {
	type total struct {
		from, to string
		ranges   int
		width    width
	}
	type pair struct{ from, to string }
	totals := make(map[pair]*total)
	var order []*total
	for _, s := range p.steps {
		t := totals[pair{s.From, s.To}]
		if t == nil {
			t = &total{from: s.From, to: s.To}
			totals[pair{s.From, s.To}] = t
			order = append(order, t)
		}
		t.ranges++
		t.width = t.width.add(s.Range)
	}
	if len(order) == 0 {
		return "no key moves\n"
	}
	slices.SortFunc(order, func(a, b *total) int {
		return cmp.Or(
			cmp.Compare(b.width.high, a.width.high), cmp.Compare(b.width.low, a.width.low),
			cmp.Compare(a.from, b.from), cmp.Compare(a.to, b.to),
		)
	})
	var text strings.Builder
	fmt.Fprintf(&text, "%.3f%% of all keys move, in %s\n", 100*p.Moved(), counted(len(p.steps), "range"))
	for _, t := range order {
		fmt.Fprintf(&text, "  %s -> %s: %.3f%%, in %s\n", t.from, t.to, 100*t.width.share(), counted(t.ranges, "range"))
	}
	return text.String()
}

// counted returns a number of things: "1 range", "2 ranges".
func counted(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}

// step returns the index of the step that moves hash, or -1.
func (p *Plan) step(hash uint64) int {
	i, _ := slices.BinarySearchFunc(p.steps, hash, func(s Step, hash uint64) int { return cmp.Compare(s.Last, hash) })
	if i < len(p.steps) && p.steps[i].First <= hash {
		return i
	}
	return -1
}
