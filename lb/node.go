package lb

import (
	"sync/atomic"
	"time"

	"github.com/uprung/uprung"
	"github.com/uprung/uprung/shard"
)

// node is an endpoint as the resolver describes it, with what is known of it.
type node struct {
	Endpoint
	*known
}

// known is what is known of an endpoint. It lives as long as the resolver returns the
// endpoint with its ID and address, whatever else is said of it, and longer while
// requests are in progress.
type known struct {
	hash    uint64 // of the ID
	outlier record

	inFlight atomic.Int64
	picked   atomic.Uint64
	outcomes [4]atomic.Uint64 // by Outcome

	// warmFrom is when a slow start began, or never. It is written under
	// Balancer.mu.
	warmFrom atomic.Int64

	up    bool // as of the last snapshot; guarded by Balancer.mu
	drawn bool // there has been a snapshot with it; guarded by Balancer.mu
	added bool // its last slow start is the first; guarded by Balancer.mu
}

// newKnown returns what is known of an endpoint of which nothing is.
func newKnown(id string) *known {
	k := &known{hash: shard.Hash(id)}
	k.warmFrom.Store(never)
	return k
}

// never is before every instant, also when a window is subtracted from it.
const never = -1 << 62

// coldShare is the share with which a slow start begins.
const coldShare = 0.1

// share returns the part of its requests that an endpoint should get at an instant,
// which is less than 1 during a slow start.
func (n *known) share(now, window time.Duration) float64 {
	return warmth(now-time.Duration(n.warmFrom.Load()), window)
}

// warmth is the curve of a slow start: linear, from coldShare to 1.
func warmth(since, window time.Duration) float64 {
	if since >= window {
		return 1
	}
	return max(coldShare, float64(since)/float64(window))
}

// ended counts an outcome.
func (n *known) ended(outcome uprung.Outcome) {
	n.inFlight.Add(-1)
	n.outcomes[outcome].Add(1)
}
