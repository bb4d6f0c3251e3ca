package redislimit

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"slices"
	"time"

	"github.com/uprung/uprung"
	"github.com/uprung/uprung/ratelimit"
)

// Group asks several limiters about one key, such as five per second and a hundred per
// day, in one call: all of them grant, or none is charged. Use [All]. It is safe for
// concurrent use, as is the use of its limiters by themselves.
//
// It buys nothing ahead.
type Group struct {
	limiters []*Limiter
	local    *ratelimit.Group // or nil
	face     *ratelimit.Face
}

// maxGroup bounds a group.
const maxGroup = 8

// unlimited stands for a limit that is off.
var unlimited = &budget{limit: ratelimit.Unlimited(), burst: math.MaxInt64, always: true}

// All returns a group of one to eight limiters on one store. They have names of their own
// and the same Down. Their buckets of one key are in one slot of a cluster. The other
// options of Middleware are those of the first. The error names what is wrong.
func All(limiters ...*Limiter) (*Group, error) {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf("redislimit: "+format, args...)) }
	if len(limiters) < 1 || len(limiters) > maxGroup {
		bad("All has %d limiters, want 1 to %d", len(limiters), maxGroup)
	}
	g := &Group{limiters: slices.Clone(limiters)}
	seen := make(map[string]bool)
	var locals []*ratelimit.Limiter
	for i, l := range limiters {
		switch {
		case l == nil:
			bad("limiter %d of All is nil", i)
			continue
		case seen[l.o.Name]:
			bad("limiter %d of All is named %q, want a name that no other has", i, l.o.Name)
		case limiters[0] != nil && l.store != limiters[0].store:
			bad("limiter %d of All has a store of its own, want that of the first", i)
		case limiters[0] != nil && l.o.Down != limiters[0].o.Down:
			bad("limiter %d of All has Down %v, want that of the first", i, l.o.Down)
		}
		seen[l.o.Name] = true
		locals = append(locals, l.local)
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	var err error
	if limiters[0].local != nil {
		if g.local, err = ratelimit.All(locals...); err != nil {
			return nil, err
		}
	}
	if g.face, err = ratelimit.NewFace(groupBackend{g}, &limiters[0].o.Options); err != nil {
		return nil, err
	}
	return g, nil
}

// Allow reports whether every limiter grants key one event now, and takes it from each
// or from none.
func (g *Group) Allow(ctx context.Context, key string) bool {
	res, err := g.Take(ctx, key, 1)
	return err == nil && res.Allowed
}

// Take takes n events for key from every limiter or from none. The Result tells the least
// Remaining, the longest RetryAfter and ResetAfter, and the Limit of the limiter with the
// least Remaining. It fails as [Limiter.Take] does.
func (g *Group) Take(ctx context.Context, key string, n int64) (ratelimit.Result, error) {
	answers, err := g.take(ctx, key, n)
	if answers == nil {
		return ratelimit.Result{}, err
	}
	res := answers[0].Result
	for _, one := range answers[1:] {
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
	if res.Granted = 0; res.Allowed {
		res.Granted = n
	}
	return res, err
}

// take decides, applies the modes and counts. Without an answer there is an error.
func (g *Group) take(ctx context.Context, key string, n int64) ([]answer, error) {
	asks := make([]ask, len(g.limiters))
	enforced := make([]bool, len(g.limiters))
	for i, l := range g.limiters {
		if n < 0 {
			l.counts.failed.Add(1)
			return nil, fmt.Errorf("redislimit: cost is %d events, want >= 0", n)
		}
		var err error
		enforced[i] = l.Mode().Enforces(key)
		if asks[i], err = l.prepare(key, n, false); err != nil {
			if enforced[i] {
				return nil, err
			}
			asks[i].budget = unlimited
		}
		if l.Mode() == uprung.Off {
			asks[i].budget = unlimited
		}
	}
	answers, err := g.decide(ctx, asks, enforced)
	if err != nil {
		if slices.Contains(enforced, true) {
			return nil, err
		}
		answers = nil
		for i := range asks {
			answers = append(answers, granted(&asks[i]))
			answers[i].Shadowed = true
		}
	}
	all := true
	for i := range answers {
		if !answers[i].Allowed && !enforced[i] {
			ans := &answers[i]
			ans.Allowed, ans.Granted, ans.RetryAfter, ans.Shadowed = true, n, 0, true
		}
		all = all && answers[i].Allowed
	}
	err = nil
	for i, l := range g.limiters {
		ans, counts := &answers[i], &l.counts
		switch {
		case n == 0 || asks[i].budget.always:
		case ans.Shadowed:
			counts.shadow.add(asks[i].hash)
		case !ans.Allowed:
			if ans.by == byMemory {
				counts.remembered.add(asks[i].hash)
			} else {
				counts.denied.add(asks[i].hash)
			}
			if asks[i].budget.burst > 0 && n > asks[i].budget.burst {
				err = ratelimit.ErrExceedsBurst
			}
		case all: // a grant that came to nothing is not counted
			counts.granted.add(asks[i].hash)
		}
	}
	return answers, err
}

// decide decides by what is known of the key, by Redis or, if it is down, without it.
// Limits that are not enforced are charged what fits, and refuse nothing.
func (g *Group) decide(ctx context.Context, asks []ask, enforced []bool) ([]answer, error) {
	first := g.limiters[0]
	answers := make([]answer, len(asks))
	keys, args := make([]string, len(asks)), append(make([]string, 0, 2*len(asks)+1), opTake)
	refused := false
	for i, l := range g.limiters {
		a := &asks[i]
		answers[i] = granted(a)
		if a.place != nil && a.n > 0 && enforced[i] && !a.budget.always {
			// A lease would do for one limit, and not for the others.
			if debt, ok := a.place.debt(a.now); ok && min(debt, a.budget.depth)+a.budget.cost(a.n) > a.budget.depth {
				answers[i] = answer{Result: a.budget.result(0, a.n, debt, a.budget.cost(a.n)), budget: a.budget, by: byMemory}
				refused = true
			}
		}
		cost, depth := a.budget.cost(a.n), a.budget.depth
		if a.budget.always {
			cost, depth = 0, 0
		} else if !enforced[i] {
			cost = -cost // it refuses nothing
		}
		keys[i] = redisKey(l.store.prefix, a.key, l.o.Name)
		args = append(args, number(cost), number(depth))
	}
	if refused {
		return answers, nil
	}
	reply, err := first.store.run(ctx, first.store.timeout, keys, args)
	first.counts.asked.Add(1)
	if err == nil && len(reply) != len(asks)+1 {
		err = errReply
	}
	if err != nil {
		if err = first.unavailable(ctx, err); ctx.Err() != nil {
			return nil, err
		}
		return g.without(ctx, asks, err)
	}
	for i, l := range g.limiters {
		a := &asks[i]
		if a.budget.always {
			continue
		}
		debt, cost := reply[i+1], a.budget.cost(a.n)
		fits := min(debt, a.budget.depth)+cost <= a.budget.depth
		switch {
		case reply[0] == 1 && fits:
			l.note(a, a.n, debt, cost)
			answers[i] = answer{Result: a.budget.result(a.n, a.n, debt, cost), budget: a.budget}
		case fits: // and others deny
			answers[i] = answer{Result: a.budget.result(a.n, a.n, debt, 0), budget: a.budget}
		default:
			if enforced[i] {
				l.note(a, 0, debt, 0)
			}
			answers[i] = answer{Result: a.budget.result(0, a.n, debt, cost), budget: a.budget}
		}
	}
	return answers, nil
}

// without decides while Redis cannot be asked, because of err.
func (g *Group) without(ctx context.Context, asks []ask, err error) ([]answer, error) {
	answers := make([]answer, len(asks))
	for i, l := range g.limiters {
		l.counts.away.Add(1)
		answers[i] = granted(&asks[i])
	}
	switch g.limiters[0].o.Down {
	case Open:
		return answers, nil
	case Closed:
		return nil, err
	}
	for _, l := range g.limiters {
		l.divide()
	}
	res, _ := g.local.Take(ctx, asks[0].key, asks[0].n) // cost and limits were checked
	for i, l := range g.limiters {
		one, _ := l.local.Peek(asks[i].key)
		one.Allowed, one.Granted, one.RetryAfter = res.Allowed, res.Granted, res.RetryAfter
		if one.RetryAfter == uprung.Never && asks[i].n <= asks[i].budget.burst {
			one.RetryAfter = time.Second // more than its part, but not more than Redis would grant
		}
		answers[i] = answer{Result: one, budget: asks[i].budget, by: byItself}
	}
	return answers, nil
}

// Middleware limits the requests to next by all limiters. It is an [uprung.Middleware].
func (g *Group) Middleware(next http.Handler) http.Handler { return g.face.Middleware(next) }

// Refuse answers a request that may not pass as Middleware does by default.
func (g *Group) Refuse(w http.ResponseWriter, r *http.Request, err error) { g.face.Refuse(w, r, err) }

// Layer describes the group and the effective settings of its limiters.
func (g *Group) Layer() uprung.Layer { return g.face.Layer() }

// groupBackend is a group as the HTTP side sees it.
type groupBackend struct{ g *Group }

func (b groupBackend) Policies() (names []string) {
	for _, l := range b.g.limiters {
		names = append(names, l.o.Name)
	}
	return names
}

// Mode is Off if all limiters are off, and else that of the first that enforces, or of
// the first: each applies its own.
func (b groupBackend) Mode() uprung.Mode {
	mode := uprung.Off
	for _, l := range b.g.limiters {
		if m := l.Mode(); m == uprung.Enforce || mode == uprung.Off {
			mode = m
		}
	}
	return mode
}

func (b groupBackend) Decide(ctx context.Context, a ratelimit.Ask) (ratelimit.Verdict, error) {
	key := keyOf(a)
	answers, err := b.g.take(ctx, key, a.N)
	if answers == nil {
		return ratelimit.Verdict{}, err
	}
	var v ratelimit.Verdict
	all := true
	for i, ans := range answers {
		v.Decisions = append(v.Decisions, ratelimit.Decision{Limit: ans.limit(b.g.limiters[i]), Result: ans.Result})
		all = all && ans.Allowed
	}
	if all {
		v.Undo = func(ctx context.Context, ago time.Duration) {
			for i, l := range b.g.limiters {
				if !answers[i].Shadowed {
					l.undo(ctx, key, a.N, &answers[i], ago)
				}
			}
		}
	}
	return v, nil
}

func (b groupBackend) Settings() (settings []uprung.Setting) {
	for _, l := range b.g.limiters {
		for _, setting := range (backend{l}).Settings() {
			setting.Name = l.o.Name + "." + setting.Name
			settings = append(settings, setting)
		}
	}
	return settings
}
