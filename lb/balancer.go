package lb

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/uprung/uprung"
	"github.com/uprung/uprung/health"
	"github.com/uprung/uprung/internal/splitmix"
)

// ErrNoEndpoint is matched by the [*uprung.Rejection] of a request for which there is
// no endpoint: none could be resolved, or none may be picked.
var ErrNoEndpoint = errors.New("lb: no endpoint")

// Balancer spreads requests over the endpoints of one service. Use [New].
//
// It is safe for concurrent use.
type Balancer struct {
	o        Options
	settings []uprung.Setting
	resolver Resolver
	monitor  *health.Monitor // nil without Options.Probe
	origin   time.Time       // of all instants
	draws    atomic.Uint64   // random numbers drawn from Seed

	state atomic.Pointer[snapshot] // nil until endpoints are resolved

	mu        sync.Mutex
	nodes     map[string]*node // guarded by mu
	nextSweep time.Duration    // guarded by mu
	first     *flight          // the first resolution; guarded by mu
	records   []entry          // to be logged once mu is free; guarded by mu

	running   atomic.Bool
	resolving chan struct{} // has an element during a call of the resolver

	rejected, resolved, unresolved, left atomic.Uint64

	ended   [4]atomic.Uint64 // requests, by Outcome
	ejected [ejections]atomic.Uint64
}

// flight is a resolution that requests wait for.
type flight struct {
	done  chan struct{}
	err   error         // once done is closed
	until time.Duration // an error is not tried to be mended before
}

// New returns a balancer for the endpoints that resolver finds. Nil options are the
// defaults. The error names every argument and field that is not valid.
//
// It does nothing until the first request, which waits for the endpoints to be
// resolved; later ones never wait. To have them resolved again, and probed, call
// [Balancer.Run].
func New(resolver Resolver, o *Options) (*Balancer, error) {
	if o == nil {
		o = &Options{}
	}
	b := &Balancer{resolver: resolver, origin: time.Now(), nodes: map[string]*node{}, resolving: make(chan struct{}, 1)}
	var errs [3]error
	b.o, b.settings, errs[0] = o.complete()
	if resolver == nil {
		errs[1] = errors.New("lb: resolver is nil, want one such as Addrs or NewDNS")
	}
	if endpoints, ok := resolver.(Static); ok {
		_, errs[1] = checked(endpoints)
	}
	if o.Probe != nil {
		m := health.MonitorOptions{}
		if o.Monitor != nil {
			m = *o.Monitor
		}
		if m.Name == "" {
			m.Name = b.o.Name
		}
		if m.Logger == nil {
			m.Logger = b.o.Logger
		}
		b.monitor, errs[2] = health.NewMonitor(o.Probe, &m)
	}
	if err := errors.Join(errs[:]...); err != nil {
		return nil, err
	}
	return b, nil
}

// now returns the instant in the time of the balancer.
func (b *Balancer) now() time.Duration { return time.Since(b.origin) }

// random returns a random number.
func (b *Balancer) random() uint64 {
	if b.o.Seed == 0 {
		return rand.Uint64()
	}
	return splitmix.Mix(b.o.Seed + b.draws.Add(1)*splitmix.Phi)
}

// Run resolves the endpoints from time to time, or watches them if the resolver is a
// [Watcher], and probes them if Options say so, until ctx ends; then it returns nil.
// It is an error to call it while it runs.
func (b *Balancer) Run(ctx context.Context) error {
	if b.running.Swap(true) {
		return errors.New("lb: Run is running already")
	}
	defer b.running.Store(false)
	var children sync.WaitGroup
	defer children.Wait()
	if b.monitor != nil {
		children.Go(func() { _ = b.monitor.Run(ctx) }) // an error would be of a second call
	}
	if w, ok := b.resolver.(Watcher); ok {
		b.watch(ctx, w)
		return nil
	}
	for {
		_ = b.resolve(ctx, false) // which logs its error
		jitter := 0.9 + 0.2*rand.Float64()
		wait := min(float64(b.o.Refresh)*jitter, math.MaxInt64/2)
		timer := time.NewTimer(time.Duration(wait))
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-timer.C:
		}
	}
}

// resolve asks the resolver and takes over what it finds.
func (b *Balancer) resolve(ctx context.Context, first bool) error {
	select {
	case b.resolving <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-b.resolving }()
	if first && b.state.Load() != nil {
		return nil // Run was faster
	}
	within, cancel := context.WithTimeout(ctx, b.o.ResolveTimeout)
	defer cancel()
	endpoints, err := b.call(within)
	return b.found(ctx, endpoints, err)
}

// found takes over what the resolver has found, or counts and logs why not.
func (b *Balancer) found(ctx context.Context, endpoints []Endpoint, err error) error {
	if err == nil {
		endpoints, err = checked(endpoints)
	}
	if err == nil {
		err = b.update(endpoints)
	}
	if err == nil {
		b.resolved.Add(1)
		return nil
	}
	b.unresolved.Add(1)
	if ctx.Err() == nil {
		b.o.Logger.LogAttrs(ctx, slog.LevelWarn, "endpoints not resolved", slog.String("balancer", b.o.Name), slog.Any("error", err))
	}
	return err
}

// call calls the resolver. It runs on a goroutine that is nobody's, where a panic
// would end the program.
func (b *Balancer) call(ctx context.Context) (endpoints []Endpoint, err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("lb: the resolver panicked: %v", v)
		}
	}()
	return b.resolver.Resolve(ctx)
}

// update replaces the endpoints.
func (b *Balancer) update(endpoints []Endpoint) error {
	b.mu.Lock()
	defer b.unlock()
	now, prev := b.now(), b.state.Load()
	all := make(map[string]*node, len(endpoints))
	nodes := make([]*node, len(endpoints))
	came, went := 0, 0
	for i, e := range endpoints {
		n := b.nodes[e.ID]
		switch {
		case n == nil:
			came++
			n = &node{e, newKnown(e.ID)}
		case n.Addr != e.Addr:
			n = &node{e, newKnown(e.ID)} // another one of that name
		case n.Endpoint != e:
			n = &node{e, n.known}
		}
		nodes[i], all[e.ID] = n, n
	}
	for id := range b.nodes {
		if all[id] == nil {
			went++
		}
	}
	if err := b.probe(nodes); err != nil {
		return fmt.Errorf("lb: %w", err)
	}
	if prev == nil {
		b.nextSweep = now + b.o.Outlier.Interval
	}
	next, err := b.draw(nodes, prev, now)
	if err != nil {
		if prev != nil {
			err = errors.Join(err, b.probe(prev.nodes)) // which stay in use
		}
		return fmt.Errorf("lb: %w", err)
	}
	b.nodes = all
	b.state.Store(next)
	if came+went > 0 {
		b.log(slog.LevelInfo, "endpoints changed", slog.Int("endpoints", len(nodes)), slog.Int("came", came), slog.Int("went", went))
	}
	return nil
}

// probe has nodes probed, and no others, if Options say so.
func (b *Balancer) probe(nodes []*node) error {
	if b.monitor == nil {
		return nil
	}
	targets := make([]health.Target, len(nodes))
	for i, n := range nodes {
		targets[i] = health.Target{ID: n.ID, Addr: n.Addr}
	}
	return b.monitor.SetTargets(targets)
}

// ready returns what to choose from, and waits for it the first time.
func (b *Balancer) ready(ctx context.Context) (*snapshot, time.Duration, error) {
	s, now := b.state.Load(), b.now()
	if s == nil {
		if err := b.await(ctx); err != nil {
			return nil, 0, err
		}
		s, now = b.state.Load(), b.now() // the wait was for no endpoint
	}
	if b.due(s, now) {
		b.refresh(now)
		s = b.state.Load()
	}
	return s, now, nil
}

// due reports whether there is to be another snapshot.
func (b *Balancer) due(s *snapshot, now time.Duration) bool {
	return now >= s.until || b.monitor != nil && b.monitor.View() != s.view
}

var errResolverLeft = errors.New("lb: the resolver ended its goroutine")

// retryFirst is how long the error of a first resolution stands.
const retryFirst = time.Second

// await waits for the first endpoints, which are resolved once for all who wait.
func (b *Balancer) await(ctx context.Context) error {
	b.mu.Lock()
	f, now := b.first, b.now()
	if b.state.Load() != nil {
		b.mu.Unlock()
		return nil
	}
	if f == nil || f.over() && now >= f.until {
		f = &flight{done: make(chan struct{})}
		b.first = f
		go func() { // ends with ResolveTimeout
			f.err = errResolverLeft
			defer func() { // also if the resolver ends the goroutine
				f.until = b.now() + retryFirst
				close(f.done)
			}()
			f.err = b.resolve(context.WithoutCancel(ctx), true)
		}()
	}
	b.mu.Unlock()
	select {
	case <-f.done:
	case <-ctx.Done():
		return ctx.Err()
	}
	if f.err != nil && b.state.Load() == nil {
		return b.reject(f.err)
	}
	return nil
}

func (f *flight) over() bool {
	select {
	case <-f.done:
		return true
	default:
		return false
	}
}

// reject returns the refusal of a request.
func (b *Balancer) reject(cause error) error {
	b.rejected.Add(1)
	reason := ErrNoEndpoint
	if cause != nil {
		reason = fmt.Errorf("%w: %w", ErrNoEndpoint, cause)
	}
	return &uprung.Rejection{Kind: uprung.KindBalance, Name: b.o.Name, Reason: reason, RetryAfter: b.o.RetryAfter}
}

// refresh makes the snapshot that is due, unless another goroutine is at it.
func (b *Balancer) refresh(now time.Duration) {
	if !b.mu.TryLock() {
		return
	}
	defer b.unlock()
	b.redraw(now)
}

// redraw ejects and takes back endpoints as is due, and makes a new snapshot if that
// changes anything. The caller holds mu.
func (b *Balancer) redraw(now time.Duration) {
	prev := b.state.Load()
	changed := b.monitor != nil && b.monitor.View() != prev.view
	for _, n := range prev.nodes {
		if r := &n.outlier; r.ejected && now >= r.until {
			r.takeBack()
			changed = true
			b.log(slog.LevelInfo, "endpoint back", slog.String("endpoint", n.ID))
		}
	}
	if b.o.Outlier.watches() && now >= b.nextSweep {
		changed = b.sweep(prev.nodes, now) || changed
		b.nextSweep = now + b.o.Outlier.Interval
	}
	if !changed {
		again := *prev
		again.levels = slices.Clone(prev.levels)
		again.spread(now, b.o.SlowStart)
		again.until = b.until(&again, now)
		b.state.Store(&again)
		return
	}
	b.drawAgain(prev, now)
}

// drawAgain makes a new snapshot of the same endpoints. The caller holds mu.
func (b *Balancer) drawAgain(prev *snapshot, now time.Duration) {
	next, err := b.draw(prev.nodes, prev, now)
	if err != nil { // of a policy that has taken these endpoints before
		b.log(slog.LevelWarn, "endpoints not redrawn", slog.Any("error", err))
		again := *prev
		again.until = now + time.Second
		if b.monitor != nil {
			again.view = b.monitor.View()
		}
		b.state.Store(&again)
		return
	}
	if next.panicking != prev.panicking {
		b.log(slog.LevelWarn, "usable endpoints", slog.Bool("too_few", next.panicking),
			slog.Int("usable", next.usable), slog.Int("endpoints", len(next.nodes)))
	}
	b.state.Store(next)
}

// warmSteps is in how many steps levels and zones follow their endpoints through a slow
// start.
const warmSteps = 16

// until returns when something is due if nothing happens before. The caller holds mu.
func (b *Balancer) until(s *snapshot, now time.Duration) time.Duration {
	until := time.Duration(math.MaxInt64)
	if b.o.Outlier.watches() {
		until = b.nextSweep
	}
	if now < s.warm {
		until = min(until, s.warm, now+max(b.o.SlowStart/warmSteps, 1))
	}
	for _, n := range s.nodes {
		if n.outlier.ejected {
			until = min(until, n.outlier.until)
		}
	}
	return until
}

// entry is what is to be logged.
type entry struct {
	level slog.Level
	what  string
	attrs []slog.Attr
}

// log has something logged once mu is free: a handler may do anything. The caller
// holds mu.
func (b *Balancer) log(level slog.Level, what string, attrs ...slog.Attr) {
	b.records = append(b.records, entry{level, what, append([]slog.Attr{slog.String("balancer", b.o.Name)}, attrs...)})
}

// unlock frees mu, and logs.
func (b *Balancer) unlock() {
	records := b.records
	b.records = nil
	b.mu.Unlock()
	for _, r := range records {
		b.o.Logger.LogAttrs(context.Background(), r.level, r.what, r.attrs...)
	}
}

// watches reports whether outcomes are looked at.
func (o *Outlier) watches() bool { return o.Mode != uprung.Off }

// sweep compares what endpoints have done since the last time, and ejects; it reports
// whether it did. The caller holds mu.
func (b *Balancer) sweep(nodes []*node, now time.Duration) (ejected bool) {
	samples := make([]sample, len(nodes))
	for i, n := range nodes {
		samples[i] = n.outlier.take()
		if r := &n.outlier; !r.ejected {
			r.times = max(0, r.times-1)
		}
	}
	for _, d := range b.o.Outlier.deviants(samples) {
		ejected = b.eject(nodes, nodes[d.endpoint], d.why, now) || ejected
	}
	return ejected
}

// eject takes an endpoint out unless too many are. The caller holds mu.
func (b *Balancer) eject(nodes []*node, n *node, why ejection, now time.Duration) bool {
	out := 0
	for _, other := range nodes {
		if other.outlier.ejected {
			out++
		}
	}
	if n.outlier.ejected || out >= b.o.Outlier.mostEjected(len(nodes)) {
		return false
	}
	n.outlier.eject(now, b.o.Outlier.Ejection)
	b.ejected[why].Add(1)
	b.log(slog.LevelInfo, "endpoint ejected", slog.String("endpoint", n.ID), slog.String("reason", why.String()), slog.Duration("duration", n.outlier.until-now),
		slog.Bool("enforced", b.o.Outlier.Mode.Enforces(n.ID)))
	return true
}

// failedInRow is called when an endpoint has failed so often in a row that it is to
// be ejected.
func (b *Balancer) failedInRow(n *node, now time.Duration) {
	b.mu.Lock()
	defer b.unlock()
	s := b.state.Load()
	at := slices.IndexFunc(s.nodes, func(other *node) bool { return other.known == n.known })
	if at >= 0 && b.eject(s.nodes, s.nodes[at], consecutiveFailures, now) {
		b.drawAgain(s, now)
	}
}
