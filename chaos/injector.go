package chaos

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/uprung/uprung"
	"github.com/uprung/uprung/internal/httpx"
	"github.com/uprung/uprung/internal/option"
	"github.com/uprung/uprung/internal/splitmix"
)

const (
	// RequestField is the field by which a trusted request asks for faults: their names,
	// separated by commas.
	RequestField = "Chaos-Request"
	// MarkField is the field of a response into which a fault was injected: its name.
	MarkField = "Chaos-Fault"
)

// ErrArmed is returned by [Injector.Run] if the injector is armed already.
var ErrArmed = errors.New("chaos: the injector is armed already")

// Options are the settings of an [Injector] beyond its faults. The zero value of each
// field is its default.
type Options struct {
	// Name tells this injector from others in figures and logs: at most 64 printable
	// ASCII characters. Zero means "default".
	Name string

	// MaxActive bounds the calls that are in the hands of the injector at a time, its
	// blast radius. Those that come then are left alone. Zero means 100.
	MaxActive int

	// MaxArmed bounds the time for which the injector can be armed. Zero means 1h.
	MaxArmed time.Duration

	// Trust says whose [RequestField] counts: it names faults that say Requested. Nil
	// trusts nobody.
	Trust func(*http.Request) bool

	// Mode says what is done with decisions: under [uprung.Shadow] they are counted, and
	// nothing is injected, also if the injector is armed. [uprung.Percent] goes by the
	// Key of the fault, and injects nothing into calls that have none.
	// [Injector.SetMode] changes it live. Zero means [uprung.Enforce].
	Mode uprung.Mode

	// Skip exempts requests of HTTP, such as those of health checks. Nil exempts none.
	Skip func(*http.Request) bool

	// Seed makes the choice of calls and delays repeatable. Zero means that it is not.
	Seed uint64

	// Logger is told when the injector is armed and disarmed. Nil means silence.
	Logger *slog.Logger
}

// An Injector injects faults while it is armed. Its methods Middleware, Transport and
// Connector are its faces. It is safe for concurrent use. Use [New].
type Injector struct {
	o      Options
	given  Options
	seed   uint64
	drawn  atomic.Uint64 // calls
	mode   atomic.Int32
	active atomic.Int64 // calls in the hands of the injector

	set   atomic.Pointer[faults]
	armed atomic.Pointer[armed] // nil while it is not

	mu    sync.Mutex // held to change set and armed
	known map[string]*counters
}

// faults are those of an injector at a time.
type faults struct {
	all   []Fault
	count []*counters      // of each
	page  []*httpx.Problem // of those with a status
}

// armed is a time for which an injector is armed.
type armed struct {
	until time.Time
	done  chan struct{} // closed at its end
	timer *time.Timer
}

// maxFaults bounds the faults of an injector, and all those it ever had: figures are kept
// of each.
const maxFaults = 256

// New returns an injector that is not armed. Nil options are the defaults. The error
// names every field that is not valid.
func New(faults []Fault, o *Options) (*Injector, error) {
	if o == nil {
		o = &Options{}
	}
	i := &Injector{o: *o, given: *o, known: make(map[string]*counters)}
	i.o.Name = cmp.Or(o.Name, "default")
	i.o.MaxActive = cmp.Or(o.MaxActive, 100)
	i.o.MaxArmed = cmp.Or(o.MaxArmed, time.Hour)
	if i.seed = o.Seed; i.seed == 0 {
		i.seed = rand.Uint64()
	}
	var errs []error
	if err := option.CheckName("Name", i.o.Name); err != nil {
		errs = append(errs, fmt.Errorf("chaos: %w", err))
	}
	if i.o.MaxActive < 0 {
		errs = append(errs, fmt.Errorf("chaos: MaxActive is %d, want >= 0", o.MaxActive))
	}
	if i.o.MaxArmed < 0 {
		errs = append(errs, fmt.Errorf("chaos: MaxArmed is %v, want >= 0", o.MaxArmed))
	}
	if err := o.Mode.Validate(); err != nil {
		errs = append(errs, fmt.Errorf("chaos: Mode: %w", err))
	}
	i.mode.Store(int32(o.Mode))
	if err := errors.Join(errors.Join(errs...), i.SetFaults(faults)); err != nil {
		return nil, err
	}
	return i, nil
}

// SetFaults replaces the faults, also while the injector is armed. One that has the name
// of an earlier one continues its figures. The error names every field that is not
// valid, and nothing is changed then.
func (i *Injector) SetFaults(all []Fault) error {
	set, err := compile(all)
	if err != nil {
		return err
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.install(set)
}

// compile checks faults.
func compile(all []Fault) (*faults, error) {
	set := &faults{all: slices.Clone(all), count: make([]*counters, len(all)), page: make([]*httpx.Problem, len(all))}
	var errs []error
	index := make(map[string]int, len(all))
	for at := range set.all {
		f := &set.all[at]
		errs = append(errs, f.validate(at)...)
		if first, twice := index[f.Name]; twice {
			errs = append(errs, fmt.Errorf("chaos: faults[%d].Name is %q, want one that no other fault has, and faults[%d] has it", at, f.Name, first))
		} else {
			index[f.Name] = at
		}
		f.Share = cmp.Or(f.Share, 1)
		if f.Status >= 400 && f.Status <= 599 {
			page, err := httpx.NewProblem(f.Status, &httpx.ProblemOptions{Detail: "This fault was injected."})
			if err != nil {
				errs = append(errs, fmt.Errorf("chaos: faults[%d]: %w", at, err))
			}
			set.page[at] = page
		}
	}
	return set, errors.Join(errs...)
}

// install makes these the faults. The caller holds mu.
func (i *Injector) install(set *faults) error {
	fresh := 0
	for _, f := range set.all {
		if i.known[f.Name] == nil {
			fresh++
		}
	}
	if n := len(i.known) + fresh; n > maxFaults {
		return fmt.Errorf("chaos: %d faults, want at most %d of different names in all", n, maxFaults)
	}
	for at, f := range set.all {
		if i.known[f.Name] == nil {
			i.known[f.Name] = &counters{}
		}
		set.count[at] = i.known[f.Name]
	}
	i.set.Store(set)
	return nil
}

// Faults returns those that are set.
func (i *Injector) Faults() []Fault { return slices.Clone(i.set.Load().all) }

// Mode returns the mode.
func (i *Injector) Mode() uprung.Mode { return uprung.Mode(i.mode.Load()) }

// SetMode changes the mode while running.
func (i *Injector) SetMode(mode uprung.Mode) error {
	if err := mode.Validate(); err != nil {
		return fmt.Errorf("chaos: %w", err)
	}
	i.mode.Store(int32(mode))
	return nil
}

// Arm injects faults from now on, for a time that ends by itself. If the injector is
// armed already, the time begins anew, and calls that are held go on. It is an error if d is not above 0, or more than
// Options.MaxArmed.
func (i *Injector) Arm(d time.Duration) error {
	if d <= 0 || d > i.o.MaxArmed {
		return fmt.Errorf("chaos: time to be armed is %v, want more than 0 and at most %v, which is MaxArmed", d, i.o.MaxArmed)
	}
	i.mu.Lock()
	i.disarm()
	i.arm(d)
	i.mu.Unlock()
	i.log("chaos is armed", slog.Duration("duration", d))
	return nil
}

// arm begins a time to be armed. The caller holds mu.
func (i *Injector) arm(d time.Duration) *armed {
	a := &armed{until: time.Now().Add(d), done: make(chan struct{})}
	a.timer = time.AfterFunc(d, func() {
		i.mu.Lock()
		mine := i.armed.Load() == a
		if mine {
			i.disarm()
		}
		i.mu.Unlock()
		if mine {
			i.log("chaos has expired")
		}
	})
	i.armed.Store(a)
	return a
}

// Disarm is the kill switch: from now on nothing is injected, and calls that are held
// go on. If the injector is not armed it does nothing.
func (i *Injector) Disarm() {
	i.mu.Lock()
	was := i.disarm()
	i.mu.Unlock()
	if was {
		i.log("chaos is disarmed")
	}
}

// disarm ends the time to be armed, and reports whether there was one. The caller holds
// mu.
func (i *Injector) disarm() bool {
	a := i.armed.Swap(nil)
	if a == nil {
		return false
	}
	a.timer.Stop()
	close(a.done)
	return true
}

// Armed returns the time that is left, and false if the injector is not armed.
func (i *Injector) Armed() (time.Duration, bool) {
	a := i.armed.Load()
	if a == nil {
		return 0, false
	}
	return max(time.Until(a.until), 0), true
}

func (i *Injector) log(message string, attrs ...slog.Attr) {
	if i.o.Logger != nil {
		i.o.Logger.LogAttrs(context.Background(), slog.LevelWarn, message, append(attrs, slog.String("injector", i.o.Name))...)
	}
}

// Injection is a fault that a call has met. The zero value is none.
type Injection struct {
	// Fault is what is to be done.
	Fault Fault

	injector *Injector
	armed    *armed
	page     *httpx.Problem
	delay    time.Duration
	random   uint64
}

// Next decides whether a call meets a fault, for faces beyond those of this package. If
// it does, call End when the fault is over, exactly once.
func (i *Injector) Next(c Call) (Injection, bool) {
	a := i.armed.Load()
	if a == nil {
		return Injection{}, false
	}
	mode := i.Mode()
	if mode == uprung.Off || c.Request != nil && i.o.Skip != nil && i.o.Skip(c.Request) {
		return Injection{}, false
	}
	set := i.set.Load()
	random := splitmix.Mix(i.seed + i.drawn.Add(1)*splitmix.Phi)
	for at := range set.all {
		f := &set.all[at]
		if f.Requested && !i.requested(f.Name, c.Request) || f.Match != nil && !f.Match(c) {
			continue
		}
		random = splitmix.Mix(random + splitmix.Phi)
		drawn, name := random, ""
		if f.Key != nil {
			var ok bool
			if name, ok = f.Key(c); !ok {
				continue
			}
			drawn = splitmix.Mix(hash(f.Name) ^ hash(name))
		}
		if splitmix.Fraction(drawn) >= f.Share {
			set.count[at].spared.Add(1)
			continue
		}
		if mode != uprung.Enforce && (name == "" || !mode.Enforces(name)) {
			set.count[at].shadow.Add(1)
			return Injection{}, false
		}
		n := Injection{Fault: *f, injector: i, armed: a, page: set.page[at], random: splitmix.Mix(random)}
		if f.Delay != nil {
			n.delay = max(f.Delay(splitmix.Fraction(n.random)), 0)
		}
		if i.active.Add(1) > int64(i.o.MaxActive) {
			i.active.Add(-1)
			set.count[at].capped.Add(1)
			return Injection{}, false
		}
		set.count[at].injected.Add(1)
		return n, true
	}
	return Injection{}, false
}

// requested reports whether a request asks for a fault, and may.
func (i *Injector) requested(name string, r *http.Request) bool {
	if r == nil || i.o.Trust == nil {
		return false
	}
	values, ok := r.Header[RequestField]
	if !ok || !i.o.Trust(r) {
		return false
	}
	for _, value := range values {
		for one := range strings.SplitSeq(value, ",") {
			if strings.TrimSpace(one) == name {
				return true
			}
		}
	}
	return false
}

// Hold holds the call as long as the fault delays it, or until the injector is disarmed.
// If the context ends first it returns why. What follows a delay that was cut short by
// the kill switch is not injected: false says so.
func (n Injection) Hold(ctx context.Context) (goOn bool, err error) {
	if n.delay == 0 {
		return n.on(), nil
	}
	timer := time.NewTimer(n.delay)
	defer timer.Stop()
	select {
	case <-timer.C:
		return n.on(), nil
	case <-n.armed.done:
		return false, nil
	case <-ctx.Done():
		return false, why(ctx)
	}
}

// why returns why a context has ended: its error, and the cause if it has one of its own.
func why(ctx context.Context) error {
	if cause := context.Cause(ctx); !errors.Is(cause, ctx.Err()) {
		return fmt.Errorf("%w: %w", ctx.Err(), cause)
	}
	return ctx.Err()
}

// on reports whether the injector is still armed as it was.
func (n Injection) on() bool { return n.injector.armed.Load() == n.armed }

// Err returns the error of the fault, an [*Error], and nil if it has none. The reset of a
// connection is reset.
func (n Injection) Err(reset error) error { return n.Fault.err(reset) }

// End says that the fault is over.
func (n Injection) End() { n.injector.active.Add(-1) }
