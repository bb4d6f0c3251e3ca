package grpcbalance

import (
	"context"
	"log/slog"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/balancer"
	"google.golang.org/grpc/balancer/endpointsharding"
	"google.golang.org/grpc/balancer/pickfirst"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/resolver"
)

// channel balances the calls of one connection, a grpc.ClientConn. It stands between
// that and the child, which has a pick_first for each endpoint, and replaces the picker
// that the child makes.
//
// gRPC calls the methods of [balancer.Balancer] one after the other. UpdateState is
// called by the child, with a lock held, one after the other too.
type channel struct {
	balancer.ClientConn
	b      *Balancer
	child  balancer.Balancer
	origin time.Time // of all instants
	// resolved says that there have been endpoints. Only UpdateClientConnState uses it.
	resolved bool

	state      atomic.Pointer[snapshot]
	refreshing atomic.Bool

	mu    sync.Mutex
	nodes map[string]*node // by ID; guarded by mu
}

var _ balancer.Balancer = (*channel)(nil)

// now returns the instant in the time of the connection.
func (c *channel) now() time.Duration { return time.Since(c.origin) }

// UpdateClientConnState takes over what the resolver has found.
func (c *channel) UpdateClientConnState(s balancer.ClientConnState) error {
	endpoints := slices.DeleteFunc(slices.Clone(s.ResolverState.Endpoints), func(e resolver.Endpoint) bool { return len(e.Addresses) == 0 })
	if len(endpoints) == 0 && c.resolved {
		return balancer.ErrBadResolverState // upon which the resolver is asked again
	}
	c.resolved = len(endpoints) > 0
	s.ResolverState.Endpoints = endpoints
	return c.child.UpdateClientConnState(balancer.ClientConnState{
		// With it, pick_first honours the healthCheckConfig of a service config.
		ResolverState: pickfirst.EnableHealthListener(s.ResolverState),
	})
}

// ResolverError implements [balancer.Balancer]. Children that have an endpoint keep it.
func (c *channel) ResolverError(err error) { c.child.ResolverError(err) }

// UpdateSubConnState implements [balancer.Balancer]. It is deprecated and not called.
func (c *channel) UpdateSubConnState(balancer.SubConn, balancer.SubConnState) {}

// ExitIdle connects to endpoints that are idle.
func (c *channel) ExitIdle() { c.child.ExitIdle() }

// Close ends the connection's part in the balancer. Calls in progress go on.
func (c *channel) Close() {
	c.b.closed(c)
	c.child.Close()
}

// UpdateState is told by the child how its endpoints are connected.
func (c *channel) UpdateState(state balancer.State) {
	if c.update(endpointsharding.ChildStatesFromPicker(state.Picker)) {
		state = balancer.State{ConnectivityState: connectivity.Ready, Picker: picker{c}}
	}
	// Otherwise its own picker has the reason why there is none.
	c.ClientConn.UpdateState(state)
}

// update makes a snapshot of endpoints, and reports whether any is connected.
func (c *channel) update(children []endpointsharding.ChildState) (ready bool) {
	c.locked(func() []note {
		members, came := c.members(children)
		prev := c.state.Load()
		next, err := c.draw(members, prev, c.now())
		if err != nil {
			return []note{{slog.LevelWarn, "endpoints not taken over", []slog.Attr{slog.Any("error", err)}}}
		}
		nodes := make(map[string]*node, len(members))
		for i := range members {
			nodes[members[i].node.id] = members[i].node
		}
		went := len(c.nodes) + came - len(nodes)
		c.nodes = nodes
		c.state.Store(next)
		ready = next.ready > 0
		notes := next.notes(prev)
		if came+went > 0 {
			notes = append(notes, note{slog.LevelInfo, "endpoints changed", []slog.Attr{
				slog.Int("endpoints", len(members)), slog.Int("came", came), slog.Int("went", went),
			}})
		}
		return notes
	})
	return ready
}

// refresh makes the snapshot that is due, unless another goroutine is at it.
func (c *channel) refresh(now time.Duration) {
	if !c.refreshing.CompareAndSwap(false, true) {
		return
	}
	defer c.refreshing.Store(false)
	c.locked(func() []note {
		if now < c.state.Load().until {
			return nil
		}
		return c.redraw(now)
	})
}

// redraw takes back endpoints whose time is over, and makes a new snapshot. The caller
// holds mu.
func (c *channel) redraw(now time.Duration) (notes []note) {
	prev := c.state.Load()
	for i := range prev.members {
		if n := prev.members[i].node; n.ejected && now >= n.until {
			n.ejected = false
			notes = append(notes, note{slog.LevelInfo, "endpoint back", []slog.Attr{slog.String("endpoint", n.id)}})
		}
	}
	next, err := c.draw(prev.members, prev, now)
	if err != nil { // of a policy that has taken these endpoints before
		again := *prev
		again.until = now + time.Second
		c.state.Store(&again)
		return append(notes, note{slog.LevelWarn, "endpoints not redrawn", []slog.Attr{slog.Any("error", err)}})
	}
	c.state.Store(next)
	return append(notes, next.notes(prev)...)
}

// failedInRow is called when an endpoint has failed so often in a row that it is to be
// ejected, unless too many are.
func (c *channel) failedInRow(n *node, now time.Duration) {
	c.locked(func() []note {
		members := c.state.Load().members
		out, known := 0, false
		for i := range members {
			other := members[i].node
			known = known || other == n
			if other.ejected && now < other.until {
				out++
			}
		}
		o := &c.b.o.Outlier
		if !known || n.ejected || out >= max(1, int(o.MaxEjected*float64(len(members)))) {
			return nil
		}
		n.eject(now, o.Ejection)
		c.b.ejections.Add(1)
		return append(c.redraw(now), note{slog.LevelInfo, "endpoint ejected", []slog.Attr{
			slog.String("endpoint", n.id), slog.Duration("duration", n.until-now), slog.Bool("enforced", o.Mode.Enforces(n.id)),
		}})
	})
}

// note is something to log once no lock is held.
type note struct {
	level slog.Level
	text  string
	attrs []slog.Attr
}

// locked calls f with mu held, and logs what it returns without.
func (c *channel) locked(f func() []note) {
	notes := func() []note {
		c.mu.Lock()
		defer c.mu.Unlock()
		return f()
	}()
	for _, n := range notes {
		c.b.o.Logger.LogAttrs(context.Background(), n.level, n.text, append([]slog.Attr{slog.String("balancer", c.b.name)}, n.attrs...)...)
	}
}

// never is when something happens that does not.
const never = time.Duration(math.MaxInt64)
