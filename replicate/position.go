package replicate

import (
	"fmt"
	"slices"
)

// Position is a point in the history of what was written. What a server has applied
// is one Position for each Timeline that it knows.
//
// For PostgreSQL it is the timeline and the LSN, for MariaDB a domain and a sequence
// number, for MySQL a hash of the UUID of a server and the number of its transaction.
type Position struct {
	// Timeline tells apart histories that are numbered each for itself.
	Timeline uint32
	// Offset grows with every write. Zero is before the first.
	Offset uint64
}

// IsZero reports whether p is before the first write: every server has applied it.
func (p Position) IsZero() bool { return p.Offset == 0 }

// String returns the timeline and the offset in hexadecimal.
func (p Position) String() string { return fmt.Sprintf("%X/%X", p.Timeline, p.Offset) }

// Role is what a server is at the moment.
type Role uint8

const (
	// UnknownRole is that of a server that has not been asked, or did not say.
	UnknownRole Role = iota
	// Primary takes writes.
	Primary
	// Replica follows the primary.
	Replica
)

// String returns "unknown", "primary" or "replica".
func (r Role) String() string {
	switch r {
	case Primary:
		return "primary"
	case Replica:
		return "replica"
	default:
		return "unknown"
	}
}

// Report is what a server says of itself when it is probed.
type Report struct {
	// System identifies the data that the servers of one cluster share. A server with
	// another is not used. Zero means that the servers do not tell.
	System uint64
	// Role is what the server is.
	Role Role
	// Epoch grows with every promotion, such as the timeline of PostgreSQL. A server
	// with a lower one than was seen elsewhere has been left behind, and is neither
	// primary nor replica until it has caught up. Zero means that the servers do not
	// tell; then Timelines do not end either.
	Epoch uint32
	// Applied is what can be read at the server: one Position for each Timeline.
	Applied []Position
	// Head is, of a primary, a position that contains all that it has committed.
	Head Position
}

// contains reports whether a server that has applied this has applied p.
func contains(applied []Position, p Position) bool {
	if p.Offset == 0 {
		return true
	}
	for i := range applied {
		if applied[i].Timeline == p.Timeline {
			return applied[i].Offset >= p.Offset
		}
	}
	return false
}

// containsAll reports whether a server that has applied this has applied all of those.
func containsAll(applied, those []Position) bool {
	for _, p := range those {
		if !contains(applied, p) {
			return false
		}
	}
	return true
}

// maxSamples bounds a ring.
const maxSamples = 128

// sample says that what was committed before an instant of our own clock is contained
// in these positions of the primary: it was asked at that instant or after.
type sample struct {
	at      int64
	applied []Position
}

// ring is the recent history of the primary, the oldest sample first. All instants are
// of one clock, ours: the clocks of servers differ, and the time of the last transaction
// that a replica has replayed says nothing where nothing is written.
//
// Its memory is bounded, the time that it covers is not: when it is full, every second
// sample of its older half is dropped.
type ring struct{ samples []sample }

// add notes what the primary answered when asked at this instant.
func (r *ring) add(at int64, applied []Position) {
	if n := len(r.samples); n > 0 && r.samples[n-1].at >= at {
		return // an answer that was overtaken by a later question's
	}
	if len(r.samples) == maxSamples {
		kept := r.samples[:0]
		for i, s := range r.samples {
			if i >= maxSamples/2 || i%2 == 0 {
				kept = append(kept, s)
			}
		}
		clear(r.samples[len(kept):])
		r.samples = kept
	}
	r.samples = append(r.samples, sample{at, slices.Clone(applied)})
}

// certified returns the last instant before which everything that was committed is in
// what a replica has applied, and 0 if none is known.
func (r *ring) certified(applied []Position) int64 {
	for _, s := range slices.Backward(r.samples) {
		if containsAll(applied, s.applied) {
			return s.at
		}
	}
	return 0
}

func (r *ring) clear() { r.samples = nil }
