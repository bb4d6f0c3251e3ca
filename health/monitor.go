package health

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/uprung/uprung"
	"github.com/uprung/uprung/internal/option"
)

const (
	// DefaultInterval is the time between two probes of a target by default.
	DefaultInterval = 5 * time.Second
	// DefaultTimeout is the time within which a probe or a check must answer by
	// default.
	DefaultTimeout = time.Second
	// DefaultConcurrency is the number of probes that a [Monitor] makes at one time
	// by default.
	DefaultConcurrency = 64

	// firstWithin bounds the time over which first probes are spread: a target
	// should not wait for a verdict for as long as an interval may be.
	firstWithin = time.Second

	maxThreshold = 1 << 20
)

var errRunning = errors.New("health: Run is running already")

// Target is one of the servers that a [Monitor] probes.
type Target struct {
	// ID names the target for as long as the monitor runs, and is unique.
	ID string
	// Addr is what the [Prober] is given, such as "10.0.0.10:8080".
	Addr string
}

// Change says that the state of a target has changed.
type Change struct {
	Target   Target
	From, To State
	// Err is the failure that made the target Unhealthy, or nil: it was one that
	// somebody reported, or To is Healthy.
	Err error
}

// MonitorOptions are the settings of a [Monitor]. The zero value of each field is
// its default.
type MonitorOptions struct {
	// Name is the name of the monitor in metrics and logs: 1 to 64 printable ASCII
	// characters. Zero means "default".
	Name string
	// Interval is the time between the beginnings of two probes of a target. Zero
	// means [DefaultInterval].
	Interval time.Duration
	// Jitter is the share of Interval by which that time is shortened or lengthened
	// at random, at most 1: processes that were started together do not go on
	// probing together. Zero means 0.1, a negative value none. First probes are
	// spread over a second, or Interval if that is shorter, and with a negative value
	// are made at once.
	Jitter float64
	// Timeout is the time after which a probe has failed, counted from when it was
	// begun. Zero means [DefaultTimeout].
	Timeout time.Duration
	// Rise is the number of successes in a row after which an Unhealthy target is
	// Healthy. Zero means 2.
	Rise int
	// Fall is the number of failures in a row after which a target is Unhealthy. Zero
	// means 3.
	Fall int
	// Concurrency is the number of probes made at one time. Those that outlive their
	// Timeout do not count. Zero means [DefaultConcurrency].
	Concurrency int
	// OnChange is called for each change of a state, one at a time and in their order,
	// from a goroutine of Run and under no lock. If it is slow, changes of one target
	// that it has not seen yet become one. Not called for what [Monitor.SetTargets]
	// does. Nil means nobody is told.
	OnChange func(Change)
	// Logger gets each change of a state: Healthy at Info, Unhealthy at Warn. Nil
	// means silent.
	Logger *slog.Logger
}

// A Monitor probes targets and keeps a [State] for each.
//
// It probes while Run runs, and starts no goroutine before. It is safe for
// concurrent use. Use [NewMonitor].
type Monitor struct {
	prober   Prober
	o        MonitorOptions
	at       thresholds
	timedOut error

	running atomic.Bool
	targets atomic.Pointer[map[string]*target] // the map is immutable
	view    atomic.Pointer[View]

	retarget chan struct{} // has an element when targets changed
	notify   chan struct{} // has an element when pending is not empty
	slots    chan struct{} // has an element for each probe within its timeout

	mu       sync.Mutex
	pending  []Change            // not delivered yet; guarded by mu
	overdue  map[Target]*probing // the latest probe of each target that has not ended; guarded by mu
	counters counters
}

// target is a target and what is known of it. Another address is another target.
type target struct {
	Target
	known atomic.Uint64 // a packed tally; stored while the monitor's mu is held
}

func (t *target) tally() tally { return unpack(t.known.Load()) }

// NewMonitor returns a monitor without targets. Nil options are the defaults. The
// error names every argument and field that is not valid.
func NewMonitor(prober Prober, o *MonitorOptions) (*Monitor, error) {
	if o == nil {
		o = &MonitorOptions{}
	}
	m := &Monitor{
		prober:   prober,
		o:        *o,
		retarget: make(chan struct{}, 1),
		notify:   make(chan struct{}, 1),
		overdue:  make(map[Target]*probing),
	}
	if err := m.complete(); err != nil {
		return nil, err
	}
	m.at = thresholds{rise: uint32(m.o.Rise), fall: uint32(m.o.Fall)}
	m.timedOut = fmt.Errorf("health: no answer within %v: %w", m.o.Timeout, context.DeadlineExceeded)
	m.slots = make(chan struct{}, m.o.Concurrency)
	none := map[string]*target{}
	m.targets.Store(&none)
	m.view.Store(newView(none))
	return m, nil
}

// complete checks the options and fills in the defaults.
func (m *Monitor) complete() error {
	var errs []error
	if m.prober == nil {
		errs = append(errs, errors.New("health: prober is nil, want what finds out whether a target works"))
	}
	o := &m.o
	o.Name = cmp.Or(o.Name, "default")
	if err := option.CheckName("MonitorOptions.Name", o.Name); err != nil {
		errs = append(errs, fmt.Errorf("health: %w", err))
	}
	for _, field := range []struct {
		name   string
		value  *time.Duration
		byZero time.Duration
	}{{"Interval", &o.Interval, DefaultInterval}, {"Timeout", &o.Timeout, DefaultTimeout}} {
		if *field.value < 0 {
			errs = append(errs, fmt.Errorf("health: MonitorOptions.%s is %v, want >= 0", field.name, *field.value))
		}
		*field.value = cmp.Or(*field.value, field.byZero)
	}
	if !(o.Jitter <= 1) {
		errs = append(errs, fmt.Errorf("health: MonitorOptions.Jitter is %v, want at most 1", o.Jitter))
	}
	o.Jitter = max(cmp.Or(o.Jitter, 0.1), 0)
	for _, field := range []struct {
		name   string
		value  *int
		byZero int
	}{{"Rise", &o.Rise, 2}, {"Fall", &o.Fall, 3}, {"Concurrency", &o.Concurrency, DefaultConcurrency}} {
		if *field.value < 0 || *field.value > maxThreshold {
			errs = append(errs, fmt.Errorf("health: MonitorOptions.%s is %d, want 0 to %d", field.name, *field.value, maxThreshold))
		}
		*field.value = cmp.Or(*field.value, field.byZero)
	}
	return errors.Join(errs...)
}

// SetTargets replaces the targets, before Run or while it runs. A target keeps its
// state as long as its ID and address are the same; with another address it is
// Unknown again. Probes of targets that are gone are cancelled. An error names
// every element that is not valid, and changes nothing.
func (m *Monitor) SetTargets(targets []Target) error {
	var errs []error
	index := make(map[string]int, len(targets))
	for i, t := range targets {
		if t.ID == "" {
			errs = append(errs, fmt.Errorf("health: targets[%d].ID is empty, want the name of the target", i))
		} else if first, twice := index[t.ID]; twice {
			errs = append(errs, fmt.Errorf("health: targets[%d].ID is %q, want one that no other target has, and targets[%d] has it", i, t.ID, first))
		} else {
			index[t.ID] = i
		}
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	old := *m.targets.Load()
	next := make(map[string]*target, len(targets))
	for _, t := range targets {
		if was := old[t.ID]; was != nil && was.Target == t {
			next[t.ID] = was
		} else {
			next[t.ID] = &target{Target: t}
		}
	}
	if maps.Equal(old, next) {
		return nil
	}
	m.targets.Store(&next)
	m.pending = undelivered(m.pending, next)
	m.publish()
	wake(m.retarget)
	return nil
}

// View returns what is known now. It is the same pointer as long as nothing
// changed, and costs one atomic load.
func (m *Monitor) View() *View { return m.view.Load() }

// publish replaces the view, while mu is held.
func (m *Monitor) publish() {
	old := m.view.Load()
	m.view.Store(newView(*m.targets.Load()))
	close(old.changed)
}

// Report tells the monitor how a request to a target ended. A Failure counts like a
// probe that failed. A Success ends a streak of failures, but does not raise an
// Unhealthy target: probes alone do that, and until then nothing that is reported
// counts. Overload and Ignored count nothing, nor does anything while Run does not
// run or of an ID that no target has.
//
// It does not block, and unless a streak of failures begins, goes on or ends, takes
// no lock. It does not allocate unless it changes a state.
func (m *Monitor) Report(id string, outcome uprung.Outcome) {
	if outcome > uprung.Failure || !m.running.Load() {
		return
	}
	t := (*m.targets.Load())[id]
	if ok := outcome == uprung.Success; t != nil && !t.tally().ignores(ok) {
		m.report(t, ok)
	}
}

// report counts a result that was reported.
func (m *Monitor) report(t *target, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !ok {
		m.counters.reported++
	}
	m.become(t, t.tally().reported(ok, m.at), nil)
}

// become gives a target its next tally, while mu is held.
func (m *Monitor) become(t *target, next tally, err error) {
	was := t.tally()
	if was == next || (*m.targets.Load())[t.ID] != t {
		return // nothing new, or nobody asks about it any more
	}
	t.known.Store(next.pack())
	if was.state == next.state {
		return
	}
	m.counters.transitions[next.state]++
	if next.state == Healthy {
		err = nil
	}
	m.pending = enqueue(m.pending, Change{Target: t.Target, From: was.state, To: next.state, Err: err})
	m.publish()
	wake(m.notify)
}

// enqueue adds a change to those that are not delivered yet. There is at most one
// for each target, so that their number is bounded: an earlier one is made part of
// it, and two that cancel each other out are none.
func enqueue(pending []Change, c Change) []Change {
	for i, earlier := range pending {
		if earlier.Target == c.Target {
			pending = append(pending[:i:i], pending[i+1:]...)
			c.From = earlier.From
			break
		}
	}
	if c.From == c.To {
		return pending
	}
	return append(pending, c)
}

// undelivered returns the pending changes of the targets that still exist.
func undelivered(pending []Change, targets map[string]*target) []Change {
	var kept []Change
	for _, c := range pending {
		if t := targets[c.Target.ID]; t != nil && t.Target == c.Target {
			kept = append(kept, c)
		}
	}
	return kept
}

// wake puts an element into a channel unless there is one.
func wake(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Run probes until ctx ends, and returns nil once the probes that were under way
// have ended. It waits MonitorOptions.Timeout at most: one that ignores its context
// is left to itself, and nothing waits for it. It returns an error if it is running
// already. It can be called again.
func (m *Monitor) Run(ctx context.Context) error {
	if !m.running.CompareAndSwap(false, true) {
		return errRunning
	}
	defer m.running.Store(false)
	var delivering, watching sync.WaitGroup
	ended := make(chan struct{})
	delivering.Go(func() { m.deliver(ctx, ended) })
	defer delivering.Wait()
	defer close(ended)
	defer watching.Wait()

	watched := make(map[*target]context.CancelFunc)
	for {
		targets := *m.targets.Load()
		for t, cancel := range watched {
			if targets[t.ID] != t {
				cancel()
				delete(watched, t)
			}
		}
		for _, t := range targets {
			if watched[t] == nil {
				own, cancel := context.WithCancel(ctx)
				watched[t] = cancel
				watching.Go(func() {
					defer cancel()
					m.watch(own, t)
				})
			}
		}
		select {
		case <-m.retarget:
		case <-ctx.Done():
			return nil
		}
	}
}

// deliver tells of changes until Run has ended, and then of those that are left.
func (m *Monitor) deliver(ctx context.Context, ended <-chan struct{}) {
	for {
		for {
			c, ok := m.nextChange()
			if !ok {
				break
			}
			m.log(ctx, c)
			if m.o.OnChange != nil {
				m.o.OnChange(c)
			}
		}
		select {
		case <-m.notify:
		case <-ended:
			select {
			case <-m.notify:
			default:
				return
			}
		}
	}
}

// nextChange takes the first of the changes that are not delivered yet.
func (m *Monitor) nextChange() (c Change, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.pending) == 0 {
		return Change{}, false
	}
	c, m.pending = m.pending[0], m.pending[1:]
	return c, true
}

// log writes a line about a change.
func (m *Monitor) log(ctx context.Context, c Change) {
	if m.o.Logger == nil {
		return
	}
	level := slog.LevelInfo
	attrs := []slog.Attr{
		slog.String("monitor", m.o.Name), slog.String("target", c.Target.ID), slog.String("addr", c.Target.Addr),
		slog.String("from", c.From.String()), slog.String("to", c.To.String()),
	}
	if c.To == Unhealthy {
		level = slog.LevelWarn
		if c.Err != nil {
			attrs = append(attrs, slog.Any("error", c.Err))
		}
	}
	m.o.Logger.LogAttrs(ctx, level, "health of a target changed", attrs...)
}

// first returns the time before the first probe of a target.
func (m *Monitor) first() time.Duration {
	if m.o.Jitter == 0 {
		return 0
	}
	return rand.N(min(m.o.Interval, firstWithin))
}

// next returns the time from the beginning of a probe to that of the next.
func (m *Monitor) next() time.Duration {
	return time.Duration(float64(m.o.Interval) * (1 + m.o.Jitter*(2*rand.Float64()-1)))
}
