package ratelimit

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/uprung/uprung"
	"github.com/uprung/uprung/internal/option"
	"github.com/uprung/uprung/key"
)

var (
	// ErrBusy is the reason of a refusal by a [Concurrency]: as many requests are in
	// progress as may be. It is the Reason of a [*uprung.Rejection].
	ErrBusy = errors.New("ratelimit: too many requests in progress")

	// ErrExpired is the reason of a refusal by a [Concurrency] of a request whose
	// deadline has passed. It matches [context.DeadlineExceeded].
	ErrExpired = fmt.Errorf("ratelimit: the request came too late: %w", context.DeadlineExceeded)
)

// ConcurrencyOptions are the settings of a [Concurrency] beyond its limit. The zero
// value of each field is its default.
type ConcurrencyOptions struct {
	// Name is the name of the policy, in metrics and errors: 1 to 64 printable ASCII
	// characters. Zero means "default".
	Name string

	// Queue is how many requests may wait for a place, up to 10,000. Zero means none:
	// what does not fit is refused at once, which is right where clients try again
	// elsewhere and the server has a queue of its own.
	Queue int

	// QueueWait is how long a request waits at most. While the queue has not been
	// empty for that long it is no buffer for bursts any more but a delay for all,
	// and a request waits for a twentieth of it only. Zero means 100ms.
	QueueWait time.Duration

	// Streams is how many places there are, beside the limit, for responses that last:
	// upgraded connections and streams of events, of which a thousand that are open
	// cost less than one request that is worked on. One that begins while all of
	// these are taken keeps its place within the limit. Zero means 1000, a negative
	// value none.
	Streams int

	// RetryAfter is what those who are refused are told to wait. Zero means 1s.
	RetryAfter time.Duration

	// Mode says what is done with decisions. Under [uprung.Shadow] a refusal is counted
	// and the request admitted. A percentage is one of tenants and, where there are
	// none, of client addresses. [Concurrency.SetMode] changes it live. Zero means
	// [uprung.Enforce].
	Mode uprung.Mode

	// Tenant says whose a request is, for Middleware and Transport; see [Claim]. False
	// means nobody's. Nil means that there are no tenants.
	Tenant key.Func

	// Priority says what gives way first. It must rely on nothing that a client can
	// set. Nil means [Normal].
	Priority func(*http.Request) Priority

	// Refused answers a request that Middleware refuses. The status is for it to write;
	// Retry-After is already in the header. err is a [*uprung.Rejection] for [ErrBusy]
	// or [ErrExpired], or the error of a request whose client has gone. Nil means
	// [Concurrency.Refuse].
	Refused func(w http.ResponseWriter, r *http.Request, err error)

	// Skip exempts requests from Middleware and Transport. Nil exempts none.
	Skip func(*http.Request) bool
}

const (
	defaultQueueWait = 100 * time.Millisecond
	defaultStreams   = 1000
	maxQueue         = 10_000
	maxTenants       = 1024

	// memory is how long those are remembered who have asked, for what is reserved for
	// them, and a refusal, for Saturation.
	memory = int64(time.Second)
)

// A Concurrency bounds how many requests are in progress at once, by a number that is
// fixed or that finds itself, and refuses the others before any work is done for
// them. This is what keeps a server up under any load: beyond what it can do at
// once, more requests only wait for each other until their clients have gone.
//
// Tenants share the limit: none is refused while it has less than the limit divided by
// the number of tenants that asked within the last second, unless the limit is used
// up. A tenant that wants more gets what the others leave, but an eighth of the limit,
// which is kept for those. A busy tenant so leaves its place to another within the
// time of a request. Of more than 1024 tenants at a time those beyond share one part.
//
// A Concurrency is safe for concurrent use, starts no goroutine, and admits and
// releases without a lock or an allocation, unless there are tenants or a queue. Use
// NewConcurrency.
type Concurrency struct {
	name    string
	base    time.Time
	o       ConcurrencyOptions
	face    concurrencyFace
	busy    *uprung.Rejection
	expired *uprung.Rejection

	_ [64]byte // what follows is written by every request

	inFlight atomic.Int64
	admitted atomic.Uint64
	taken    samples

	_ [64]byte // what follows is read by every request, and seldom written

	mode     atomic.Int32
	limit    atomic.Int64
	adaptive atomic.Bool
	waiting  atomic.Int64
	from     atomic.Int64 // samples of requests that began before are not taken
	usual    atomic.Int64 // the usual time of a request; zero if not known
	lookEnds atomic.Int64 // when a look at the base ends at last
	needs    atomic.Int64 // samples that make a window
	ends     atomic.Int64 // the least instant at which the window ends
	peak     atomic.Int64 // the most in progress in this window
	critical atomic.Int64 // when a Critical request was last seen; -memory if never
	refusal  atomic.Int64 // when a request was last refused or had to wait; likewise
	reached  atomic.Bool  // the limit was reached in this window
	overload atomic.Int64 // answers of overload in this window
	streams  atomic.Int64

	count struct {
		refused, shadow, expired, dropped, waited atomic.Uint64
		wait                                      atomic.Int64 // ns, of those who waited
	}

	mu       sync.Mutex
	inflight InFlight // guarded by mu
	gradient gradient // guarded by mu
	queue    queue    // guarded by mu
	tenants  tenants  // guarded by mu
}

// NewConcurrency returns a limit of requests in progress. Nil options are the defaults.
// The error names every field that is out of range.
func NewConcurrency(limit InFlight, o *ConcurrencyOptions) (*Concurrency, error) {
	if o == nil {
		o = &ConcurrencyOptions{}
	}
	c := &Concurrency{o: *o, name: o.Name, base: time.Now()}
	limit, err := limit.complete()
	errs := []error{err}
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if c.name == "" {
		c.name = "default"
	}
	if err := option.CheckName("Name", c.name); err != nil {
		errs = append(errs, err)
	}
	if o.Queue < 0 || o.Queue > maxQueue {
		bad("Queue is %d, want 0 to %d", o.Queue, maxQueue)
	}
	if o.QueueWait < 0 || o.QueueWait > time.Minute {
		bad("QueueWait is %v, want 0 to 1m", o.QueueWait)
	}
	if o.RetryAfter < 0 || o.RetryAfter > time.Hour {
		bad("RetryAfter is %v, want 0 to 1h", o.RetryAfter)
	}
	if err := o.Mode.Validate(); err != nil {
		bad("Mode: %w", err)
	}
	if c.o.QueueWait == 0 {
		c.o.QueueWait = defaultQueueWait
	}
	if c.o.RetryAfter == 0 {
		c.o.RetryAfter = time.Second
	}
	if c.o.Streams == 0 {
		c.o.Streams = defaultStreams
	}
	if c.face, err = newConcurrencyFace(o); err != nil {
		errs = append(errs, err)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, prefixed(err)
	}
	c.busy = &uprung.Rejection{Kind: uprung.KindConcurrency, Name: c.name, Reason: ErrBusy, RetryAfter: c.o.RetryAfter}
	c.expired = &uprung.Rejection{Kind: uprung.KindConcurrency, Name: c.name, Reason: ErrExpired, RetryAfter: uprung.Never}
	c.critical.Store(-memory)
	c.refusal.Store(-memory)
	c.mode.Store(int32(o.Mode))
	c.mu.Lock()
	defer c.mu.Unlock()
	c.install(limit)
	return c, nil
}

// install begins with a limit. c.mu is held.
func (c *Concurrency) install(limit InFlight) {
	now := c.now()
	c.inflight = limit
	c.gradient = newGradient(limit, now)
	c.adaptive.Store(!limit.fixed())
	c.usual.Store(0)
	c.begin(now)
}

// begin begins a window under the limit of the gradient. c.mu is held.
func (c *Concurrency) begin(now int64) {
	c.limit.Store(int64(c.gradient.limit))
	c.usual.Store(int64(c.gradient.usual))
	c.needs.Store(c.gradient.needs())
	c.peak.Store(c.inFlight.Load())
	c.reached.Store(false)
	c.overload.Store(0)
	c.taken.Store(0)
	c.ends.Store(now + windowLeast)
	if c.gradient.held != 0 {
		c.from.Store(c.gradient.begun)
		c.lookEnds.Store(c.gradient.begun + c.gradient.patience())
	} else {
		c.from.Store(0)
	}
}

// now returns the time since the limit was made, in nanoseconds.
func (c *Concurrency) now() int64 { return int64(time.Since(c.base)) }

// nowOr returns an instant that is known already, or else the present one.
func (c *Concurrency) nowOr(known int64) int64 {
	if known != 0 {
		return known
	}
	return c.now()
}

// InFlight returns the bounds of the limit; [Stats] of a Concurrency have the limit
// itself.
func (c *Concurrency) InFlight() InFlight {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.inflight
}

// SetInFlight changes the limit while running. Requests in progress keep their places;
// what has been learned of the time that requests take is kept if both limits are
// adaptive.
func (c *Concurrency) SetInFlight(limit InFlight) error {
	limit, err := limit.complete()
	if err != nil {
		return prefixed(err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if limit.fixed() || c.inflight.fixed() {
		c.install(limit)
	} else {
		c.inflight, c.gradient.bounds = limit, limit
		c.gradient.held = 0
		c.gradient.set(max(c.gradient.limit, float64(limit.Min)))
		c.begin(c.now())
	}
	c.serve(c.now())
	return nil
}

// Mode returns the mode.
func (c *Concurrency) Mode() uprung.Mode { return uprung.Mode(c.mode.Load()) }

// SetMode changes the mode while running. It returns an error if mode is not valid.
func (c *Concurrency) SetMode(mode uprung.Mode) error {
	if err := mode.Validate(); err != nil {
		return fmt.Errorf("ratelimit: Mode: %w", err)
	}
	c.mode.Store(int32(mode))
	return nil
}

// A Token is a place in the limit. Whoever has acquired one calls Release, once, when
// the request has ended, however it did. The zero Token is that of a request which was
// not counted. A Token is for one goroutine at a time.
type Token struct {
	limit  *Concurrency
	tenant *tenant
	start  int64 // ns; zero if the time is of no interest
	stream bool
}

// Release gives the place back and says how the request has ended: its time counts
// unless it was Ignored, or a Failure that came quickly, and an [uprung.Overload] lowers
// an adaptive limit. It is Answered and Leave in one.
func (t Token) Release(outcome uprung.Outcome) {
	if t.limit == nil {
		return
	}
	if t.start != 0 {
		t.limit.sample(t.start, outcome)
	}
	t.leave()
}

// Answered says that the request has been answered and how, while the answer is still
// being sent: the time that the limit learns from ends here. Leave must follow.
func (t Token) Answered(outcome uprung.Outcome) {
	if t.limit != nil && t.start != 0 {
		t.limit.sample(t.start, outcome)
	}
}

// Leave gives the place back, after Answered or for a request that says nothing.
func (t Token) Leave() {
	if t.limit != nil {
		t.leave()
	}
}

// Stream moves a request whose answer will last to the places for streams, as far as
// there are, and returns the token to call Leave of.
func (t Token) Stream() Token {
	if t.limit == nil || t.stream {
		return t
	}
	if n := t.limit.streams.Add(1); n > int64(t.limit.o.Streams) {
		t.limit.streams.Add(-1)
		return t
	}
	t.leave()
	return Token{limit: t.limit, stream: true}
}

func (t Token) leave() {
	c := t.limit
	if t.stream {
		c.streams.Add(-1)
		return
	}
	if t.tenant != nil {
		c.mu.Lock()
		defer c.mu.Unlock()
		t.tenant.inFlight--
		c.inFlight.Add(-1)
		c.serve(c.now())
		return
	}
	c.inFlight.Add(-1)
	if c.waiting.Load() > 0 {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.serve(c.now())
	}
}

// Acquire takes a place for a request, and waits for one if there is a queue. It
// returns a [*uprung.Rejection]: for [ErrBusy] if there is no place, and for
// [ErrExpired] if the deadline of ctx has passed already or does so in the queue; or the
// error of ctx, if that was cancelled.
func (c *Concurrency) Acquire(ctx context.Context, claim Claim) (Token, error) {
	return c.acquire(ctx, claim, claim.Tenant)
}

// acquire is Acquire for one that is enforced by another key.
func (c *Concurrency) acquire(ctx context.Context, claim Claim, sticky string) (Token, error) {
	mode := c.Mode()
	if mode == uprung.Off {
		return Token{}, nil
	}
	t := Token{limit: c}
	if c.adaptive.Load() {
		t.start = max(c.now(), 1)
	}
	if err := c.late(ctx); err != nil && mode.Enforces(sticky) {
		return Token{}, err
	}
	if claim.Tenant == "" && c.waiting.Load() == 0 {
		if c.enter(claim.Priority, t.start) {
			return t, nil
		}
		if c.o.Queue == 0 && mode.Enforces(sticky) {
			return Token{}, c.refused(c.nowOr(t.start))
		}
	}
	return c.contend(ctx, t, claim, mode.Enforces(sticky))
}

// refused counts a refusal, and returns it.
func (c *Concurrency) refused(now int64) error {
	c.hit(now)
	c.count.refused.Add(1)
	return c.busy
}

// hit notes that a request found no place.
func (c *Concurrency) hit(now int64) {
	if !c.reached.Load() {
		c.reached.Store(true)
	}
	c.refusal.Store(now)
}

// late returns an error for a request that nobody waits for.
func (c *Concurrency) late(ctx context.Context) error {
	err := ctx.Err()
	if err == nil {
		if deadline, ok := ctx.Deadline(); !ok || time.Until(deadline) > 0 {
			return nil
		}
	} else if !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	c.count.expired.Add(1)
	return c.expired
}

// enter takes a place for a request of nobody, if there is one.
func (c *Concurrency) enter(p Priority, now int64) bool {
	limit := c.limit.Load()
	if last := c.critical.Load(); last >= 0 || p != Normal {
		now = c.nowOr(now)
		if p == Critical {
			c.critical.Store(now)
		}
		limit = p.share(limit, last >= 0 && now-last < memory)
	}
	n := c.inFlight.Add(1)
	if n > limit {
		c.inFlight.Add(-1)
		return false
	}
	c.entered(n)
	return true
}

// entered counts one that has become the n-th in progress.
func (c *Concurrency) entered(n int64) {
	c.admitted.Add(1)
	if c.adaptive.Load() {
		if n > c.peak.Load() {
			c.peak.Store(n) // one that is lost in a race is near
		}
	}
}

// contend decides on a request that has a claim, or finds no place.
func (c *Concurrency) contend(ctx context.Context, t Token, claim Claim, enforced bool) (Token, error) {
	now := c.now()
	c.mu.Lock()
	if claim.Priority == Critical {
		c.critical.Store(now)
	}
	if claim.Tenant != "" {
		t.tenant = c.tenants.of(claim.Tenant, now)
	}
	if c.queue.length == 0 && c.admit(claim.Priority, t.tenant, now) {
		c.mu.Unlock()
		return t, nil
	}
	c.hit(now)
	if !enforced {
		c.count.shadow.Add(1)
		c.place(t.tenant)
		c.mu.Unlock()
		return t, nil
	}
	if c.o.Queue == 0 {
		c.mu.Unlock()
		c.count.refused.Add(1)
		return Token{}, c.busy
	}
	return c.wait(ctx, t, claim.Priority, now)
}

// admit takes a place if there is one for whom it is. c.mu is held.
func (c *Concurrency) admit(p Priority, t *tenant, now int64) bool {
	limit := c.limit.Load()
	share := p.share(limit, now-c.critical.Load() < memory)
	if t != nil && t.inFlight > 0 && t.inFlight >= c.tenants.share(limit, now) {
		share = min(share, limit-(limit+7)/8)
	}
	n := c.inFlight.Add(1)
	if n > share {
		c.inFlight.Add(-1)
		return false
	}
	if t != nil {
		t.inFlight++
	}
	c.entered(n)
	return true
}

// place takes a place whether there is one or not. c.mu is held.
func (c *Concurrency) place(t *tenant) {
	if t != nil {
		t.inFlight++
	}
	c.entered(c.inFlight.Add(1))
}

// wait waits in the queue. c.mu is held, and released.
func (c *Concurrency) wait(ctx context.Context, t Token, p Priority, now int64) (Token, error) {
	if c.queue.length >= c.o.Queue && !c.yield(p) {
		c.mu.Unlock()
		c.count.refused.Add(1)
		return Token{}, c.busy
	}
	w := &waiter{ctx: ctx, tenant: t.tenant, priority: p, since: now, done: make(chan struct{})}
	c.queue.push(w, now)
	c.waiting.Store(int64(c.queue.length))
	c.serve(now) // a place may have become free before anybody was seen to wait
	c.mu.Unlock()

	timer := time.NewTimer(c.o.QueueWait)
	defer timer.Stop()
	select {
	case <-w.done:
	case <-timer.C:
		c.leaveQueue(w, c.busy)
	case <-ctx.Done():
		c.leaveQueue(w, nil)
	}
	switch {
	case w.err == nil && ctx.Err() == nil: // admitted
	case w.err == nil: // admitted, and gone at the same time
		t.leave()
		return Token{}, c.late(ctx)
	default:
		return Token{}, w.err
	}
	c.count.waited.Add(1)
	at := c.now()
	c.count.wait.Add(at - now)
	if t.start != 0 {
		t.start = max(at, 1) // the queue is ours and no time of the server's
	}
	return t, nil
}

// leaveQueue ends the wait of one who has not been served, with an error or that of
// its context.
func (c *Concurrency) leaveQueue(w *waiter, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if w.served {
		return
	}
	c.queue.remove(w)
	c.waiting.Store(int64(c.queue.length))
	c.drop(w, err)
}

// drop ends the wait of one who is in the queue no more. c.mu is held.
func (c *Concurrency) drop(w *waiter, err error) {
	w.served = true
	if w.err = err; err == nil {
		if w.err = c.late(w.ctx); w.err == nil {
			w.err = c.busy // a context that ends twice
		}
	}
	if w.err == c.busy { //nolint:errorlint // it is never wrapped
		c.queue.dropped, c.queue.drops = c.now(), true
		c.count.dropped.Add(1)
		c.count.refused.Add(1)
	}
	close(w.done)
}

// yield drops one from a full queue who gives way to a priority. c.mu is held.
func (c *Concurrency) yield(p Priority) bool {
	w := c.queue.least(p)
	if w == nil {
		return false
	}
	c.queue.remove(w)
	c.drop(w, c.busy)
	return true
}

// serve admits from the queue whoever there is place for. c.mu is held.
func (c *Concurrency) serve(now int64) {
	if c.queue.length == 0 {
		return
	}
	patience := c.queue.patience(int64(c.o.QueueWait), now)
	for {
		w, admitted := c.queue.next(func(w *waiter) verdict {
			switch {
			case w.ctx.Err() != nil, now-w.since > patience:
				return drops
			case c.admit(w.priority, w.tenant, now):
				return admits
			}
			return keeps
		})
		switch {
		case w == nil:
			c.queue.settle(now)
			c.waiting.Store(int64(c.queue.length))
			return
		case admitted:
			w.served = true
			close(w.done)
		case w.ctx.Err() != nil:
			c.drop(w, nil)
		default:
			c.drop(w, c.busy)
		}
	}
}

// Saturation returns the share of the limit in use, from 0 to 1: at 1, requests wait or
// are refused, or were within the last second. It is a signal for scaling out, such as
// by health.Scale.
func (c *Concurrency) Saturation() float64 {
	if c.waiting.Load() > 0 || c.now()-c.refusal.Load() < memory {
		return 1
	}
	return min(float64(c.inFlight.Load())/float64(c.limit.Load()), 1)
}

// samples is the number of samples in its low 16 bits and their sum, in units of 64
// ns, above.
type samples struct{ atomic.Uint64 }

const (
	sampleBits  = 16
	sampleMask  = 1<<sampleBits - 1
	sampleUnit  = 64
	maxSamples  = 1 << (sampleBits - 1) // what races add beyond fits as well
	longestTime = int64(4 * time.Minute)
)

// sample takes the time of a request into account that has been answered.
func (c *Concurrency) sample(start int64, outcome uprung.Outcome) {
	now := c.now()
	took, usual := now-start, c.usual.Load()
	switch outcome {
	case uprung.Success:
	case uprung.Failure:
		if took < usual {
			return // what fails quickly says nothing of the time that work takes
		}
	case uprung.Overload:
		c.overload.Add(1)
		if now >= c.ends.Load() {
			c.endWindow(now)
		}
		return
	default:
		return
	}
	if start < c.from.Load() { // during a look at the base
		if now >= c.lookEnds.Load() {
			c.endWindow(now)
		}
		return
	}
	took = min(took, longestTime)
	if usual != 0 {
		took = min(took, outlier*usual)
	}
	v := c.taken.Load()
	if v&sampleMask < maxSamples {
		v = c.taken.Add(uint64(took)/sampleUnit<<sampleBits | 1)
	}
	if now >= c.ends.Load() && int64(v&sampleMask) >= c.needs.Load() {
		c.endWindow(now)
	}
}

// endWindow tells the gradient of a window and begins the next. Of several who find
// that a window has ended one does so.
func (c *Concurrency) endWindow(now int64) {
	if !c.mu.TryLock() {
		return // a later one will
	}
	defer c.mu.Unlock()
	w := window{now: now, lasted: now - c.ends.Load() + windowLeast, peak: c.peak.Load(), refused: c.reached.Load()}
	v := c.taken.Load()
	if w.samples = int64(v & sampleMask); w.samples > 0 {
		w.mean = float64(v>>sampleBits) * sampleUnit / float64(w.samples)
	}
	answers := w.samples + c.overload.Load()
	w.overload = c.overload.Load()*10 > answers
	if now < c.ends.Load() || !w.overload && w.samples < c.needs.Load() && (c.gradient.held == 0 || now < c.lookEnds.Load()) {
		return // another has ended it
	}
	w.refused = w.refused || w.peak >= c.limit.Load()
	c.gradient.observe(w)
	c.begin(now)
	c.serve(now)
}
