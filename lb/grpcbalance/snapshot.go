package grpcbalance

import (
	"cmp"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/balancer"
	"google.golang.org/grpc/balancer/endpointsharding"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/experimental/balancer/weight"
	"google.golang.org/grpc/resolver"

	"github.com/uprung/uprung"
	"github.com/uprung/uprung/lb/pick"
)

// node is what is known of an endpoint. It lives as long as the resolver returns the
// endpoint, and longer while calls to it are in progress.
type node struct {
	id  string
	row atomic.Int64 // failures since the last success

	inFlight atomic.Int64
	picked   atomic.Uint64
	outcomes [4]atomic.Uint64 // by Outcome

	// Guarded by channel.mu.
	times   int           // of being ejected that are remembered
	ejected bool          // or counted as if, in shadow mode
	until   time.Duration // when ejected ends, or has ended
}

// forgetting is how long an endpoint must be in for one time of being ejected to be
// forgotten.
const forgetting = 10 * time.Second

// eject takes the endpoint out, longer each time.
func (n *node) eject(now, base time.Duration) {
	n.times = min(max(0, n.times-int((now-n.until)/forgetting))+1, 10)
	n.ejected, n.until = true, now+base*time.Duration(n.times)
	n.row.Store(0)
}

// ended counts an outcome, and reports whether it was the last of so many failures in a
// row, or of as many again.
func (n *node) ended(outcome uprung.Outcome, consecutive int) (enough bool) {
	n.inFlight.Add(-1)
	n.outcomes[outcome].Add(1)
	switch outcome {
	case uprung.Success:
		if n.row.Load() != 0 {
			n.row.Store(0)
		}
	case uprung.Failure:
		return n.row.Add(1)%int64(consecutive) == 0
	}
	return false
}

// member is an endpoint as of a snapshot.
type member struct {
	node   *node
	weight int
	// picker is that of its pick_first, or nil if it is not connected.
	picker balancer.Picker
}

// snapshot is what calls choose from: immutable, but for what its nodes count.
type snapshot struct {
	members []member // sorted by ID
	picker  pick.Picker
	// until is when the next snapshot is due, if nothing happens before.
	until time.Duration
	// ready is how many are connected, and usable how many of these are not ejected.
	ready, usable int
	// panicking says that endpoints are picked from that are not usable.
	panicking bool
}

// members returns those of a snapshot, and how many of them are new. The caller holds
// mu.
func (c *channel) members(children []endpointsharding.ChildState) (members []member, came int) {
	// Addresses come in the resolver's order, children in none.
	children = slices.Clone(children)
	slices.SortFunc(children, func(a, b endpointsharding.ChildState) int {
		return slices.CompareFunc(a.Endpoint.Addresses, b.Endpoint.Addresses, func(a, b resolver.Address) int { return cmp.Compare(a.Addr, b.Addr) })
	})
	heaviest := uint32(1)
	for _, child := range children {
		heaviest = max(heaviest, weight.FromEndpoint(child.Endpoint).Weight)
	}
	used := make(map[string]bool, len(children))
	for _, child := range children {
		m := member{weight: scaled(weight.FromEndpoint(child.Endpoint).Weight, heaviest)}
		id := identify(child.Endpoint, used)
		if m.node = c.nodes[id]; m.node == nil {
			m.node = &node{id: id}
			came++
		}
		if child.State.ConnectivityState == connectivity.Ready {
			m.picker = child.State.Picker
		}
		members = append(members, m)
	}
	slices.SortFunc(members, func(a, b member) int { return cmp.Compare(a.node.id, b.node.id) })
	return members, came
}

// identify returns the ID of an endpoint: its first address, or all of them if another
// endpoint has that too, or those and a number if there is no other way.
func identify(e resolver.Endpoint, used map[string]bool) string {
	id := e.Addresses[0].Addr
	if used[id] {
		addrs := make([]string, len(e.Addresses))
		for i, a := range e.Addresses {
			addrs[i] = a.Addr
		}
		id = strings.Join(addrs, ",")
	}
	for base, i := id, 2; used[id]; i++ {
		id = base + "#" + strconv.Itoa(i)
	}
	used[id] = true
	return id
}

// scaled returns a weight that a policy takes. Zero is that of an endpoint without.
func scaled(weight, heaviest uint32) int {
	if heaviest <= pick.MaxWeight || weight == 0 {
		return int(weight)
	}
	return max(1, int(uint64(weight)*pick.MaxWeight/uint64(heaviest)))
}

// draw makes a snapshot, whose picker takes over what that of prev knows. The caller
// holds mu.
func (c *channel) draw(members []member, prev *snapshot, now time.Duration) (*snapshot, error) {
	s := &snapshot{members: members, until: never}
	endpoints := make([]pick.Endpoint, len(members))
	for i, m := range members {
		out := false
		if n := m.node; n.ejected {
			out = c.b.o.Outlier.Mode.Enforces(n.id)
			// What is over already is due at once.
			s.until = min(s.until, max(n.until, now))
		}
		if m.picker != nil {
			s.ready++
			if !out {
				s.usable++
			}
		}
		endpoints[i] = pick.Endpoint{ID: m.node.id, Weight: m.weight, Down: m.picker == nil || out}
	}
	s.panicking = s.usable < s.ready && float64(s.usable) < c.b.o.PanicThreshold*float64(len(members))
	if s.panicking {
		for i, m := range members {
			endpoints[i].Down = m.picker == nil
		}
	}
	var err error
	s.picker, err = c.b.o.Policy.Picker(endpoints, prev.picker)
	return s, err
}

// notes returns what is new in a snapshot.
func (s *snapshot) notes(prev *snapshot) []note {
	if s.panicking == prev.panicking {
		return nil
	}
	return []note{{slog.LevelWarn, "usable endpoints", []slog.Attr{
		slog.Bool("too_few", s.panicking), slog.Int("usable", s.usable), slog.Int("endpoints", len(s.members)),
	}}}
}
