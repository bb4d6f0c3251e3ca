package ladder

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"
)

// maxDuration bounds Config.Duration: a sample is kept for each request.
const maxDuration = time.Hour

// Config says which rungs to climb, and for how long.
type Config struct {
	// Rungs are measured one after another.
	Rungs []*Rung
	// Duration is the time for all rungs together. Each gets a part in proportion to
	// the least time that it needs. At most an hour.
	Duration time.Duration
	// Seed is that of the schedules.
	Seed uint64
	// Report is called about twice a second, from one goroutine at a time. Nil
	// reports nothing.
	Report func(Progress)

	// Done is called when a rung has been measured. Nil calls nothing.
	Done func(Outcome)

	// Faults go before servers while they run. Nil means that there are none but those of
	// the rungs.
	Faults Faults

	// Listen opens the listeners of servers, and Dial connects to them. Nil means TCP
	// on a free port of the loopback interface.
	Listen func() (net.Listener, error)
	Dial   func(ctx context.Context, network, address string) (net.Conn, error)
}

// Validate returns an error that names every bad field, and for a Duration that is
// too short the sum of what the rungs need.
func (c *Config) Validate() error {
	var errs []error
	if len(c.Rungs) == 0 {
		errs = append(errs, errors.New("ladder: Rungs is empty"))
	}
	for _, r := range c.Rungs {
		errs = append(errs, r.validate())
	}
	if c.Duration > maxDuration {
		errs = append(errs, fmt.Errorf("ladder: Duration is %v, want at most %v", c.Duration, maxDuration))
	}
	if least := c.least(); c.Duration < least {
		var parts []string
		for _, r := range c.Rungs {
			parts = append(parts, fmt.Sprintf("%s %v", r.Name, r.Least()))
		}
		errs = append(errs, fmt.Errorf("ladder: Duration is %v, want at least %v (%s)", c.Duration, least, strings.Join(parts, " + ")))
	}
	return errors.Join(errs...)
}

// least is the sum of what the rungs need.
func (c *Config) least() (sum time.Duration) {
	for _, r := range c.Rungs {
		sum += r.Least()
	}
	return sum
}

// Climb measures each rung, without its technique and then with it. On an error,
// such as that of ctx, it returns the outcomes of the rungs before.
func (c *Config) Climb(ctx context.Context) ([]Outcome, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	stretch := float64(c.Duration) / float64(c.least())
	var outcomes []Outcome
	for _, r := range c.Rungs {
		o := Outcome{Rung: r}
		length := time.Duration(stretch*float64(r.Least()))/2 - r.patience()
		arrivals := schedule(r.Streams, c.Seed, length)
		var err error
		if o.Before, err = c.half(ctx, r, false, arrivals, length); err != nil {
			return outcomes, err
		}
		if o.After, err = c.half(ctx, r, true, arrivals, length); err != nil {
			return outcomes, err
		}
		for i := range r.Promises {
			o.Entries = append(o.Entries, r.Promises[i].judge(r.Name, o.Before, o.After))
		}
		outcomes = append(outcomes, o)
		if c.Done != nil {
			c.Done(o)
		}
	}
	return outcomes, nil
}

// half measures a rung without its technique or with it.
func (c *Config) half(ctx context.Context, r *Rung, with bool, arrivals []arrival, length time.Duration) (record *Record, err error) {
	handler, err := r.Handler(with)
	if err != nil {
		return nil, fmt.Errorf("ladder: rung %q: %w", r.Name, err)
	}
	listen, dial := c.Listen, c.Dial
	if listen == nil {
		listen = func() (net.Listener, error) { return net.Listen("tcp", "127.0.0.1:0") }
	}
	if dial == nil {
		dial = new(net.Dialer).DialContext
	}
	if c.Faults != nil {
		ctx = withFaults(ctx, c.Faults)
	}
	running, stop := context.WithCancel(ctx)
	defer stop()
	if s, ok := handler.(staged); ok {
		defer func() {
			stop()
			if closed := s.close(); err == nil && closed != nil {
				record, err = nil, fmt.Errorf("ladder: rung %q: %w", r.Name, closed)
			}
		}()
		if err := s.start(running, length, listen, dial); err != nil {
			return nil, fmt.Errorf("ladder: rung %q: %w", r.Name, err)
		}
	}
	listener, err := listen()
	if err != nil {
		return nil, fmt.Errorf("ladder: %w", err)
	}
	server := &http.Server{Handler: handler, ReadHeaderTimeout: r.patience(), BaseContext: base(ctx, true)}
	var background sync.WaitGroup
	var ended error // of the server; read after background.Wait
	background.Go(func() { ended = server.Serve(listener) })

	m := &monitor{}
	if c.Report != nil {
		p := Progress{Rung: r, With: with, Length: length}
		background.Go(func() { m.run(running, p, r.Settle, c.Report) })
	}

	g := newGenerator(dial, "http://"+listener.Addr().String(), r, m)
	samples, err := g.send(ctx, arrivals)
	stop()
	closed := server.Close()
	background.Wait()
	if !errors.Is(ended, http.ErrServerClosed) {
		closed = ended
	}
	if err := errors.Join(err, closed); err != nil {
		return nil, err
	}
	record = newRecord(r, arrivals, samples, length)
	if handler, ok := handler.(Figured); ok {
		record.Figures = handler.Figures()
	}
	return record, nil
}
