package httpcache

import (
	"context"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/uprung/uprung"
)

// fetchContext is the context of a fetch for which others may wait: it has the values of
// the request that began it, and outlives that as long as others wait.
type fetchContext struct {
	context.Context                 //nolint:containedctx // it is one itself
	parent          context.Context //nolint:containedctx // whose deadline it shows
}

// Deadline returns that of the request: it is what the origin is to go by, also if others
// would wait for longer.
func (c fetchContext) Deadline() (time.Time, bool) { return c.parent.Deadline() }

// detach returns the context of a fetch, and what releases it when the fetch is over.
func (f *flight) detach(parent context.Context, timeout time.Duration) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(context.WithoutCancel(parent))
	var timer atomic.Pointer[time.Timer]
	f.mu.Lock()
	f.cancel = func() { cancel(context.Cause(parent)) }
	f.mu.Unlock()
	stop := context.AfterFunc(parent, func() {
		f.mu.Lock()
		f.left = true
		deserted := f.deserted()
		f.mu.Unlock()
		if deserted {
			return
		}
		timer.Store(time.AfterFunc(timeout, func() { cancel(context.DeadlineExceeded) }))
	})
	return fetchContext{ctx, parent}, func() {
		stop()
		if t := timer.Load(); t != nil {
			t.Stop()
		}
		cancel(nil)
	}
}

// begin makes the exchange of a request that may be answered from the cache. The faces
// do what its verdict says.
func (c *Cache) begin(r *http.Request, principal string, rules *rules, face bool, now time.Time) *exchange {
	x := c.exchangeOf(r, principal, rules)
	x.asked = now
	x.wants = rules.wantsOf(r, c.trusts(r, face))
	x.verdict = rules.judge(r, &x.wants, c.store.get([]byte(x.key)), x.division, now)
	return x
}

// quick returns a fresh response for a GET or HEAD that asks for nothing special: what most
// hits are. It returns nil if there is more to think about.
func (c *Cache) quick(r *http.Request, principal string, now time.Time) *Entry {
	if c.Mode() != uprung.Enforce || len(c.o.KeyFields) > 0 || !ordinary(r.Header) {
		return nil
	}
	var buf [256]byte
	var e *Entry
	division := scheme(r.Header[forwardedProto]) // which is all of it without KeyFields
	for _, one := range c.store.get(c.appendKey(buf[:0], r, principal)) {
		if !one.partial && one.division == division && one.valid() == current && selects(one.chosen, r.Header) && (e == nil || preferred(one, e)) {
			e = one
		}
	}
	if e == nil || e.policy.noCache || !e.fresh(now) {
		return nil
	}
	c.count.hits.Add(1)
	e.touch()
	return e
}

// ordinary reports whether a request has no field by which a cache decides.
func ordinary(h http.Header) bool {
	for name := range h {
		switch name {
		case "Cache-Control", "Pragma", "Range", "If-None-Match", "If-Modified-Since", "If-Match", "If-Unmodified-Since":
			return false
		}
	}
	return true
}

// exchangeOf makes that of one which cannot, but whose response may be stored.
func (c *Cache) exchangeOf(r *http.Request, principal string, rules *rules) *exchange {
	key := c.appendKey(make([]byte, 0, 256), r, principal)
	return &exchange{c: c, rules: rules, in: r, out: r, asked: time.Now(), key: string(key), division: c.partition(r), verdict: verdict{fwd: "method"}}
}

// bypasses reports whether a request passes by the cache. Its response may still
// invalidate what is stored.
func (c *Cache) bypasses(r *http.Request) bool {
	return c.Mode() == uprung.Off || c.o.Skip != nil && c.o.Skip(r)
}

// send makes the request that goes to the origin.
func (x *exchange) send(ctx context.Context) *http.Request {
	x.out = x.c.outgoing(x.in).WithContext(ctx)
	x.asked = time.Now() // it may have waited for another's fetch
	switch {
	case x.shadow:
	case x.verdict.action == validate:
		x.verdict.condition(x.out)
	case x.verdict.action == complete:
		x.verdict.rest(x.out)
	}
	return x.out
}

// sendAgain makes it once more, without conditions.
func (x *exchange) sendAgain() *http.Request {
	x.again, x.asked = true, time.Now()
	out := x.c.outgoing(x.in).WithContext(x.out.Context())
	unconditional(out)
	x.out = out
	return out
}

// waits reports whether a request may wait for the fetch of another.
func (x *exchange) waits() bool { return x.plain() && x.c.o.Collapse.Wait > 0 && !x.shadow }

// opens reports whether others may wait for its fetch: not if what comes can be an answer
// to conditions of its client.
func (x *exchange) opens() bool {
	return x.plain() && !x.shadow && (x.verdict.action == validate || !conditional(x.in))
}

// plain reports whether the answer is all of a response that may be stored.
func (x *exchange) plain() bool {
	h := x.in.Header
	return x.in.Method == http.MethodGet && !x.wants.noStore && len(h["Range"]) == 0 && len(h["If-Match"]) == 0 && len(h["If-Unmodified-Since"]) == 0
}

// decided tells others what has become of the fetch that an exchange leads: an entry that
// may be theirs, or that they are to fetch themselves, as all are to for some time if it
// was the response that is nobody else's.
func (x *exchange) decided(e *Entry, now time.Time) {
	if x.flight == nil {
		return
	}
	x.flight.decide(e)
	if x.flight.open && x.status < 500 && (e == nil || e.policy.noCache || !e.fresh(now)) {
		x.c.flights.alone(x.key, now)
	}
}

// shareable reports whether what another fetches answers this request too.
func (x *exchange) shareable(e *Entry, now time.Time) bool {
	if e == nil || e.division != x.division || e.partial || e.policy.noCache || !selects(e.chosen, x.in.Header) || !e.fresh(now) {
		return false
	}
	authorized := x.rules.shared && len(x.in.Header["Authorization"]) > 0
	return !authorized || e.policy.forAll()
}

// enforces reports whether the cache answers a request.
func (c *Cache) enforces(r *http.Request) bool {
	mode := c.Mode()
	if mode == uprung.Enforce || mode == uprung.Shadow {
		return mode == uprung.Enforce
	}
	if c.o.Key != nil {
		k, _ := c.o.Key(r)
		return mode.Enforces(k)
	}
	return mode.Enforces(r.URL.RequestURI())
}

// validatePause is how long after a validation in the background has failed the next of the
// same response begins: an origin that is down is not asked for each hit.
const validatePause = time.Second

// instant is one that can be set while it is read.
type instant struct{ at atomic.Pointer[time.Time] }

func (i *instant) set(at time.Time) { i.at.Store(&at) }

func (i *instant) until() time.Time {
	if at := i.at.Load(); at != nil {
		return *at
	}
	return time.Time{}
}

// revalidate validates an entry in the background, if nobody does and not too many do.
// The function does the exchange, with a context of its own.
func (c *Cache) revalidate(x *exchange, do func(context.Context, *exchange)) {
	e := x.verdict.entry
	if x.asked.Before(e.paused.until()) || !e.validating.CompareAndSwap(false, true) {
		return
	}
	if c.running.Add(1) > int64(c.o.MaxValidations) {
		c.running.Add(-1)
		e.validating.Store(false)
		return
	}
	in := x.in.Clone(context.WithoutCancel(x.in.Context()))
	in.Method, in.Body, in.ContentLength = http.MethodGet, http.NoBody, 0
	for _, name := range []string{"If-None-Match", "If-Modified-Since", "Range", "If-Range"} {
		delete(in.Header, name)
	}
	if x.rules.shared && !e.policy.forAll() {
		// It was the response to somebody without, and is to be stored again.
		delete(in.Header, "Authorization")
		if !x.rules.rfc {
			delete(in.Header, "Cookie")
		}
	}
	own := &exchange{c: c, rules: x.rules, in: in, key: x.key, division: x.division, asked: time.Now()}
	own.verdict = verdict{action: validate, fwd: "stale", entry: e, candidates: []*Entry{e}}
	c.count.validations.Add(1)
	go func() {
		defer c.running.Add(-1)
		defer e.validating.Store(false)
		ctx, cancel := context.WithTimeout(in.Context(), c.o.FetchTimeout)
		defer cancel()
		do(ctx, own)
		if c.store.has(e) { // it has failed, and soon would again
			e.paused.set(time.Now().Add(validatePause))
		}
	}()
}
