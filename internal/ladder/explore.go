package ladder

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"
)

// Faults puts something before servers of limited capacity, such as the middleware of an
// injector of package chaos: before the last server of a [Cluster], and before an [Origin]
// that a rung has without one.
type Faults func(http.Handler) http.Handler

type faultsKey struct{}

// withFaults returns a context whose requests meet faults.
func withFaults(ctx context.Context, f Faults) context.Context {
	return context.WithValue(ctx, faultsKey{}, f)
}

// faultsOf returns what withFaults was given, or nil.
func faultsOf(ctx context.Context) Faults {
	f, _ := ctx.Value(faultsKey{}).(Faults)
	return f
}

// base returns the context of a server's requests: it has the faults of ctx, and does not
// end with it.
func base(ctx context.Context, faulty bool) func(net.Listener) context.Context {
	f := faultsOf(ctx)
	return func(net.Listener) context.Context {
		if f == nil || !faulty {
			return context.Background()
		}
		return withFaults(context.Background(), f)
	}
}

// Explore has a rung run round by round until ctx ends, whose error it returns: with the
// technique whenever with says so at the moment of a request, and without it otherwise.
// Report is told of each, and Progress.With is what with says then. A round takes at
// least as long as the rung needs, and begins anew whatever happens in it.
func (c *Config) Explore(ctx context.Context, r *Rung, round time.Duration, with func() bool) error {
	if err := r.validate(); err != nil {
		return err
	}
	length := max(round, r.Settle+r.Window)
	both := *r
	both.Handler = func(bool) (http.Handler, error) {
		without, err := r.Handler(false)
		if err != nil {
			return nil, err
		}
		having, err := r.Handler(true)
		if err != nil {
			return nil, err
		}
		return &switched{with: with, without: without, having: having}, nil
	}
	own := *c
	if c.Report != nil {
		own.Report = func(p Progress) {
			p.Rung, p.With = r, with()
			c.Report(p)
		}
	}
	for seed := c.Seed; ; seed++ {
		if _, err := own.half(ctx, &both, true, schedule(r.Streams, seed, length), length); err != nil {
			return err
		}
	}
}

// switched passes each request to one of two handlers.
type switched struct {
	with            func() bool
	without, having http.Handler
}

// ServeHTTP passes a request on.
func (s *switched) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if s.with() {
		s.having.ServeHTTP(w, r)
	} else {
		s.without.ServeHTTP(w, r)
	}
}

// start starts the servers of both, where they have some.
func (s *switched) start(ctx context.Context, length time.Duration, listen func() (net.Listener, error), dial dialFunc) error {
	for _, h := range []http.Handler{s.without, s.having} {
		if h, ok := h.(staged); ok {
			if err := h.start(ctx, length, listen, dial); err != nil {
				return fmt.Errorf("ladder: %w", err)
			}
		}
	}
	return nil
}

// close stops them.
func (s *switched) close() error {
	var errs []error
	for _, h := range []http.Handler{s.without, s.having} {
		if h, ok := h.(staged); ok {
			errs = append(errs, h.close())
		}
	}
	return errors.Join(errs...)
}
