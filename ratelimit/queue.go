package ratelimit

import (
	"context"
	"slices"
)

// waiter is a request that waits for a place. Its fields are guarded by the mutex of
// the limit, but for err, which is set before done is closed.
type waiter struct {
	ctx      context.Context //nolint:containedctx // it lives as long as the call that waits
	tenant   *tenant
	priority Priority
	since    int64
	served   bool
	err      error
	done     chan struct{}
}

// queue is who waits: by priority, then in turns of tenants, then in the order of
// arrival. It is for the holder of the mutex of the limit.
type queue struct {
	lines   [priorities][]lane // a tenant has at most one in each; none is empty
	length  int
	emptied int64 // when it was last empty
	dropped int64 // when one was last dropped who had waited for too long
	drops   bool  // whether there ever was one
}

// lane is who waits of one tenant.
type lane struct {
	tenant  *tenant
	waiters []*waiter
}

func (q *queue) push(w *waiter, now int64) {
	q.settle(now)
	q.length++
	w.tenant.wait(1)
	lines := q.lines[w.priority]
	for i := range lines {
		if lines[i].tenant == w.tenant {
			lines[i].waiters = append(lines[i].waiters, w)
			return
		}
	}
	q.lines[w.priority] = append(lines, lane{tenant: w.tenant, waiters: []*waiter{w}})
}

// settle notes when the queue is empty.
func (q *queue) settle(now int64) {
	if q.length == 0 {
		q.emptied = now
	}
}

// patienceShare is the part of its time that a request waits in a queue that stands.
const patienceShare = 20

// patience returns how long a request may have waited that is to be served. It is
// CoDel's rule for servers (Maurer, Fail at Scale, ACM Queue 13(8), 2015): a queue that
// has been empty a moment ago absorbs a burst, one that has not is only a delay.
func (q *queue) patience(longest, now int64) int64 {
	if now-q.emptied > longest || q.drops && now-q.dropped <= longest {
		return longest / patienceShare
	}
	return longest
}

// verdict is what becomes of one who waits.
type verdict uint8

const (
	keeps verdict = iota
	drops
	admits
)

// next removes and returns the first in turn of whom a function does not say that it
// is kept, and whether it is admitted. A tenant whose first is kept does not stop
// others.
func (q *queue) next(judge func(*waiter) verdict) (*waiter, bool) {
	for _, p := range turn {
		lines := q.lines[p]
		for i := range lines {
			first := lines[i].waiters[0]
			v := judge(first)
			if v == keeps {
				continue
			}
			q.length--
			first.tenant.wait(-1)
			rest := lines[i]
			rest.waiters[0] = nil
			rest.waiters = rest.waiters[1:]
			if lines = slices.Delete(lines, i, i+1); len(rest.waiters) > 0 {
				if v == admits {
					lines = append(lines, rest) // the others' turn
				} else {
					lines = slices.Insert(lines, i, rest)
				}
			}
			q.lines[p] = lines
			return first, v == admits
		}
	}
	return nil, false
}

// remove takes out one who does not wait any more.
func (q *queue) remove(w *waiter) {
	lines := q.lines[w.priority]
	i := slices.IndexFunc(lines, func(l lane) bool { return l.tenant == w.tenant })
	l := &lines[i]
	at := slices.Index(l.waiters, w)
	l.waiters = slices.Delete(l.waiters, at, at+1)
	if len(l.waiters) == 0 {
		q.lines[w.priority] = slices.Delete(lines, i, i+1)
	}
	q.length--
	w.tenant.wait(-1)
}

// least returns the last of those who give way to a priority, or nil if all are as
// important: of the least priority, and of the tenant with the longest line.
func (q *queue) least(than Priority) *waiter {
	for _, p := range slices.Backward(turn[:]) {
		if p == than {
			return nil
		}
		longest := []*waiter(nil)
		for _, l := range q.lines[p] {
			if len(l.waiters) > len(longest) {
				longest = l.waiters
			}
		}
		if len(longest) > 0 {
			return longest[len(longest)-1]
		}
	}
	return nil
}

// tenant is one who shares a limit.
type tenant struct {
	inFlight int64
	waiting  int
	seen     int64 // when it last asked
}

// wait counts who waits of a tenant, which may be nobody.
func (t *tenant) wait(n int) {
	if t != nil {
		t.waiting += n
	}
}

// tenants are those who have asked of late or have requests in progress. It is for the
// holder of the mutex of the limit.
type tenants struct {
	known map[string]*tenant
	swept int64
}

// sweepEvery is how often tenants are forgotten that have not asked for long.
const sweepEvery = memory / 8

// crowd is the name of those for whom there is no room. No tenant has it, since the
// empty name is nobody's.
const crowd = ""

// of returns the tenant of a name, which asks now.
func (ts *tenants) of(name string, now int64) *tenant {
	ts.sweep(now)
	t := ts.known[name]
	if t == nil && len(ts.known) >= maxTenants {
		name = crowd
		t = ts.known[name]
	}
	if t == nil {
		if ts.known == nil {
			ts.known = map[string]*tenant{}
		}
		t = &tenant{}
		ts.known[name] = t
	}
	t.seen = now
	return t
}

// share returns what each tenant may have of a limit in any case.
func (ts *tenants) share(limit, now int64) int64 {
	ts.sweep(now)
	if len(ts.known) < 2 {
		return limit
	}
	return max(1, limit/int64(len(ts.known)))
}

// sweep forgets who has not asked within the last second and has no requests.
func (ts *tenants) sweep(now int64) {
	if now-ts.swept < sweepEvery {
		return
	}
	ts.swept = now
	for name, t := range ts.known {
		if t.inFlight == 0 && t.waiting == 0 && now-t.seen > memory {
			delete(ts.known, name)
		}
	}
}
