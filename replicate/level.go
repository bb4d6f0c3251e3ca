package replicate

import (
	"fmt"
	"time"
)

// Level says how much a read may differ from one at the primary. The names are those of
// the literature (Terry et al.: Session Guarantees for Weakly Consistent Replicated Data,
// PDIS 1994; Azure Cosmos DB for the order). The zero value is Session.
//
// A Level is one of the constants or made by [BoundedStaleness].
type Level int64

const (
	// Session promises ReadYourWrites and Monotonic.
	Session Level = 0
	// Strong reads at the primary.
	Strong Level = -1
	// ReadYourWrites promises that a read sees every write that was done before under
	// the same [Bookmark]. Without one, that is every write through this Cluster.
	ReadYourWrites Level = -2
	// Monotonic promises that a read sees everything that reads before under the same
	// [Bookmark] have seen: nobody goes back in time. Without one it promises nothing.
	Monotonic Level = -3
	// Eventual reads at any replica that answers and is not of a history that has ended.
	Eventual Level = -4
)

// BoundedStaleness promises what Session does, and that a read sees everything that was
// committed d ago or earlier, whoever did it. A bound of less than a few probes sends
// most reads to the primary. A d of zero or less is none that [Level.Validate] accepts.
func BoundedStaleness(d time.Duration) Level {
	if d <= 0 {
		return invalidLevel
	}
	return Level(d)
}

const invalidLevel Level = -5

// Validate returns an error unless l is one of the constants or a BoundedStaleness.
func (l Level) Validate() error {
	if l <= invalidLevel {
		return fmt.Errorf("%s, want Session, Strong, ReadYourWrites, Monotonic, Eventual or a BoundedStaleness above zero", l)
	}
	return nil
}

// String returns the name of the level, and for a bound its length.
func (l Level) String() string {
	switch l {
	case Session:
		return "session"
	case Strong:
		return "strong"
	case ReadYourWrites:
		return "read-your-writes"
	case Monotonic:
		return "monotonic"
	case Eventual:
		return "eventual"
	}
	if l < 0 {
		return "invalid"
	}
	return "bounded-staleness " + time.Duration(l).String()
}

// ownWrites and monotonic report which guarantees of a session the level has.
func (l Level) ownWrites() bool { return l >= 0 || l == ReadYourWrites }
func (l Level) monotonic() bool { return l >= 0 || l == Monotonic }
