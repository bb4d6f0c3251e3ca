package replicate

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"math/bits"
	"sync"
	"time"

	"github.com/uprung/uprung/lb/pick"
)

// view is what is known of the servers at one moment, for all who read. It does not
// change.
type view struct {
	state
	candidates uint64 // the replicas that answer, and the primary if reads are spread over it too
	picker     pick.Picker
	changed    chan struct{} // closed when there is another view
}

// maxAhead bounds how many tokens are remembered that are ahead of the primary.
const maxAhead = 64

// primaryLead is how much earlier the primary is probed than the others, so that their
// answers can be held against its own of the same round.
const primaryLead = 5 * time.Millisecond

// Run probes the servers until ctx ends, and returns nil then. Without it they are probed
// by reads that find that nobody has for a while, and failures are noticed by statements
// that meet them. Only one Run can run at a time.
func (c *Cluster) Run(ctx context.Context) error {
	if !c.running.CompareAndSwap(0, 1) {
		return errors.New("replicate: Run runs already")
	}
	c.coarse.Store(c.now())
	var probes sync.WaitGroup
	defer func() {
		probes.Wait()
		c.running.Store(0)
		if c.connectors.Load() == 0 {
			for _, n := range c.nodes {
				_ = n.sweep(true) // nobody uses them
			}
		}
	}()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		case <-c.kick:
			// Not more often than a primary that does not answer could call for.
			timer.Reset(max(0, time.Duration(c.lastRound.Load()-c.now())+c.probe/(2*primaryHaste)))
			select {
			case <-ctx.Done():
				return nil
			case <-timer.C:
			}
		}
		now := c.now()
		c.coarse.Store(now)
		c.lastRound.Store(now)
		for _, n := range c.nodes {
			probes.Go(func() { c.probeNode(ctx, n, n.index != c.view.Load().primary) })
			_ = n.sweep(false) // an error of closing what is old anyway
		}
		interval := c.probe
		if !c.hasPrimary() {
			interval /= primaryHaste
		}
		timer.Reset(interval)
	}
}

// hasPrimary reports whether a primary is known that answers.
func (c *Cluster) hasPrimary() bool {
	v := c.view.Load()
	return v.primary >= 0 && v.claims(v.primary)
}

// refresh probes all servers if nobody else does and nobody has for a while.
func (c *Cluster) refresh(ctx context.Context) {
	if c.running.Load() > 0 {
		return
	}
	interval := c.probe
	if !c.hasPrimary() {
		interval /= primaryHaste
	}
	if last := c.lastRound.Load(); last != 0 && c.now()-last < int64(interval) || !c.round.TryLock() {
		return
	}
	c.probeAll(context.WithoutCancel(ctx)) // the answers are for others too
}

// probeAll probes all servers and waits for their answers. It ends the round of its caller.
func (c *Cluster) probeAll(ctx context.Context) {
	defer c.round.Unlock()
	var probes sync.WaitGroup
	for _, n := range c.nodes {
		probes.Go(func() { c.probeNode(ctx, n, n.index != c.view.Load().primary) })
	}
	probes.Wait()
	c.lastRound.Store(c.now())
}

// hurry has the servers probed at once.
func (c *Cluster) hurry() {
	select {
	case c.kick <- struct{}{}:
	default: // it has been said
	}
}

// probeNode asks one server what it is, unless it is still being asked.
func (c *Cluster) probeNode(ctx context.Context, n *node, late bool) {
	if !n.probing.CompareAndSwap(false, true) {
		return
	}
	defer n.probing.Store(false)
	if late {
		wait := time.NewTimer(min(primaryLead, c.probe/primaryHaste))
		defer wait.Stop()
		select {
		case <-wait.C:
		case <-ctx.Done():
			return
		}
	}
	bounded, cancel := context.WithTimeout(ctx, c.probeTimeout)
	defer cancel()
	err := c.ask(bounded, n)
	if err != nil && ctx.Err() == nil {
		c.counts.probesFailed.Add(1)
		c.lose(ctx, n, err)
	}
}

// ask probes a server on a connection of its pool.
func (c *Cluster) ask(ctx context.Context, n *node) error {
	for {
		p, err := n.borrow(ctx, false)
		if err != nil {
			return err
		}
		pooled := p.returned != 0
		asked := c.now()
		report, err := c.dialect.Probe(ctx, p)
		if err != nil {
			p.broken = true
		}
		n.give(p)
		switch {
		case err == nil:
			c.learn(ctx, n, asked, report)
			return nil
		case pooled && ctx.Err() == nil:
			_ = n.sweep(true) // the server may have been started anew: all of them are lost
		default:
			return err
		}
	}
}

// learn takes in what a server has reported.
func (c *Cluster) learn(ctx context.Context, n *node, asked int64, r Report) {
	c.change(ctx, func(s *state) { s.observe(n.index, asked, r) }, nil)
}

// lose notes that a server does not answer, and has the others asked.
func (c *Cluster) lose(ctx context.Context, n *node, err error) {
	if !c.view.Load().members[n.index].up {
		return // it has been said
	}
	c.change(ctx, func(s *state) { s.lose(n.index) }, err)
	_ = n.sweep(true) // their connections are lost too
	if c.view.Load().primary == n.index {
		c.hurry()
	}
}

// ban leaves a server alone for a while.
func (c *Cluster) ban(ctx context.Context, n *node, err error) {
	until := c.now() + int64(busyBan)
	c.change(ctx, func(s *state) { s.ban(n.index, until) }, err)
}

// change changes the state, publishes it, and logs what is different.
func (c *Cluster) change(ctx context.Context, do func(*state), cause error) {
	c.mu.Lock()
	before := c.view.Load()
	do(&c.state)
	c.publish()
	after := c.view.Load()
	c.mu.Unlock()
	if before.primary != after.primary {
		c.counts.failovers.Add(1)
		c.logger.LogAttrs(ctx, slog.LevelInfo, "replicate: another primary", slog.String("cluster", c.name),
			slog.String("from", c.nameOf(before.primary)), slog.String("to", c.nameOf(after.primary)))
	}
	for i := range after.members {
		was, is := &before.members[i], &after.members[i]
		attrs := []slog.Attr{slog.String("cluster", c.name), slog.String("node", c.nodes[i].Name)}
		switch {
		case was.up && !is.up:
			if cause != nil {
				attrs = append(attrs, slog.String("error", cause.Error()))
			}
			c.logger.LogAttrs(ctx, slog.LevelWarn, "replicate: node lost", attrs...)
		case !was.up && is.up, is.up && was.report.Role != is.report.Role:
			c.logger.LogAttrs(ctx, slog.LevelInfo, "replicate: node up", append(attrs, slog.String("role", is.report.Role.String()))...)
		}
		behind := func(v *view, m *member) bool {
			return m.up && m.report.Role == Primary && m.report.Epoch < v.epoch && v.primary >= 0 && v.primary != i
		}
		if behind(after, is) && !behind(before, was) {
			c.logger.LogAttrs(ctx, slog.LevelWarn, "replicate: node left behind", attrs...)
		}
	}
}

func (c *Cluster) nameOf(node int) string {
	if node < 0 {
		return "none"
	}
	return c.nodes[node].Name
}

// publish lets everybody see the state. It is called under mu, or by New.
func (c *Cluster) publish() {
	now := c.now()
	next := &view{state: c.state.clone(), changed: make(chan struct{})}
	for i := range next.members {
		primary := i == next.primary
		if next.usable(i, now) && (primary && c.primaryReads && next.claims(i) || !primary && next.members[i].report.Role == Replica) {
			next.candidates |= 1 << i
		}
	}
	before := c.view.Load()
	if before != nil && before.candidates == next.candidates {
		next.picker = before.picker
	} else {
		next.picker = c.newPicker(before, next.candidates)
	}
	c.view.Store(next)
	if before != nil {
		close(before.changed)
	}
	if next.primary >= 0 {
		maps.DeleteFunc(c.ahead, func(p Position, _ int64) bool { return contains(next.members[next.primary].report.Applied, p) })
	}
}

// newPicker returns a picker for these candidates that keeps what the last one knew.
func (c *Cluster) newPicker(before *view, candidates uint64) pick.Picker {
	endpoints := make([]pick.Endpoint, len(c.nodes))
	for i, n := range c.nodes {
		endpoints[i] = pick.Endpoint{ID: n.Name, Weight: n.Weight, Down: candidates&(1<<i) == 0}
	}
	var last pick.Picker
	if before != nil {
		last = before.picker
	}
	picker, err := c.policy.Picker(endpoints, last)
	if err != nil { // names and weights have been checked by New: a policy that has wishes of its own
		c.logger.LogAttrs(context.Background(), slog.LevelWarn, "replicate: policy refused the nodes", slog.String("error", err.Error()))
		picker, _ = pick.PowerOfTwo{}.Picker(endpoints, nil)
	}
	return picker
}

// clamp returns the position that a token asks for, and less if it cannot be had: what
// was lost in a failover, and what the primary still did not have when it was asked after
// the token had come, would keep its bearer at the primary forever.
func (c *Cluster) clamp(v *view, need Position, now int64) Position {
	need, lost, ok := v.translate(need)
	if lost {
		c.counts.writesLost.Add(1)
	}
	if !ok {
		c.hurry() // somebody knows a newer primary
		return need
	}
	if v.primary < 0 || need.IsZero() {
		return need
	}
	primary := &v.members[v.primary]
	if !primary.up || contains(primary.report.Applied, need) {
		return need
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	came, known := c.ahead[need]
	switch {
	case known && primary.asked > came:
		c.counts.writesLost.Add(1)
		return primary.report.Head
	case !known && len(c.ahead) < maxAhead:
		c.ahead[need] = now
	}
	return need
}

// nearest returns those of a set that are near, or all if none is.
func (c *Cluster) nearest(set uint64) uint64 {
	if near := set & c.region; near != 0 {
		return near
	}
	return set
}

// only returns the one member of a set, and false if there are more or none.
func only(set uint64) (int, bool) {
	return bits.TrailingZeros64(set), set != 0 && set&(set-1) == 0
}
