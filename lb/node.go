package lb

import (
	"sync/atomic"
	"time"

	"github.com/uprung/uprung"
)

// node is an endpoint with what is known of it. It lives as long as the resolver
// returns the endpoint, and longer while requests to it are in progress.
type node struct {
	Endpoint
	outlier record

	inFlight atomic.Int64
	picked   atomic.Uint64
	outcomes [4]atomic.Uint64 // by Outcome

	// warmFrom is when a slow start began, or never. It is written under
	// Balancer.mu.
	warmFrom atomic.Int64

	up bool // as of the last snapshot; guarded by Balancer.mu
}

// never is before every instant, also when a window is subtracted from it.
const never = -1 << 62

// coldShare is the share with which a slow start begins.
const coldShare = 0.1

// share returns the part of its requests that an endpoint should get at an instant,
// which is less than 1 during a slow start.
func (n *node) share(now, window time.Duration) float64 {
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
func (n *node) ended(outcome uprung.Outcome) {
	n.inFlight.Add(-1)
	n.outcomes[outcome].Add(1)
}
