package redislimit

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/uprung/uprung"
	"github.com/uprung/uprung/ratelimit"
)

// Down says what is done while Redis cannot be asked.
type Down uint8

const (
	// Local decides in the process, by a bucket of the limit divided by Replicas.
	Local Down = iota
	// Open grants everything. It turns an outage of Redis into one without limits: not for
	// limits that keep passwords from being guessed.
	Open
	// Closed refuses everything with [ratelimit.ErrUnavailable], which is answered 503.
	Closed
)

// String returns "local", "open" or "closed".
func (d Down) String() string {
	switch d {
	case Local:
		return "local"
	case Open:
		return "open"
	case Closed:
		return "closed"
	}
	return "Down(" + number(int64(d)) + ")"
}

// Options are the settings of a [Limiter] beyond its limit. The zero value of each
// field is its default.
type Options struct {
	// Options are those of a limiter in the process. Name is part of the keys in Redis:
	// limiters of the same name, on any machine, count together. Capacity is the number of
	// keys whose local state is kept: that of Down, of leases and of denials. The only
	// Algorithm is [ratelimit.TokenBucket].
	ratelimit.Options

	// Down says what is done while Redis cannot be asked. Zero means [Local].
	Down Down

	// Replicas is the number of processes among which [Local] divides the limit. It is
	// called for every decision while Redis is down, and may change. Nil, or a result below
	// 1, means 1: each process then grants the whole limit.
	Replicas func() int

	// Lease is how many events a process buys ahead for a busy key at the most, at a time: it
	// begins with one, and buys twice as many as long as they are used up before LeaseAge. A
	// decision from a lease asks nobody. What is not used is lost to the fleet, so that
	// Lease should be small beside the burst: a tenth of it, divided by the processes. Zero
	// means that nothing is bought ahead.
	Lease int64

	// LeaseAge is how long what was bought ahead can be used: over any stretch of time d
	// the fleet admits at most burst + rate*(d + LeaseAge). At most 1m. Zero means 100ms.
	LeaseAge time.Duration

	// DenyAge is how long a process goes by what it knows of a key that is denied, without
	// asking: until RetryAfter, and no longer than this, which is how late it learns of a
	// Refund, a Reset or a higher limit by another process. At most 1h. Zero means 1s,
	// negative that it always asks.
	DenyAge time.Duration
}

const (
	defaultLeaseAge = 100 * time.Millisecond
	defaultDenyAge  = time.Second
)

// Limiter decides how often each of many keys may do something, for all processes that
// share its name and store: an exact token bucket per key, by the clock of Redis. It is
// safe for concurrent use. Use New.
type Limiter struct {
	store    *Store
	o        Options
	leaseAge int64
	denyAge  time.Duration
	base     time.Time
	limitFor func(string) (ratelimit.Limit, bool)
	budget   atomic.Pointer[budget]
	mode     atomic.Int32
	near     atomic.Pointer[near]
	face     *ratelimit.Face
	counts   counts

	local    *ratelimit.Limiter // for Down, or nil
	replicas atomic.Int64       // that local is for
	change   sync.Mutex         // held while limits change
}

// New returns a limiter that grants every key the given limit, counted in the store.
// It asks nobody. Nil options are the defaults. The error names every field that is out
// of range.
func New(limit ratelimit.Limit, store *Store, o *Options) (*Limiter, error) {
	if o == nil {
		o = &Options{}
	}
	l := &Limiter{store: store, o: *o, base: time.Now(), limitFor: o.LimitFor}
	l.o.Name = cmp.Or(o.Name, "default")
	l.leaseAge = int64(cmp.Or(o.LeaseAge, defaultLeaseAge))
	l.denyAge = max(cmp.Or(o.DenyAge, defaultDenyAge), 0)
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if store == nil {
		bad("Store is nil")
	}
	if o.Algorithm != ratelimit.TokenBucket {
		bad("Algorithm is %v, want token bucket", o.Algorithm)
	}
	if o.Down > Closed {
		bad("Down is %d, want Local, Open or Closed", o.Down)
	}
	if o.Lease < 0 {
		bad("Lease is %d, want >= 0", o.Lease)
	}
	if o.LeaseAge < 0 || o.LeaseAge > time.Minute {
		bad("LeaseAge is %v, want 0 to 1m", o.LeaseAge)
	}
	if o.DenyAge > time.Hour {
		bad("DenyAge is %v, want at most 1h", o.DenyAge)
	}
	// The limiter of the process checks the rest.
	l.replicas.Store(1)
	options := o.Options
	options.Algorithm = ratelimit.TokenBucket
	options.Mode = uprung.Enforce // ours applies to what it says
	options.LimitFor = func(key string) (ratelimit.Limit, bool) {
		if key == keyless || o.LimitFor == nil {
			return ratelimit.Limit{}, false
		}
		own, ok := o.LimitFor(key)
		return share(own, int(l.replicas.Load())), ok
	}
	if o.LimitFor == nil {
		options.LimitFor = nil
	}
	local, err := ratelimit.New(limit, &options)
	if err != nil {
		errs = append(errs, err)
	} else if err := o.Mode.Validate(); err != nil {
		bad("Mode: %w", err)
	}
	if len(errs) > 0 {
		return nil, prefixed(errors.Join(errs...))
	}
	if o.Down == Local {
		l.local = local
	}
	b, err := compile(limit)
	if err != nil {
		return nil, prefixed(err)
	}
	l.budget.Store(&b)
	l.mode.Store(int32(o.Mode))
	l.near.Store(newNear(cmp.Or(o.Capacity, ratelimit.DefaultCapacity)))
	if l.face, err = ratelimit.NewFace(backend{l}, &l.o.Options); err != nil {
		return nil, prefixed(err)
	}
	return l, nil
}

func (l *Limiter) now() int64 { return int64(time.Since(l.base)) }

// ask is what a caller asks for, and what is needed to answer.
type ask struct {
	key    string
	n      int64
	upTo   bool
	budget *budget
	hash   uint64
	near   *near
	place  *place // or nil
	now    int64
}

// answer is the answer to an ask.
type answer struct {
	ratelimit.Result
	budget *budget // by which it was decided
	by     by
}

// by is by what something was decided.
type by uint8

const (
	byRedis  by = iota
	byLease     // what was bought ahead
	byMemory    // what is known of the key
	byItself    // the process, without Redis
)

// limit is that by which it was decided.
func (a *answer) limit(l *Limiter) ratelimit.Limit {
	if a.by == byItself {
		return share(a.budget.limit, int(l.replicas.Load()))
	}
	return a.budget.limit
}

// prepare finds the limit of a key and what is known of it.
func (l *Limiter) prepare(key string, n int64, upTo bool) (ask, error) {
	a := ask{key: key, n: n, upTo: upTo, budget: l.budget.Load()}
	if l.limitFor != nil && key != keyless {
		if own, ok := l.limitFor(key); ok {
			b, err := compile(own)
			if err != nil {
				l.counts.failed.Add(1)
				return a, fmt.Errorf("redislimit: LimitFor: %w", err)
			}
			a.budget = &b
		}
	}
	a.near, a.now = l.near.Load(), l.now()
	a.hash = a.near.hash(key)
	a.place = a.near.find(a.hash, key)
	return a, nil
}

// Take takes n events for key, all or none, and tells where the key stands. Zero events
// take nothing and show where it stands, like [Limiter.Peek].
//
// A limit that is used up is no error: the Result says so. [ratelimit.ErrExceedsBurst]
// means that n exceeds a burst that is not zero, a [*uprung.Rejection] with the reason
// [ratelimit.ErrUnavailable] that Redis cannot be asked and [Closed] says what that means,
// the error of ctx that it has ended, and any other that n or the key's limit is out of
// range.
//
// It waits for Redis no longer than the Timeout of the store, and asks it once: a
// call without an answer may have taken what nobody uses.
func (l *Limiter) Take(ctx context.Context, key string, n int64) (ratelimit.Result, error) {
	a, err := l.take(ctx, key, n, false)
	return a.Result, err
}

// Allow reports whether key may have one event now, and takes it. A limit that cannot
// be asked for, or a ctx that has ended, is no.
func (l *Limiter) Allow(ctx context.Context, key string) bool {
	a, err := l.take(ctx, key, 1, false)
	return err == nil && a.Allowed
}

// TakeUpTo takes as many of n events as there are, which may be none. It fails as Take
// does, but not because of n exceeding the burst.
func (l *Limiter) TakeUpTo(ctx context.Context, key string, n int64) (ratelimit.Result, error) {
	a, err := l.take(ctx, key, n, true)
	return a.Result, err
}

// Peek tells where key stands, without taking anything: Remaining says what it may have.
// What processes have bought ahead is spent.
func (l *Limiter) Peek(ctx context.Context, key string) (ratelimit.Result, error) {
	a, err := l.take(ctx, key, 0, false)
	return a.Result, err
}

// Refund gives n events back to key, at most up to the burst: what was taken for work
// that did not happen. It returns an error if n is negative or Redis cannot be asked: then
// they are given back in this process alone, for as long as it decides without Redis.
func (l *Limiter) Refund(ctx context.Context, key string, n int64) error {
	if n < 0 {
		return fmt.Errorf("redislimit: refund is %d events, want >= 0", n)
	}
	a, err := l.prepare(key, n, false)
	if err != nil || n == 0 || a.budget.always || a.budget.burst == 0 {
		return err
	}
	if l.local != nil {
		_ = l.local.Refund(key, n) // n is in range
	}
	units := a.budget.cost(min(n, a.budget.burst))
	if units > 1 && a.budget.one*n != units {
		units-- // rounded down, so that parts do not exceed the whole
	}
	return l.giveBack(ctx, key, units, a.budget.depth)
}

func (l *Limiter) giveBack(ctx context.Context, key string, units, depth int64) error {
	err := l.run(ctx, key, opBack, number(units), number(depth))
	l.near.Load().forget(key)
	return err
}

// Reset gives key its whole burst, and takes nothing from what other processes have bought
// ahead. It fails as Refund does.
func (l *Limiter) Reset(ctx context.Context, key string) error {
	if l.local != nil {
		l.local.Reset(key)
	}
	err := l.run(ctx, key, opReset)
	l.near.Load().forget(key)
	return err
}

// run calls the script for one key, for what it does.
func (l *Limiter) run(ctx context.Context, key string, args ...string) error {
	_, err := l.store.run(ctx, l.store.timeout, []string{redisKey(l.store.prefix, key, l.o.Name)}, args)
	return l.unavailable(ctx, err)
}

// unavailable makes a rejection of an error of the store.
func (l *Limiter) unavailable(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return &uprung.Rejection{Kind: uprung.KindRateLimit, Name: l.o.Name, Reason: &awayError{err}, RetryAfter: time.Second}
}

// awayError is why Redis cannot be asked. It matches [ratelimit.ErrUnavailable].
type awayError struct{ cause error }

func (e *awayError) Error() string {
	return ratelimit.ErrUnavailable.Error() + ": " + e.cause.Error()
}
func (e *awayError) Is(target error) bool { return target == ratelimit.ErrUnavailable }
func (e *awayError) Unwrap() error        { return e.cause }

// take decides, applies the mode and counts.
func (l *Limiter) take(ctx context.Context, key string, n int64, upTo bool) (answer, error) {
	if n < 0 {
		l.counts.failed.Add(1)
		return answer{}, fmt.Errorf("redislimit: cost is %d events, want >= 0", n)
	}
	mode := l.Mode()
	a, err := l.prepare(key, n, upTo)
	if mode == uprung.Off || err == nil && a.budget.always {
		return granted(&a), nil
	}
	var ans answer
	if err == nil {
		ans, err = l.decide(ctx, &a)
	}
	switch short := ans.Granted < n; {
	case (err != nil || short) && !mode.Enforces(key): // what does not enforce stops nobody
		if err != nil {
			ans = granted(&a)
		}
		ans.Allowed, ans.Granted, ans.RetryAfter, ans.Shadowed = true, n, 0, true
		l.counts.shadow.add(a.hash)
	case err != nil:
		return answer{}, err
	case !ans.Allowed:
		if ans.by == byMemory {
			l.counts.remembered.add(a.hash)
		} else {
			l.counts.denied.add(a.hash)
		}
		if !upTo && n > a.budget.burst && a.budget.burst > 0 {
			return ans, ratelimit.ErrExceedsBurst
		}
	case ans.by == byLease:
		l.counts.leased.add(a.hash)
	case n > 0:
		l.counts.granted.add(a.hash)
	}
	return ans, nil
}

// granted is the answer where there is no limit.
func granted(a *ask) answer {
	burst := a.budget.burst
	return answer{Result: ratelimit.Result{Allowed: true, Granted: a.n, Limit: burst, Remaining: burst}, budget: a.budget}
}

// decide decides by what is known, by what was bought ahead, by Redis or, if it is down,
// without it.
func (l *Limiter) decide(ctx context.Context, a *ask) (answer, error) {
	b := a.budget
	most := min(l.o.Lease, b.burst)
	if a.n > 0 && a.place != nil {
		if ans, low, ok := l.known(a); ok {
			if low {
				l.buyAhead(ctx, a, most)
			}
			return ans, nil
		}
	}
	var ans answer
	var err error
	if a.n > 0 && most > 1 && a.n <= most && !a.upTo && len(a.key) <= maxNear {
		ans, err = l.fromLease(ctx, a, most)
	} else {
		ans, err = l.ask(ctx, l.store.timeout, a)
	}
	if err == nil || ctx.Err() != nil {
		return ans, err
	}
	return l.without(ctx, a, err)
}

// known decides without asking, if that is possible. It reports too whether what was
// bought ahead is about to be used up.
func (l *Limiter) known(a *ask) (ans answer, low, ok bool) {
	b := a.budget
	if l.o.Lease > 0 && !a.upTo {
		if ok, low := a.place.take(a.now, a.n); ok {
			debt, _ := a.place.debt(a.now)
			return answer{Result: b.result(a.n, a.n, debt, 0), budget: b, by: byLease}, low, true
		}
	}
	debt, ok := a.place.debt(a.now)
	if !ok {
		return answer{}, false, false
	}
	least := b.cost(a.n)
	if a.upTo {
		least = b.one
	}
	if least != forever && min(debt, b.depth)+least <= b.depth {
		return answer{}, false, false // it may fit
	}
	return answer{Result: b.result(0, a.n, debt, least), budget: b, by: byMemory}, false, true
}

// ask has Redis decide.
func (l *Limiter) ask(ctx context.Context, timeout time.Duration, a *ask) (answer, error) {
	b := a.budget
	cost := b.cost(a.n)
	if a.upTo && a.n > 0 {
		wanted := min(a.n, max(b.burst, 1))
		granted, debt, cost, err := l.upTo(ctx, timeout, a, wanted, 1)
		if granted == 0 {
			cost = b.one
		}
		return answer{Result: b.result(granted, a.n, debt, cost), budget: b}, err
	}
	costArg := b.oneArg
	if a.n != 1 || cost != b.one {
		costArg = number(cost)
	}
	key := redisKey(l.store.prefix, a.key, l.o.Name)
	reply, err := l.store.run(ctx, timeout, []string{key}, []string{opTake, costArg, b.depthArg})
	l.counts.asked.Add(1)
	if err == nil && len(reply) != 2 {
		err = errReply
	}
	if err != nil {
		return answer{}, l.unavailable(ctx, err)
	}
	granted := reply[0] * a.n
	l.note(a, granted, reply[1], reply[0]*cost)
	return answer{Result: b.result(granted, a.n, reply[1], cost), budget: b}, nil
}

// upTo buys at most wanted and at least so many events.
func (l *Limiter) upTo(ctx context.Context, timeout time.Duration, a *ask, wanted, least int64) (granted, debt, cost int64, err error) {
	b := a.budget
	key := redisKey(l.store.prefix, a.key, l.o.Name)
	reply, err := l.store.run(ctx, timeout, []string{key}, []string{
		opUpTo, number(wanted), number(b.cost(wanted)), number(b.one), number(least), number(b.cost(least)), number(b.depth),
	})
	l.counts.asked.Add(1)
	if err == nil && len(reply) != 3 {
		err = errReply
	}
	if err != nil {
		return 0, 0, 0, l.unavailable(ctx, err)
	}
	l.note(a, reply[0], reply[1], reply[2])
	return reply[0], reply[1], reply[2], nil
}

// note remembers what Redis has told of a key: if it was denied, or is known already. What
// it granted is charged to the bucket of the process too, as far as that goes, so that a
// key that has spent its burst has none left when Redis goes away.
func (l *Limiter) note(a *ask, granted, debt, cost int64) {
	if granted > 0 && l.local != nil {
		_, _ = l.local.TakeUpTo(context.Background(), a.key, granted) // its limit was compiled
	}
	if l.denyAge == 0 && l.o.Lease == 0 {
		return
	}
	if a.place == nil && granted == 0 && a.n > 0 && a.budget.burst > 0 && len(a.key) <= maxNear {
		a.place = a.near.put(a.hash, a.key, a.now)
	}
	if a.place != nil && l.denyAge > 0 {
		a.place.see(a.now, debt+cost, l.denyAge)
	}
}

// fromLease takes from what was bought ahead, and buys.
func (l *Limiter) fromLease(ctx context.Context, a *ask, most int64) (answer, error) {
	began := a.now
	for range 3 {
		if a.place == nil {
			a.place = a.near.put(a.hash, a.key, a.now)
		}
		p, mine, batch := a.place.begin(a.now, most)
		left := l.store.timeout - time.Duration(a.now-began)
		if mine {
			return l.buy(ctx, left, a, a.n, p, max(batch, a.n))
		}
		timer := time.NewTimer(left)
		select {
		case <-p.done:
			timer.Stop()
		case <-timer.C:
			return answer{}, l.unavailable(ctx, context.DeadlineExceeded)
		case <-ctx.Done():
			timer.Stop()
			return answer{}, ctx.Err()
		}
		if p.err != nil {
			return answer{}, p.err
		}
		a.now = l.now()
		if ans, _, ok := l.known(a); ok {
			return ans, nil
		}
	}
	// Others were quicker, again and again.
	return l.ask(ctx, max(l.store.timeout-time.Duration(a.now-began), time.Millisecond), a)
}

// buyAhead buys the next batch while something is left of the last, unless somebody does.
func (l *Limiter) buyAhead(ctx context.Context, a *ask, most int64) {
	if debt, ok := a.place.debt(a.now); ok && a.budget.fit(debt) == 0 {
		return // there is nothing to be had
	}
	if p, mine, batch := a.place.begin(a.now, most); mine {
		_, _ = l.buy(ctx, l.store.timeout, a, 0, p, batch) // who needs it will see
	}
}

// buy buys a batch and takes n from it.
func (l *Limiter) buy(ctx context.Context, timeout time.Duration, a *ask, n int64, p *purchase, batch int64) (ans answer, err error) {
	b := a.budget
	var bought *lease
	defer func() { a.place.end(p, bought, err) }()
	// Others wait for it: that its caller leaves must not fail them.
	granted, debt, cost, err := l.upTo(context.WithoutCancel(ctx), timeout, a, batch, max(n, 1))
	if err != nil {
		return answer{}, err
	}
	if granted > 0 {
		bought = &lease{size: granted, end: a.now + l.leaseAge}
		bought.left.Store(granted - n)
	} else {
		cost = b.cost(n)
	}
	return answer{Result: b.result(min(granted, n), n, debt, cost), budget: b}, nil
}

// without decides while Redis cannot be asked, because of err.
func (l *Limiter) without(ctx context.Context, a *ask, err error) (answer, error) {
	l.counts.away.Add(1)
	switch l.o.Down {
	case Open:
		return granted(a), nil
	case Closed:
		return answer{}, err
	}
	l.divide()
	var res ratelimit.Result
	var failure error
	if a.upTo {
		res, failure = l.local.TakeUpTo(ctx, a.key, a.n)
	} else {
		res, failure = l.local.Take(ctx, a.key, a.n)
	}
	ans := answer{Result: res, budget: a.budget, by: byItself}
	if errors.Is(failure, ratelimit.ErrExceedsBurst) && a.n <= a.budget.burst {
		ans.RetryAfter = time.Second // more than its part, but not more than Redis would grant
		failure = nil
	}
	if errors.Is(failure, ratelimit.ErrExceedsBurst) {
		failure = nil // take says so
	}
	return ans, failure
}

// divide has the local bucket follow the number of processes.
func (l *Limiter) divide() {
	replicas := int64(1)
	if l.o.Replicas != nil {
		replicas = int64(max(l.o.Replicas(), 1))
	}
	if l.replicas.Load() == replicas {
		return
	}
	l.change.Lock()
	defer l.change.Unlock()
	l.replicas.Store(replicas)
	// A part of a limit that is valid is valid, or none.
	_ = l.local.SetLimit(share(l.budget.Load().limit, int(replicas)))
}

// Limit returns the limit of keys to which LimitFor gives none of their own.
func (l *Limiter) Limit() ratelimit.Limit { return l.budget.Load().limit }

// SetLimit changes the limit of this process while running; the others keep theirs. The
// time until a key has its whole burst stays as it is, but is at most that of an empty
// bucket: a key that has spent a share of its burst has spent the same of the new one, if
// the Period is the same and so is the ratio of Burst to Events.
func (l *Limiter) SetLimit(limit ratelimit.Limit) error {
	b, err := compile(limit)
	if err != nil {
		return prefixed(err)
	}
	l.change.Lock()
	defer l.change.Unlock()
	if l.local != nil {
		if err := l.local.SetLimit(share(limit, int(l.replicas.Load()))); err != nil {
			return prefixed(err)
		}
	}
	l.budget.Store(&b)
	l.near.Store(newNear(cmp.Or(l.o.Capacity, ratelimit.DefaultCapacity))) // what was denied may not be now
	return nil
}

// Mode returns the mode.
func (l *Limiter) Mode() uprung.Mode { return uprung.Mode(l.mode.Load()) }

// SetMode changes the mode while running. It returns an error if mode is not valid.
func (l *Limiter) SetMode(mode uprung.Mode) error {
	if err := mode.Validate(); err != nil {
		return fmt.Errorf("redislimit: Mode: %w", err)
	}
	l.mode.Store(int32(mode))
	return nil
}

// Middleware limits the requests to next, as [ratelimit.Limiter.Middleware] does, in all
// processes together. It is an [uprung.Middleware].
func (l *Limiter) Middleware(next http.Handler) http.Handler { return l.face.Middleware(next) }

// Transport paces the requests that go out through base, of all processes together, as
// [ratelimit.Face.Transport] does.
func (l *Limiter) Transport(base http.RoundTripper) http.RoundTripper { return l.face.Transport(base) }

// Refuse answers a request that may not pass as Middleware does by default: as
// [ratelimit.Limiter.Refuse] and, for [ratelimit.ErrUnavailable], with 503.
func (l *Limiter) Refuse(w http.ResponseWriter, r *http.Request, err error) { l.face.Refuse(w, r, err) }

// Layer describes the limiter and its effective settings.
func (l *Limiter) Layer() uprung.Layer { return l.face.Layer() }
