package ratelimit

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"

	"github.com/uprung/uprung"
	"github.com/uprung/uprung/internal/httpx"
)

// Group asks several limiters at once, such as five per second and a hundred per
// day: all of them grant, or none is charged. Use [All].
//
// A Group has no metrics of its own: its limiters do. It is safe for concurrent
// use, and so is using its limiters directly at the
// same time. While a refusal by one limiter is being undone at those asked before
// it, for some hundred nanoseconds, others find the events taken.
type Group struct {
	limiters []*Limiter
	offsets  []int64 // from the first limiter's time to that of each, in ticks
}

// maxGroup bounds a group, so that a decision needs no allocation.
const maxGroup = 8

// All returns a group of one to eight limiters. They are asked in the order
// given: put first the one that refuses most. It returns an error if one is nil
// or given twice, or if two share a name, by which clients tell them apart.
func All(limiters ...*Limiter) (*Group, error) {
	var errs []error
	if len(limiters) < 1 || len(limiters) > maxGroup {
		errs = append(errs, fmt.Errorf("ratelimit: All has %d limiters, want 1 to %d", len(limiters), maxGroup))
	}
	seen := make(map[string]bool)
	for i, l := range limiters {
		switch {
		case l == nil:
			errs = append(errs, fmt.Errorf("ratelimit: limiter %d of All is nil", i))
		case seen[l.name]:
			errs = append(errs, fmt.Errorf("ratelimit: limiter %d of All is named %q, want a name that no other has", i, l.name))
		default:
			seen[l.name] = true
		}
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	g := &Group{limiters: slices.Clone(limiters)}
	for _, l := range limiters {
		g.offsets = append(g.offsets, l.ticks(limiters[0].base.Sub(l.base))-startOfTime)
	}
	return g, nil
}

// Allow reports whether every limiter grants key one event now, and takes it
// from each or from none.
func (g *Group) Allow(key string) bool { return g.AllowN(key, 1) }

// AllowN reports whether every limiter grants key n events now, and takes them
// from each or from none. It returns false if n is negative or exceeds a burst.
func (g *Group) AllowN(key string, n int64) bool {
	var counters [maxGroup]*stripe
	now := g.limiters[0].now()
	for i, l := range g.limiters {
		var charge int64
		if charge, counters[i] = l.quick(l.hash(key), now+g.offsets[i], n); charge > 0 {
			continue
		}
		// Denied, or not a quick matter: start again with all that there is to know.
		for j, earlier := range g.limiters[:i] {
			// What quick charges has a limit that is valid, and a refund of it cannot fail.
			_ = earlier.refund(&call{hash: earlier.hash(key), key: key, now: now + g.offsets[j], n: n})
		}
		var calls [maxGroup]call
		_, err := g.decide(g.prepare(calls[:0], key, n))
		return err == nil && granted(calls[:len(g.limiters)])
	}
	for i := range g.limiters {
		counters[i].granted.Add(1)
	}
	return true
}

// Take takes n events for key from every limiter or from none. The Result tells
// the least Remaining, the longest RetryAfter and ResetAfter, and the Limit of the
// limiter with the least Remaining. It fails as [Limiter.Take] does.
func (g *Group) Take(_ context.Context, key string, n int64) (Result, error) {
	var array [maxGroup]call
	calls := g.prepare(array[:0], key, n)
	if _, err := g.decide(calls); err != nil {
		return Result{}, err
	}
	return combine(calls)
}

// combine makes one result of those of several limiters.
func combine(calls []call) (res Result, err error) {
	for i := range calls {
		c := &calls[i]
		one := c.result()
		if !c.ok && c.exceedsBurst() {
			err = ErrExceedsBurst
		}
		if i == 0 {
			res = one
			continue
		}
		if one.Remaining < res.Remaining {
			res.Limit, res.Remaining = one.Limit, one.Remaining
		}
		if one.RetryAfter == uprung.Never || res.RetryAfter != uprung.Never && one.RetryAfter > res.RetryAfter {
			res.RetryAfter = one.RetryAfter
		}
		res.ResetAfter = max(res.ResetAfter, one.ResetAfter)
		res.Allowed = res.Allowed && one.Allowed
		res.Shadowed = res.Shadowed || one.Shadowed
	}
	res.Granted = 0
	if res.Allowed {
		res.Granted = calls[0].n
	}
	return res, err
}

// prepare fills calls with one for each limiter, for a key that all share.
func (g *Group) prepare(calls []call, key string, n int64) []call {
	now := g.limiters[0].now()
	for i, l := range g.limiters {
		calls = append(calls, call{hash: l.hash(key), key: key, now: now + g.offsets[i], n: n})
	}
	return calls
}

// decide asks the limiters in order. When one denies, what was taken before is
// given back, and those that follow are asked what they would say. A call without
// a key is of a limiter that does not apply. If a limiter fails, it is returned
// with its error.
func (g *Group) decide(calls []call) (failed *Limiter, err error) {
	refused := false
	for i := range calls {
		c := &calls[i]
		if c.hash == 0 {
			c.ok = true
			continue
		}
		c.dry = refused
		if err := g.limiters[i].settle(c); err != nil {
			g.undo(calls[:i])
			return g.limiters[i], err
		}
		if !c.ok && !refused {
			refused = true
			g.undo(calls[:i])
		}
	}
	for i := range calls {
		// A grant that came to nothing is not counted.
		if c := &calls[i]; !refused || !c.ok {
			g.limiters[i].count(c)
		}
	}
	return nil, nil
}

// undo gives back what calls have taken, and what they say of it.
func (g *Group) undo(calls []call) {
	for i := range calls {
		c := &calls[i]
		if c.charge == 0 {
			continue
		}
		g.limiters[i].undo(c)
		if c.budget.window != 0 {
			c.debt -= c.charge
		}
		c.charge = 0
	}
}

func granted(calls []call) bool {
	for i := range calls {
		if !calls[i].ok {
			return false
		}
	}
	return true
}

// Mode is the first mode of its limiters that enforces for all keys or, if none does, the
// first that is not off, or off: each limiter applies its own.
func (g *Group) Mode() uprung.Mode {
	mode := uprung.Off
	for _, l := range g.limiters {
		if m := l.Mode(); m == uprung.Enforce || mode == uprung.Off {
			mode = m
		}
	}
	return mode
}

// Layer describes the group by the settings of each of its limiters.
func (g *Group) Layer() uprung.Layer {
	layer := uprung.Layer{Kind: uprung.KindRateLimit}
	for i, l := range g.limiters {
		one := l.Layer()
		if i > 0 {
			layer.Name += "+"
		}
		layer.Name += one.Name
		for _, fact := range one.Facts {
			if !layer.Has(fact) {
				layer.Facts = append(layer.Facts, fact)
			}
		}
		for _, setting := range one.Settings {
			setting.Name = one.Name + "." + setting.Name
			layer.Settings = append(layer.Settings, setting)
		}
	}
	return layer
}

// Middleware limits the requests to next by every limiter of the group, each with
// the key, cost and other options of its own. The answer to a request that is
// refused is that of the limiter that refuses it for the longest. It is an
// [uprung.Middleware].
func (g *Group) Middleware(next http.Handler) http.Handler {
	return &groupHandler{group: g, next: next}
}

type groupHandler struct {
	group *Group
	next  http.Handler
}

// Unwrap returns the handler that is limited.
func (h *groupHandler) Unwrap() http.Handler { return h.next }

// Layer describes the group.
func (h *groupHandler) Layer() uprung.Layer { return h.group.Layer() }

// ServeHTTP decides on a request and passes it on or refuses it.
func (h *groupHandler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	g := h.group
	var array [maxGroup]call
	calls := array[:len(g.limiters)]
	refunds := false
	now := g.limiters[0].now()
	for i, l := range g.limiters {
		applies, err := l.prepare(&calls[i], r, l.face.key)
		if err != nil {
			l.refuse(w, r, err)
			return
		}
		calls[i].now = now + g.offsets[i]
		if !applies {
			calls[i].n = 0
		}
		refunds = refunds || applies && l.face.counts != nil
	}
	if failed, err := g.decide(calls); err != nil {
		failed.refuse(w, r, err)
		return
	}
	if by, rejection := g.announce(w.Header(), calls); rejection != nil {
		by.refuse(w, r, rejection)
		return
	}
	if !refunds {
		h.next.ServeHTTP(w, r)
		return
	}
	taken := slices.Clone(calls)
	httpx.Serve(h.next, w, r, nil, func(response httpx.Response) {
		for i, l := range g.limiters {
			if c := &taken[i]; c.charge > 0 && l.face.counts != nil {
				l.undoUnlessItCounts(c, response)
			}
		}
	})
}

// announce writes the fields of all limiters that apply. If the request was
// denied, it returns the limiter to wait for and its rejection.
func (g *Group) announce(h http.Header, calls []call) (by *Limiter, rejection *uprung.Rejection) {
	var longest *call
	for i, l := range g.limiters {
		c := &calls[i]
		if c.n == 0 {
			continue
		}
		refusal := l.announce(h, c)
		if refusal != nil && (longest == nil || c.wait < 0 || longest.wait >= 0 && c.wait > longest.wait) {
			by, longest, rejection = l, c, refusal
		}
	}
	if by != nil {
		setRetryAfter(h, rejection)
	}
	return by, rejection
}
