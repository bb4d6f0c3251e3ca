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
	f.cancel = func() { cancel(context.Canceled) }
	f.mu.Unlock()
	stop := context.AfterFunc(parent, func() {
		f.mu.Lock()
		f.left = true
		others := f.waiters > 0
		f.mu.Unlock()
		if !others {
			cancel(context.Cause(parent))
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
	x := &exchange{c: c, rules: rules, in: r, asked: now, division: c.partition(r)}
	x.wants = rules.wantsOf(r, c.trusts(r, face))
	key := c.appendKey(make([]byte, 0, 256), r, principal)
	found := c.store.get(key)
	x.key = string(key)
	x.verdict = rules.judge(r, &x.wants, found, x.division, now)
	return x
}

// send makes the request that goes to the origin.
func (x *exchange) send(ctx context.Context) *http.Request {
	x.out = x.c.outgoing(x.in)
	if ctx != nil {
		x.out = x.out.WithContext(ctx)
	}
	if x.verdict.action == validate && !x.shadow {
		x.verdict.condition(x.out)
	}
	return x.out
}

// sendAgain makes it once more, without conditions.
func (x *exchange) sendAgain() *http.Request {
	x.again = true
	out := x.c.outgoing(x.in).WithContext(x.out.Context())
	unconditional(out)
	x.out = out
	return out
}

// waits reports whether a request may wait for the fetch of another.
func (x *exchange) waits() bool {
	return x.in.Method == http.MethodGet && x.c.o.Collapse.Wait > 0 && !x.shadow && !x.wants.noStore &&
		len(x.in.Header["Range"]) == 0
}

// shareable reports whether what another fetches answers this request too.
func (x *exchange) shareable(e *Entry, now time.Time) bool {
	if e == nil || e.division != x.division || e.partial || e.policy.noCache || !selects(e.chosen, x.in.Header) || !e.fresh(now) {
		return false
	}
	authorized := x.rules.shared && len(x.in.Header["Authorization"]) > 0
	return !authorized || e.policy.public || e.policy.sMaxAge.set || e.policy.mustRevalidate
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

// revalidate validates an entry in the background, if nobody does and not too many do.
// The function does the exchange, with a context of its own.
func (c *Cache) revalidate(x *exchange, do func(context.Context, *exchange)) {
	e := x.verdict.entry
	if !e.validating.CompareAndSwap(false, true) {
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
	own := &exchange{c: c, rules: x.rules, in: in, key: x.key, division: x.division, asked: time.Now(), wants: wants{}}
	own.verdict = verdict{action: validate, fwd: "stale", entry: e, candidates: []*Entry{e}}
	c.count.validations.Add(1)
	go func() {
		defer c.running.Add(-1)
		defer e.validating.Store(false)
		ctx, cancel := context.WithTimeout(in.Context(), c.o.FetchTimeout)
		defer cancel()
		do(ctx, own)
	}()
}
