package ratelimit

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/uprung/uprung"
	"github.com/uprung/uprung/key"
)

var (
	// ErrLimited is the reason of a refusal that time cures: the key has used up
	// its limit. It is the Reason of a [*uprung.Rejection].
	ErrLimited = errors.New("ratelimit: limit exceeded")

	// ErrExceedsBurst is the reason of a refusal that time does not cure: more
	// events were asked for at once than the burst of the limit, which is not
	// zero. Asking for fewer may succeed.
	ErrExceedsBurst = errors.New("ratelimit: cost exceeds the burst of the limit")

	// ErrUnavailable is the reason of a refusal because the limit is kept elsewhere
	// and cannot be asked for. A Limiter of this package never refuses for it.
	ErrUnavailable = errors.New("ratelimit: where the limit is kept is not available")
)

// DefaultCapacity is the number of keys that a [Limiter] keeps by default.
const DefaultCapacity = 65_536

// Options are the settings of a [Limiter] beyond its limit. The zero value of
// each field is its default.
type Options struct {
	// Name is the name of the policy, in response headers, metrics and errors: 1
	// to 64 printable ASCII characters. Zero means "default".
	Name string

	// Capacity is the number of keys whose state is kept, at 24 bytes each,
	// allocated by New. Beyond it the keys with the most left to spend are
	// forgotten first; [Stats] counts those that were not full. Zero means
	// [DefaultCapacity].
	Capacity int

	// Algorithm is how limits are counted. Zero means [TokenBucket].
	Algorithm Algorithm

	// LimitFor gives a key a limit of its own; ok false means the limit of the
	// Limiter. It is called for every decision, concurrently, and should look the
	// answer up in memory. If it changes its mind about a key, the time until the
	// key's bucket is full is kept, however long that is under the old limit: call
	// [Limiter.Reset] for a key whose limit has been raised. Nil means that all keys
	// have the limit of the Limiter.
	LimitFor func(key string) (limit Limit, ok bool)

	// Mode says what is done with decisions. Under [uprung.Shadow] a denial is
	// counted, costs nothing and is returned as granted. [Limiter.SetMode] changes
	// it live. Zero means [uprung.Enforce].
	Mode uprung.Mode

	// Key says whose limit a request counts against. Nil means, for Transport, the
	// host of the URL and, for Middleware, key.Direct(nil),
	// the address of the socket's peer, which no client can forge, but which is
	// the proxy's for all requests that arrive through one: behind a proxy, choose
	// another constructor of package key.
	Key key.Func

	// MissingKey says what Middleware does with a request that has no key. Zero
	// means [key.MissingRefused]: it is answered 400.
	MissingKey key.Missing

	// Cost is the number of events that a request counts for. A cost of zero lets
	// it pass uncounted; one above the burst can never be granted and is refused
	// with 429 without Retry-After; a negative one is answered 500. Outside of an
	// [http.ServeMux], the route of a request is not known yet: r.Pattern and its
	// path values are empty. Nil means 1.
	Cost func(*http.Request) int64

	// Headers are the fields by which Middleware tells clients where they stand.
	// Zero means [HeadersIETF].
	Headers Headers

	// Count says, by the status of the response, whether a request counts. What
	// one that does not has taken is given back when its response ends, as far as
	// time has not refilled it already; one that panics counts. With [Failures], a
	// limit bounds how often a client may get it wrong, such as a password. While
	// they are in progress all requests count, so that guesses made at one time gain
	// nothing: the burst must be above the number of requests that a client makes at
	// once. Nil means that every request counts.
	Count func(status int) bool

	// Facts are what [uprung.Vet] should know of Key, such as [uprung.ByPrincipal].
	// Nil means what can be told when Vet asks: uprung.ByClientAddress, if Key
	// returns different keys for two requests that differ in RemoteAddr alone.
	Facts []uprung.Fact

	// Refused answers a request that Middleware refuses. The status is for it to
	// write; Retry-After and the RateLimit fields are already in the header. err
	// is a [*uprung.Rejection] for [ErrLimited] or [ErrExceedsBurst], [ErrMissingKey],
	// or what Take returned for a cost or limit out of range. Nil means
	// [Limiter.Refuse], which it can also call for what it leaves as it is.
	Refused func(w http.ResponseWriter, r *http.Request, err error)

	// Skip exempts requests from Middleware: those for which it returns true pass
	// uncounted and without a header. Nil exempts none.
	Skip func(*http.Request) bool
}

// Result says how a decision turned out and where the key stands after it.
type Result struct {
	// Allowed reports whether the events were granted.
	Allowed bool
	// Granted is the number of events granted: all those asked for or none, or
	// any number between the two for [Limiter.TakeUpTo].
	Granted int64
	// Limit is the burst: what an idle key may have at once.
	Limit int64
	// Remaining is what the key may still have at this moment.
	Remaining int64
	// RetryAfter is zero if the events were granted. Otherwise it is the time
	// after which as many will be (one, for [Limiter.TakeUpTo]), if the key takes
	// none before, or [uprung.Never].
	RetryAfter time.Duration
	// ResetAfter is the time after which the whole burst will be there again.
	ResetAfter time.Duration
	// Shadowed reports that the events were granted only because the mode does
	// not enforce the limit for this key.
	Shadowed bool
}

// A Limiter decides how often each of many keys may do something. It is an
// exact token bucket per key (GCRA) in a table of fixed size: no allocation, no
// lock for a key that is known, no goroutine.
//
// Time is read from the monotonic clock and counted from [New], for up to nine
// years. A Limiter is safe for concurrent use. Use New.
type Limiter struct {
	name      string
	base      time.Time
	seed      maphash.Seed
	keyless   uint64 // the hash of the bucket that requests without a key share
	table     table
	capacity  int
	algorithm Algorithm
	limitFor  func(key string) (Limit, bool)
	face      face

	refusedKeyless atomic.Uint64
	failed         atomic.Uint64

	settings atomic.Pointer[settings] // nil while the table is rescaled
	change   sync.Mutex               // held while settings change
	scale    budget                   // the last limit that had debts; guarded by change
	window   int64                    // ticks of the Period of all keys, for a sliding window with a LimitFor
}

// settings are what changes live.
type settings struct {
	limit  Limit
	budget budget
	mode   uprung.Mode
	policy string // the value of RateLimit-Policy for budget
	plain  bool   // budget is for all keys, finite, and enforced
}

// newSettings prepares settings.
func (l *Limiter) newSettings(limit Limit, b budget, mode uprung.Mode) *settings {
	return &settings{
		limit: limit, budget: b, mode: mode, policy: policyOf(l.face.quotedName, &b),
		plain: l.limitFor == nil && b.cost != 0 && b.window == 0 && mode == uprung.Enforce,
	}
}

// New returns a limiter that grants every key the given limit. Nil options are
// the defaults. The error names every field that is out of range.
func New(limit Limit, o *Options) (*Limiter, error) {
	if o == nil {
		o = &Options{}
	}
	var errs []error
	b, err := limit.budget(o.Algorithm)
	if err != nil {
		errs = append(errs, err)
	}
	if o.Algorithm > SlidingWindow {
		errs = append(errs, fmt.Errorf("Algorithm is %d, want TokenBucket or SlidingWindow", o.Algorithm))
	}
	if o.Capacity < 0 || o.Capacity > maxCapacity {
		errs = append(errs, fmt.Errorf("Capacity is %d, want 0 to %d", o.Capacity, maxCapacity))
	}
	if err := o.Mode.Validate(); err != nil {
		errs = append(errs, fmt.Errorf("Mode: %w", err))
	}
	window := int64(0)
	if o.Algorithm == SlidingWindow && o.LimitFor != nil {
		if window = int64(min(limit.Period, maxRefill)) * ticksPerNano; window <= 0 {
			errs = append(errs, fmt.Errorf("Limit.Period is %v, want that of all keys with SlidingWindow and LimitFor", limit.Period))
		}
	}
	face, faceErrs := newFace(o)
	errs = append(errs, faceErrs...)
	if len(errs) > 0 {
		return nil, prefixed(errors.Join(errs...))
	}
	capacity := o.Capacity
	if capacity == 0 {
		capacity = DefaultCapacity
	}
	l := &Limiter{
		name:      face.name,
		base:      time.Now(),
		seed:      maphash.MakeSeed(),
		table:     newTable(capacity),
		capacity:  capacity,
		algorithm: o.Algorithm,
		limitFor:  o.LimitFor,
		face:      face,
		scale:     b,
		window:    window,
	}
	l.keyless = slotKey(maphash.String(maphash.MakeSeed(), ""))
	l.settings.Store(l.newSettings(limit, b, o.Mode))
	return l, nil
}

// maxCapacity keeps the size of the table within an int on 32 bits.
const maxCapacity = 1 << 26

// Allow reports whether key may have one event now, and takes it.
func (l *Limiter) Allow(key string) bool { return l.AllowN(key, 1) }

// AllowN reports whether key may have n events now, and takes all or none. It
// returns false if n is negative or more than the burst; [Limiter.Take] tells
// these apart.
func (l *Limiter) AllowN(key string, n int64) bool {
	now, hash := l.now(), l.hash(key)
	if charge, counters := l.quick(hash, now, n); counters != nil {
		if charge == 0 {
			counters.denied.Add(1)
			return false
		}
		counters.granted.Add(1)
		return true
	}
	c := call{hash: hash, key: key, now: now, n: n}
	return l.decide(&c) == nil && c.ok
}

// Take takes n events for key, all or none, and tells where the key stands.
// Zero events take nothing and show where it stands, like [Limiter.Peek].
//
// A limit that is used up is no error: the Result says so. An error means that
// no such call can succeed: [ErrExceedsBurst] if n exceeds a burst that is not
// zero, or a text that names the value if n is negative or the limit that
// LimitFor returned is invalid. Take does not block and ctx is not consulted; it
// is there for limiters that ask another process.
func (l *Limiter) Take(_ context.Context, key string, n int64) (Result, error) {
	return l.take(&call{hash: l.hash(key), key: key, now: l.now(), n: n})
}

// TakeAt is Take at an instant of the caller's choice, for simulation and for
// events that carry their own time. The instant is compared with those of other
// calls: one that lies before an earlier call's gives back nothing and takes from
// what was left then. (Under [SlidingWindow], one that lies more than 1024 periods
// before may find a quota anew.) Instants from three years before New to nine years
// after it are told apart.
func (l *Limiter) TakeAt(now time.Time, key string, n int64) (Result, error) {
	return l.take(&call{hash: l.hash(key), key: key, now: l.ticks(now.Sub(l.base)), n: n})
}

// TakeUpTo takes as many of n events as there are, which may be none. It fails
// as Take does, but not because of n exceeding the burst.
func (l *Limiter) TakeUpTo(_ context.Context, key string, n int64) (Result, error) {
	return l.take(&call{hash: l.hash(key), key: key, now: l.now(), n: n, upTo: true})
}

// Peek tells where key stands, without taking anything or taking any room in
// the table: Remaining says what it may have. Allowed is true, since nothing is
// asked for.
func (l *Limiter) Peek(key string) (Result, error) {
	return l.take(&call{hash: l.hash(key), key: key, now: l.now()})
}

// Refund gives n events back to key, at most up to the burst: what was taken for
// work that did not happen. It can be used at once, by whoever asks first, even if
// others are waiting or time has refilled it already. It returns an error if n is
// negative.
func (l *Limiter) Refund(key string, n int64) error {
	if n < 0 {
		return fmt.Errorf("ratelimit: refund is %d events, want >= 0", n)
	}
	return l.refund(&call{hash: l.hash(key), key: key, now: l.now(), n: n})
}

// Reset gives key its whole burst.
func (l *Limiter) Reset(key string) {
	c := call{hash: l.hash(key), now: l.now()}
	for {
		s := l.load()
		if l.amend(s, &c, func(state int64) int64 { return min(state, s.budget.fresh(c.now)) }) {
			return
		}
	}
}

// Limit returns the limit of keys to which LimitFor gives none of their own.
func (l *Limiter) Limit() Limit { return l.load().limit }

// SetLimit changes the limit while running. What each key has spent remains
// spent: a key that had 30 of 100 left has 130 of 200 left when the limit
// doubles, and nothing when it is halved. No key owes more than the new burst; one
// of a sliding window keeps its count until the window has passed. Who waits is
// served at the instant that was promised. Where there is a LimitFor, all keys keep
// the time until they are full instead.
//
// It visits the whole table, a few nanoseconds for each slot, while decisions
// wait.
func (l *Limiter) SetLimit(limit Limit) error {
	b, err := limit.budget(l.algorithm)
	if err != nil {
		return prefixed(err)
	}
	if err := l.samePeriod(limit, &b); err != nil {
		return prefixed(err)
	}
	l.change.Lock()
	defer l.change.Unlock()
	old := l.settings.Load()
	next := l.newSettings(limit, b, old.mode)
	if b.cost != 0 {
		if was := l.scale; was.cost != 0 && was != b && l.limitFor == nil {
			l.settings.Store(nil)
			now := l.now()
			l.table.rewrite(was.idle(now), func(state int64) int64 {
				if b.window != 0 {
					return b.rewindow(state, now, &was)
				}
				return rescaled(state, now, &was, &b)
			})
		}
		l.scale = b
	}
	l.settings.Store(next)
	return nil
}

// samePeriod returns an error if a limit has another Period than all keys must
// have: the states of sliding windows count periods, and cannot be compared if
// those differ.
func (l *Limiter) samePeriod(limit Limit, b *budget) error {
	if b.window == 0 || l.limitFor == nil || b.window == l.window {
		return nil
	}
	return fmt.Errorf("Limit.Period is %v, want %v, that of all keys with SlidingWindow and LimitFor", limit.Period, nanos(l.window))
}

// rescaled returns the tat under b of a key that had the given one under was.
// It differs from tat whenever the cost of an event does, so that a charge at the
// old cost which is under way fails.
func rescaled(tat, now int64, was, b *budget) int64 {
	scaled := now + b.rescale(tat-now, was)
	if scaled == tat && b.cost != was.cost {
		scaled++
	}
	return scaled
}

// Mode returns the mode.
func (l *Limiter) Mode() uprung.Mode { return l.load().mode }

// SetMode changes the mode while running. It returns an error if mode is not
// valid.
func (l *Limiter) SetMode(mode uprung.Mode) error {
	if err := mode.Validate(); err != nil {
		return fmt.Errorf("ratelimit: Mode: %w", err)
	}
	l.change.Lock()
	defer l.change.Unlock()
	old := l.settings.Load()
	l.settings.Store(l.newSettings(old.limit, old.budget, mode))
	return nil
}

// load returns the settings, and waits while they change.
func (l *Limiter) load() *settings {
	for {
		if s := l.settings.Load(); s != nil {
			return s
		}
		l.change.Lock()
		l.change.Unlock() //nolint:staticcheck // nothing to guard: the lock is free once the change is done
	}
}

// now returns the instant in ticks. The clock is monotonic and started with the
// limiter, so that nothing needs to be clamped for nine years.
func (l *Limiter) now() int64 {
	return int64(time.Since(l.base))*ticksPerNano + startOfTime
}

// startOfTime is the instant of New in ticks: three of the twelve years that
// lie between -2^61 and 2^61 are before it.
const startOfTime = -(1 << 60)

// ticks converts the time since New to an instant in ticks, which stays within
// ±2^61 so that neither sums with a debt nor differences overflow.
func (l *Limiter) ticks(since time.Duration) int64 {
	const (
		earliest = (-(1 << 61) - startOfTime) / ticksPerNano
		latest   = (1<<61 - startOfTime) / ticksPerNano
	)
	return int64(min(max(since, earliest), latest))*ticksPerNano + startOfTime
}

func (l *Limiter) hash(key string) uint64 { return slotKey(maphash.String(l.seed, key)) }

// slotKey maps a hash to what a slot can hold: zero stands for an empty one.
func slotKey(hash uint64) uint64 { return max(hash, 1) }
