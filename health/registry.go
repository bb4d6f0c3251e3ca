package health

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/uprung/uprung/internal/option"
)

const (
	// DefaultTTL is how long the result of a check holds by default.
	DefaultTTL = time.Second
	// DefaultDrainWait is how long [Registry.Drain] waits by default before it shuts
	// down: longer than balancers take to notice.
	DefaultDrainWait = 5 * time.Second
)

var (
	// ErrDraining is the error of [Registry.Readiness] once Drain was called.
	ErrDraining = errors.New("health: draining")
	// ErrFailing is matched by the error of [Registry.Readiness] when checks fail.
	ErrFailing = errors.New("health: checks fail")
)

// Check is one thing that the program needs in order to work.
type Check struct {
	// Name names the check in answers and metrics: 1 to 64 printable ASCII characters
	// without a colon, and unique.
	Name string
	// Probe returns nil if the check passes, and should return when ctx ends. It is
	// not called concurrently. A panic is a failure.
	Probe func(ctx context.Context) error
	// Informative says that the program works without it: when it fails, it is
	// shown, and readiness stays. It cannot be set together with Live or Startup.
	Informative bool
	// Live says that a restart is what cures a failure, so that it also fails
	// liveness: a loop of this program that hangs, never something elsewhere.
	Live bool
	// Startup says that startup is not over until the check has passed once.
	Startup bool
	// TTL is how long a result holds: within it, whoever asks gets the same. Zero
	// means [DefaultTTL]; a negative value means that it holds for those only who
	// wait for it.
	TTL time.Duration
	// Timeout is the time after which the check has failed. Zero means
	// [DefaultTimeout].
	Timeout time.Duration
}

// RegistryOptions are the settings of a [Registry]. The zero value of each field is
// its default.
type RegistryOptions struct {
	// Name is the name of the registry in metrics and logs: 1 to 64 printable ASCII
	// characters. Zero means "default".
	Name string
	// DrainWait is the time that Drain waits, after readiness has ended, before it
	// shuts down: until every balancer has noticed. Zero means [DefaultDrainWait], a
	// negative value none.
	DrainWait time.Duration
	// Verbose adds the texts of errors to answers. They may name hosts, users and
	// databases: set it where only operators can ask.
	Verbose bool
	// Logger gets each change of the result of a check, failures at Warn, and the
	// beginning of a drain at Info. Nil means silent.
	Logger *slog.Logger
}

// A Registry knows the checks of the program and runs them when it is asked. It
// starts no goroutine before, and none that outlives the call of a check. It is
// safe for concurrent use. Use [NewRegistry].
type Registry struct {
	o      RegistryOptions
	checks []*check

	drainOnce sync.Once
	draining  chan struct{} // closed when Drain is first called
	drainEnd  time.Time     // when its wait is over; valid once draining is closed
}

// NewRegistry returns a registry of checks, of which there may be none. Nil options
// are the defaults. The error names every element and field that is not valid.
func NewRegistry(checks []Check, o *RegistryOptions) (*Registry, error) {
	if o == nil {
		o = &RegistryOptions{}
	}
	r := &Registry{o: *o, draining: make(chan struct{})}
	r.o.Name = cmp.Or(o.Name, "default")
	r.o.DrainWait = max(cmp.Or(o.DrainWait, DefaultDrainWait), 0)
	var errs []error
	if err := option.CheckName("RegistryOptions.Name", r.o.Name); err != nil {
		errs = append(errs, fmt.Errorf("health: %w", err))
	}
	index := make(map[string]int, len(checks))
	for i, c := range checks {
		errs = append(errs, c.validate(i)...)
		if first, twice := index[c.Name]; twice {
			errs = append(errs, fmt.Errorf("health: checks[%d].Name is %q, want one that no other check has, and checks[%d] has it", i, c.Name, first))
		} else {
			index[c.Name] = i
		}
		c.TTL = cmp.Or(c.TTL, DefaultTTL)
		c.Timeout = cmp.Or(c.Timeout, DefaultTimeout)
		r.checks = append(r.checks, &check{
			Check:   c,
			stats:   CheckStats{Name: c.Name},
			changed: func(from, to State, err error) { r.log(c.Name, from, to, err) },
		})
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return r, nil
}

// validate returns an error for each field that is not valid.
func (c *Check) validate(i int) (errs []error) {
	// The draft separates the parts of a name by a colon.
	if option.CheckName("", c.Name) != nil || strings.Contains(c.Name, ":") {
		errs = append(errs, fmt.Errorf("health: checks[%d].Name is %q, want 1 to %d printable ASCII characters without a colon", i, c.Name, option.MaxName))
	}
	if c.Probe == nil {
		errs = append(errs, fmt.Errorf("health: checks[%d].Probe is nil, want a function", i))
	}
	if c.Informative && (c.Live || c.Startup) {
		errs = append(errs, fmt.Errorf("health: checks[%d].Informative is set, want it without Live and Startup", i))
	}
	if c.Timeout < 0 {
		errs = append(errs, fmt.Errorf("health: checks[%d].Timeout is %v, want >= 0", i, c.Timeout))
	}
	return errs
}

// log writes a line about a change of the result of a check.
func (r *Registry) log(name string, from, to State, err error) {
	if r.o.Logger == nil || from == Unknown && to == Healthy {
		return // it is as one expects
	}
	level := slog.LevelInfo
	attrs := []slog.Attr{
		slog.String("registry", r.o.Name), slog.String("check", name),
		slog.String("from", from.String()), slog.String("to", to.String()),
	}
	if err != nil {
		level = slog.LevelWarn
		attrs = append(attrs, slog.Any("error", err))
	}
	r.o.Logger.LogAttrs(context.Background(), level, "result of a health check changed", attrs...)
}

// verdict is the answer to one question, with the results it rests on.
type verdict struct {
	draining bool
	results  []result
}

// result is the result of one check.
type result struct {
	check *check
	err   error
	at    time.Time
}

// status is one of the three of draft-inadarei-api-health-check-06, section 3.1.
type status uint8

const (
	pass status = iota
	warn
	fail
)

func (s status) String() string { return [...]string{"pass", "warn", "fail"}[s] }

// status returns what a result is on its own.
func (r result) status() status {
	switch {
	case r.err == nil:
		return pass
	case r.check.Informative:
		return warn
	}
	return fail
}

// status returns the worst of all.
func (v verdict) status() status {
	worst := pass
	if v.draining {
		worst = fail
	}
	for _, r := range v.results {
		worst = max(worst, r.status())
	}
	return worst
}

// evaluate runs the checks that are chosen, all at once.
func (r *Registry) evaluate(ctx context.Context, chosen func(*check) bool) verdict {
	var v verdict
	var runs []*checkRun
	for _, c := range r.checks {
		if chosen(c) {
			run, at, last := c.start(ctx)
			runs = append(runs, run)
			v.results = append(v.results, result{check: c, err: last, at: at})
		}
	}
	for i, run := range runs {
		if run != nil {
			v.results[i].err = v.results[i].check.wait(ctx, run)
			v.results[i].at = time.Now()
		}
	}
	return v
}

// ready evaluates readiness, which while draining is no question.
func (r *Registry) ready(ctx context.Context) verdict {
	if r.Draining() {
		return verdict{draining: true}
	}
	v := r.evaluate(ctx, func(*check) bool { return true })
	v.draining = r.Draining() // since
	return v
}

// live evaluates liveness.
func (r *Registry) live(ctx context.Context) verdict {
	return r.evaluate(ctx, func(c *check) bool { return c.Live })
}

// started evaluates startup. A check that has passed once is not asked again.
func (r *Registry) started(ctx context.Context) verdict {
	return r.evaluate(ctx, func(c *check) bool { return c.Startup && !c.passed.Load() })
}

// Readiness returns nil if the program is ready, after running the checks whose last
// result does not hold any more. Otherwise the error matches [ErrDraining],
// [ErrFailing] together with the errors of all critical checks that fail, or that of
// ctx if it ended before.
func (r *Registry) Readiness(ctx context.Context) error {
	v := r.ready(ctx)
	if v.draining {
		return ErrDraining
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("health: %w", err)
	}
	errs := []error{ErrFailing}
	for _, result := range v.results {
		if result.status() == fail {
			errs = append(errs, fmt.Errorf("health: check %q: %w", result.check.Name, result.err))
		}
	}
	if len(errs) == 1 {
		return nil
	}
	return errors.Join(errs...)
}

// RegistryStats are counts since NewRegistry and states at this moment.
type RegistryStats struct {
	// Draining is true once Drain was called.
	Draining bool
	// Checks are the figures of all checks, in the order in which they were given.
	Checks []CheckStats
}

// Stats returns a snapshot. It runs no check.
func (r *Registry) Stats() RegistryStats {
	stats := RegistryStats{Draining: r.Draining(), Checks: make([]CheckStats, 0, len(r.checks))}
	for _, c := range r.checks {
		stats.Checks = append(stats.Checks, c.snapshot())
	}
	return stats
}
