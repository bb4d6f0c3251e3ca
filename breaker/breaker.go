package breaker

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/uprung/uprung"
	"github.com/uprung/uprung/internal/httpx"
)

var (
	// ErrOpen is the reason of a refusal while the breaker is open.
	ErrOpen = errors.New("breaker: open")
	// ErrProbing is the reason of a refusal while the breaker is half-open and all of its
	// probes are out. It matches ErrOpen as well.
	ErrProbing error = probing{}
)

type probing struct{}

func (probing) Error() string        { return "breaker: half-open, and all probes are out" }
func (probing) Is(target error) bool { return target == ErrOpen }

// State is what a breaker does with calls.
type State uint8

const (
	// Closed lets all calls through.
	Closed State = iota
	// HalfOpen lets a few calls through, to find out how things are.
	HalfOpen
	// Open refuses all calls.
	Open
)

// String returns the lower-case name that figures and logs use.
func (s State) String() string {
	switch s {
	case Closed:
		return "closed"
	case HalfOpen:
		return "half-open"
	case Open:
		return "open"
	}
	return "State(" + strconv.Itoa(int(s)) + ")"
}

// Force overrides what a breaker finds out by itself.
type Force uint8

const (
	// ForceNone leaves it to the breaker.
	ForceNone Force = iota
	// ForceOpen refuses all calls.
	ForceOpen
	// ForceClosed lets all calls through, and counts how they end.
	ForceClosed
)

// The low bits of Breaker.word. What is above them is the number of the generation.
const (
	wordClosed   = uint64(Closed)
	wordHalfOpen = uint64(HalfOpen)
	wordOpen     = uint64(Open)

	wordForcedOpen   = 3
	wordForcedClosed = 4

	stateMask  = 7
	generation = 8 // the least that differs between two
)

// core is what the breakers of a group share.
type core struct {
	o        Options
	settings []uprung.Setting
	mode     atomic.Int32
	origin   time.Time // of all instants
	period   period
	slowCall int64
	simple   bool // a success that is not slow is counted once, and no more
	draws    atomic.Uint64
	problem  *httpx.Problem

	probing, forced *uprung.Rejection
}

// newCore checks and completes options.
func newCore(o *Options) (*core, error) {
	if o == nil {
		o = &Options{}
	}
	complete, settings, err := o.complete()
	if err != nil {
		return nil, err
	}
	problem, err := httpx.NewProblem(http.StatusServiceUnavailable, &httpx.ProblemOptions{
		Detail: "What this request needs fails at the moment. It is tried again soon.",
	})
	if err != nil {
		return nil, fmt.Errorf("breaker: %w", err)
	}
	c := &core{
		o: complete, settings: settings, origin: time.Now(), problem: problem,
		period: newPeriod(complete.Window), slowCall: int64(complete.SlowCall),
		simple: complete.SlowRatio == 0 && complete.Consecutive == 0,
	}
	c.mode.Store(int32(complete.Mode))
	// How long probes take is not known; as long as it is open at the least is a fair
	// time to wait.
	c.probing = c.rejection(ErrProbing, complete.OpenFor)
	c.forced = c.rejection(ErrOpen, complete.OpenFor)
	return c, nil
}

func (c *core) rejection(reason error, after time.Duration) *uprung.Rejection {
	return &uprung.Rejection{Kind: uprung.KindBreaker, Name: c.o.Name, Reason: reason, RetryAfter: after}
}

// now returns the instant in the time of the breaker.
func (c *core) now() int64 { return int64(time.Since(c.origin)) }

// random returns a random number in [0, 1).
func (c *core) random() float64 {
	if c.o.Seed == 0 {
		return rand.Float64()
	}
	return rand.New(rand.NewPCG(c.o.Seed, c.draws.Add(1))).Float64()
}

func (c *core) setMode(mode uprung.Mode) error {
	if err := mode.Validate(); err != nil {
		return fmt.Errorf("breaker: %w", err)
	}
	c.mode.Store(int32(mode))
	return nil
}

// owner is the group of a breaker.
type owner interface {
	changed(Event)
	label() string // what Percent goes by
}

// Breaker stops calls to what fails. Use [New]. It is safe for concurrent use.
type Breaker struct {
	core  *core
	owner owner // nil of a breaker of its own

	word    atomic.Uint64 // what is asked by every call: the generation and its state
	openTil atomic.Int64  // the end of the open time; set before word says that it is open
	inRow   atomic.Int32  // failures, if they are counted
	room    atomic.Int32  // how many more probes are let through
	lease   atomic.Int64  // when the first of those ends that are out
	refusal atomic.Pointer[refusal]

	results window
	slow    *window // slow calls, if they have a ratio of their own

	overloads, ignored, rejected, shadowed, late, slows atomic.Uint64

	mu      sync.Mutex // held to change the state; no user code runs under it
	machine *machine   // nil as long as it has never opened; guarded by mu
}

// New returns a breaker that is closed. Nil options are the defaults. The error names
// every field that is not valid.
func New(o *Options) (*Breaker, error) {
	c, err := newCore(o)
	if err != nil {
		return nil, err
	}
	b := new(Breaker)
	b.init(c)
	return b, nil
}

// init makes a zero breaker one that is closed.
func (b *Breaker) init(c *core) {
	b.core = c
	if c.o.SlowRatio > 0 {
		b.slow = new(window)
	}
}

// Mode returns the mode in force.
func (b *Breaker) Mode() uprung.Mode { return uprung.Mode(b.core.mode.Load()) }

// SetMode changes the mode while calls go on; for a breaker of a group, that of the
// group. An invalid mode is an error and changes nothing.
func (b *Breaker) SetMode(mode uprung.Mode) error { return b.core.setMode(mode) }

// Allow asks whether a call may be made. If so, the permit is to be told how the call
// has ended. Otherwise the error is a [*uprung.Rejection] that matches [ErrOpen]; it is
// shared by refusals of the same moment, and its RetryAfter may be 10 ms too long. Allow
// never blocks, and does not allocate, but for a probe.
func (b *Breaker) Allow() (Permit, error) { return b.allow(false, nil) }

// keyer finds what Percent goes by, for a breaker that is in no group.
type keyer interface {
	percentKey(c *core) string
}

// allow is Allow for a call that may be in a hurry: then it matters how long it has had,
// to tell haste from a hang. k may be nil.
func (b *Breaker) allow(hurried bool, k keyer) (Permit, error) {
	w, mode := b.word.Load(), uprung.Mode(b.core.mode.Load())
	if w&stateMask == wordClosed && mode != uprung.Off {
		start := int64(0)
		if hurried || b.core.slowCall > 0 {
			start = b.core.now()
		}
		return Permit{b: b, word: w, start: start}, nil
	}
	if mode == uprung.Off {
		return Permit{}, nil
	}
	now := b.core.now()
	// Most calls of an outage end here.
	if r := b.refusal.Load(); r != nil && w == r.word && mode == uprung.Enforce && now < r.til && now >= r.from {
		b.rejected.Add(1)
		return Permit{}, &r.rejection
	}
	return b.allowAt(now, w, k)
}

// hurried reports whether a context has a deadline.
func hurried(ctx context.Context) bool {
	_, ok := ctx.Deadline()
	return ok
}

// allowAt decides where the state, as of word w, is not simply closed.
func (b *Breaker) allowAt(now int64, w uint64, k keyer) (Permit, error) {
	// What is certain is decided without the lock.
	var r *uprung.Rejection
	switch w & stateMask {
	case wordOpen:
		if til := b.openTil.Load(); now < til {
			r = b.openRejection(now, w, til)
		}
	case wordHalfOpen:
		if b.room.Load() <= 0 && now < b.lease.Load() {
			r = b.core.probing
		}
	case wordForcedOpen:
		r = b.core.forced
	case wordForcedClosed:
		return Permit{b: b, word: w, start: now}, nil
	}
	if r == nil {
		var p Permit
		if p, r = b.admit(now); r == nil {
			return p, nil
		}
	}
	if mode := b.Mode(); mode != uprung.Enforce && !mode.Enforces(b.percentKey(k)) {
		// The call would not have been made, and so its result does not count.
		b.shadowed.Add(1)
		return Permit{}, nil
	}
	b.rejected.Add(1)
	return Permit{}, r
}

func (b *Breaker) percentKey(k keyer) string {
	switch {
	case b.owner != nil:
		return b.owner.label()
	case k != nil:
		return k.percentKey(b.core)
	}
	return ""
}

// step is how long one rejection serves for all calls.
const step = int64(10 * time.Millisecond)

// refusal is a rejection with the word and the time for which it is right.
type refusal struct {
	rejection uprung.Rejection
	word      uint64
	from, til int64
}

// openRejection returns the rejection of this moment.
func (b *Breaker) openRejection(now int64, w uint64, openTil int64) *uprung.Rejection {
	r := b.refusal.Load()
	if r == nil || r.word != w || now < r.from || now >= r.til {
		r = &refusal{*b.core.rejection(ErrOpen, time.Duration(openTil-now)), w, now, min(now+step, openTil)}
		b.refusal.Store(r)
	}
	return &r.rejection
}

// Eligible reports whether a call would be let through now. It takes no probe, changes
// nothing, and counts nothing: it is for who chooses among several endpoints, such as
// Options.Eligible of package lb. Under a mode that does not enforce it is true.
func (b *Breaker) Eligible() bool {
	w := b.word.Load()
	if w&stateMask == wordClosed {
		return true
	}
	return b.eligibleAt(b.core.now(), w)
}

func (b *Breaker) eligibleAt(now int64, w uint64) bool {
	if mode := b.Mode(); mode != uprung.Enforce && !mode.Enforces(b.percentKey(nil)) {
		return true
	}
	switch w & stateMask {
	case wordOpen:
		return now >= b.openTil.Load()
	case wordHalfOpen:
		return b.room.Load() > 0 || now >= b.lease.Load()
	case wordForcedOpen:
		return false
	}
	return true
}

// Permit is the right to make one call, and the duty to say how it has ended, by Done.
// It is a value: pass it on, but use one copy. The zero Permit is valid, and nobody
// waits for it.
//
// A permit that is never done does no harm: its call counts as if it had not been made,
// or, if it is a probe, as failed when the lease is over.
type Permit struct {
	b     *Breaker
	word  uint64
	start int64
	probe *probe
	slow  bool
	timed bool // it is known whether the call is slow
}

// Answered says that the answer has begun, and how long it takes to be complete is not
// up to who gave it: only what was before decides whether the call is slow. A probe
// whose answer has begun and is not complete after Options.OpenFor is a success. A
// unary call has no need of it.
func (p *Permit) Answered() {
	if p.b == nil || p.timed {
		return
	}
	if p.b.core.slowCall > 0 || p.probe != nil {
		p.answeredAt(p.b.core.now())
	}
	p.timed = true
}

func (p *Permit) answeredAt(now int64) {
	p.slow = p.wasSlow(p.b, now)
	if p.probe != nil {
		p.b.answered(p.probe, now, p.slow)
	}
}

// Done says how the call has ended. [uprung.Overload] and [uprung.Ignored] do not count.
// Further calls for the same copy of a permit do nothing, and those for other copies of
// a probe neither; other copies of a permit count twice.
//
// A call that was begun before the last change of state does not count.
func (p *Permit) Done(o uprung.Outcome) {
	b := p.b
	if b == nil {
		return
	}
	p.b = nil
	if o == uprung.Success && p.probe == nil && b.core.simple && b.word.Load() == p.word {
		now := b.core.now()
		if !p.wasSlow(b, now) {
			b.results.add(b.core.period.of(now), 1) // most calls end here
			return
		}
		p.doneAt(b, now, o)
		return
	}
	p.doneAt(b, b.core.now(), o)
}

// doneAt is Done at an instant.
func (p *Permit) doneAt(b *Breaker, now int64, o uprung.Outcome) {
	switch {
	case p.probe != nil:
		b.probed(p.probe, now, o, p.wasSlow(b, now))
	case o == uprung.Ignored:
		b.ignored.Add(1)
	case o == uprung.Overload:
		b.overloads.Add(1)
	case b.word.Load() != p.word:
		b.late.Add(1)
	default:
		b.record(now, p.word, o != uprung.Success, p.wasSlow(b, now))
	}
}

// wasSlow reports whether a call was slow that ends now.
func (p *Permit) wasSlow(b *Breaker, now int64) bool {
	if p.timed {
		return p.slow
	}
	return b.core.slowCall > 0 && now-p.start > b.core.slowCall
}

// record counts a result, and opens the breaker if that is due.
func (b *Breaker) record(now int64, w uint64, failed, slow bool) {
	o := &b.core.o
	epoch := b.core.period.of(now)
	if slow {
		b.slows.Add(1)
	}
	if b.slow != nil {
		b.slow.add(epoch, one(slow))
	} else if slow {
		failed = true
	}
	b.results.add(epoch, one(failed))
	if !failed {
		if o.Consecutive > 0 && b.inRow.Load() != 0 {
			b.inRow.Store(0)
		}
		if b.slow == nil || !slow {
			return
		}
	}
	if w&stateMask != wordClosed {
		return // forced
	}
	switch {
	case failed && o.Consecutive > 0 && int(b.inRow.Add(1)) >= o.Consecutive:
		b.trip(now, w, ReasonConsecutive)
	case failed && due(&b.results, epoch, o.MinRequests, o.FailureRatio):
		b.trip(now, w, ReasonFailures)
	case slow && b.slow != nil && due(b.slow, epoch, o.MinRequests, o.SlowRatio):
		b.trip(now, w, ReasonSlow)
	}
}

// due reports whether a window has too many bad results.
func due(w *window, epoch uint64, least int, ratio float64) bool {
	good, bad := w.sum(epoch)
	total := good + bad
	return total >= uint64(least) && float64(bad) >= ratio*float64(total)
}

// State returns the state of this moment. A breaker whose open time is over is
// half-open, also if no call has come since.
func (b *Breaker) State() State {
	w := b.word.Load()
	if w&stateMask == wordClosed {
		return Closed
	}
	return b.stateAt(b.core.now())
}

// stateOf returns the state that a word says.
func stateOf(w uint64) State {
	switch w & stateMask {
	case wordForcedOpen:
		return Open
	case wordForcedClosed:
		return Closed
	}
	return State(w & stateMask)
}
