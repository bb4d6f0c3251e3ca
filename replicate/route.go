package replicate

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/uprung/uprung"
	"github.com/uprung/uprung/lb/pick"
)

// Reason says why a read ran where it did.
type Reason uint8

const (
	// AtReplica ran at a replica, or at a primary that reads are spread over.
	AtReplica Reason = iota
	// AfterWait ran at a replica that was asked, or waited for, to have what was needed.
	AfterWait
	// AtStale ran at a replica that lacked something, under ToStale.
	AtStale
	// ByLevel ran at the primary because its level is Strong.
	ByLevel
	// ByHint ran at the primary because OnPrimary said so.
	ByHint
	// ByConnection ran at the primary because an earlier statement has changed the
	// connection.
	ByConnection
	// ByMode ran at the primary because Mode does not enforce decisions.
	ByMode
	// ByWrites fell back to the primary: no replica was known to have what the bookmark,
	// or anybody, had written.
	ByWrites
	// ByReads fell back to the primary: no replica was known to have what the bookmark
	// had seen.
	// Who reads there faster than servers are asked where they are stays there, as each
	// read is one more that a replica has yet to be known to have.
	ByReads
	// ByBound fell back to the primary: all replicas were staler than the bound.
	ByBound
	// ByAbsence fell back to the primary: no replica was usable.
	ByAbsence

	reasons = iota
)

// String returns the lower-case name that metrics use.
func (r Reason) String() string {
	if int(r) >= reasons {
		return "invalid"
	}
	return [reasons]string{
		"replica", "after_wait", "stale", "level", "hint", "connection", "mode", "writes", "reads", "bound", "absence",
	}[r]
}

// fallback reports whether the read would have run at a replica if one had been fit.
func (r Reason) fallback() bool { return r >= ByWrites && r <= ByAbsence }

// fitness is which nodes are fit for a read.
type fitness struct {
	fit    uint64
	almost uint64 // those that lack nothing but a position, as far as is known
	why    Reason // if none is fit
}

// fitFor returns which of the candidates keep what a level promises to whom has come this
// far. wrote is when the last write was over that p does not know about.
func (v *view) fitFor(level Level, p *progress, wrote, now int64) fitness {
	if level == Eventual || v.candidates == 0 {
		return fitness{fit: v.candidates, why: ByAbsence}
	}
	f := fitness{why: ByAbsence}
	if level.ownWrites() {
		wrote = max(wrote, p.wrote)
		if p.open > 0 {
			return fitness{why: ByWrites}
		}
	} else {
		wrote = 0
	}
	need, _, known := v.translate(p.need)
	if !known {
		return fitness{why: ByWrites}
	}
	for set := v.candidates; set != 0; set &= set - 1 {
		i, _ := only(set & -set)
		m := &v.members[i]
		if i == v.primary {
			f.fit |= 1 << i
			continue
		}
		switch {
		case wrote > 0 && m.certified <= wrote:
			f.why = ByWrites
		case level.monotonic() && p.read > 0 && m.certified <= p.read && (p.node != i+1 || p.incarnation != m.incarnation):
			f.why = ByReads
		case level > 0 && now-m.certified > int64(level):
			f.why = ByBound
		case !contains(m.report.Applied, need):
			f.why = ByWrites
			f.almost |= 1 << i
		default:
			f.fit |= 1 << i
		}
	}
	return f
}

// chosen is a node that was picked for a read.
type chosen struct {
	node   *node
	picker pick.Picker
	token  pick.Token
}

// refusing refuses all but a set of nodes.
type refusing struct{ but uint64 }

// Refuses implements pick.Filter.
func (r *refusing) Refuses(i int) bool { return r.but&(1<<i) == 0 }

// pick chooses one of a set of candidates, which is not empty.
func (c *Cluster) pick(v *view, set uint64, filter *refusing) chosen {
	var now time.Duration
	if c.clocked {
		now = time.Duration(c.now())
	}
	if i, one := only(set); one {
		return chosen{c.nodes[i], v.picker, v.picker.Take(i, now)}
	}
	r := pick.Request{Now: now, Random: rand.Uint64()} //nolint:gosec // it spreads load
	if set != v.candidates {
		filter.but = set
		r.Filter = filter
	}
	token, ok := v.picker.Pick(r)
	if !ok {
		for i := range c.nodes {
			if set&(1<<i) != 0 {
				token = v.picker.Take(i, now)
				break
			}
		}
	}
	return chosen{c.nodes[token.Endpoint], v.picker, token}
}

// done says how the read ended.
func (c *Cluster) done(ch chosen, outcome uprung.Outcome) {
	var now time.Duration
	if c.clocked {
		now = time.Duration(c.now())
	}
	ch.picker.Done(ch.token, now, outcome)
}

// refusal is the error of a statement that was not tried.
func (c *Cluster) refusal(reason error) error {
	return &uprung.Rejection{Kind: Kind, Name: c.name, Reason: reason, RetryAfter: c.probe}
}

// slot takes one of the places of reads that fall back to the primary.
func (c *Cluster) slot(ctx context.Context) error {
	if c.slots == nil {
		return nil
	}
	select {
	case c.slots <- struct{}{}:
		return nil
	default:
	}
	if c.wait > 0 {
		timer := time.NewTimer(c.wait)
		defer timer.Stop()
		select {
		case c.slots <- struct{}{}:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		case <-timer.C:
		}
	}
	c.counts.refused.Add(1)
	return c.refusal(ErrPrimaryBusy)
}

// unslot gives the place back.
func (c *Cluster) unslot() {
	if c.slots != nil {
		<-c.slots
	}
}

// waits counts who waits, and reports whether there is room.
func (c *Cluster) waits() bool {
	if c.waiting.Add(1) <= maxWaiting {
		return true
	}
	c.waiting.Add(-1)
	return false
}

// toPrimary returns a connection to the primary, and waits for one for a while: until now
// nothing was sent, so that a failover is a pause and no error.
func (c *Cluster) toPrimary(ctx context.Context, sure bool) (*physical, error) {
	p, err := c.tryPrimary(ctx, sure)
	if err == nil || ctx.Err() != nil || c.failoverWait <= 0 || !errors.Is(err, ErrNoPrimary) && faultOf(c.dialect, err) != Gone {
		return p, err
	}
	if !c.waits() {
		return nil, err
	}
	defer c.waiting.Add(-1)
	c.hurry()
	deadline := time.NewTimer(c.failoverWait)
	defer deadline.Stop()
	again := time.NewTicker(max(c.probe/primaryHaste, time.Millisecond))
	defer again.Stop()
	for {
		v := c.view.Load()
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-deadline.C:
			return nil, err
		case <-v.changed:
			if v.primary == c.view.Load().primary {
				continue // the ticker comes soon enough
			}
		case <-again.C:
			c.refresh(ctx)
		}
		if p, err = c.tryPrimary(ctx, sure); err == nil || ctx.Err() != nil || !errors.Is(err, ErrNoPrimary) && faultOf(c.dialect, err) != Gone {
			return p, err
		}
	}
}

// tryPrimary returns a connection to the primary if there is one now.
func (c *Cluster) tryPrimary(ctx context.Context, sure bool) (*physical, error) {
	v := c.view.Load()
	if v.primary < 0 {
		return nil, c.refusal(ErrNoPrimary)
	}
	n := c.nodes[v.primary]
	p, err := n.borrow(ctx, sure)
	if err != nil && ctx.Err() == nil && faultOf(c.dialect, err) == Gone {
		c.lose(ctx, n, err)
	}
	return p, err
}
