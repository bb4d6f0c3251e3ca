package ladder

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/uprung/uprung/internal/memnet"
)

// memory is a network without a kernel, for bubbles.
func memory() (func() (net.Listener, error), dialFunc) {
	network := &memnet.Network{}
	return func() (net.Listener, error) { return network.Listen(), nil }, network.DialContext
}

// inMemory makes a climb run in a bubble.
func inMemory(c Config) Config {
	c.Listen, c.Dial = memory()
	return c
}

// counts describes a record without all its latencies.
func counts(r *Record) string {
	return fmt.Sprintf("%d offered, %d served, %d refused, %d failed", r.Offered, r.Served, r.Refused, r.Failed)
}

// A slow or absent answer is charged to every request that was due, though no
// other had been sent yet: latency counts from the schedule.
func TestLatencyCountsFromTheSchedule(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := testRung()
		r.Handler = func(with bool) (http.Handler, error) {
			if !with {
				return NewOrigin(10, 20*time.Millisecond, 100)
			}
			return NewOrigin(1, 20*time.Millisecond, 1e6) // half of what is offered
		}
		c := inMemory(Config{Rungs: []*Rung{r}, Duration: 20 * time.Second, Seed: 3})
		start := time.Now()
		outcomes, err := c.Climb(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if took := time.Since(start); took > c.Duration {
			t.Errorf("took %v, want at most %v", took, c.Duration)
		}
		o := outcomes[0]
		if got := o.Before.Latency(99); got != 20*time.Millisecond {
			t.Errorf("within the capacity: p99 is %v, want 20ms", got)
		}
		if got := o.Before.Lateness; got != 0 {
			t.Errorf("lateness is %v, want 0", got)
		}
		if o.Before.Goodput() != 1 || !(o.After.Goodput() < 0.3) {
			t.Errorf("goodput is %v and %v, want 1 and little", o.Before.Goodput(), o.After.Goodput())
		}
		// The same schedule twice.
		if o.Before.Offered != o.After.Offered || o.After.Failed != o.After.Offered-o.After.Served {
			t.Errorf("records are %s and %s", counts(o.Before), counts(o.After))
		}
		if got := o.After.Latency(99); got != DefaultPatience {
			t.Errorf("beyond the capacity: p99 is %v, want %v", got, DefaultPatience)
		}
		if o.Entries[0].OK {
			t.Errorf("the promise was kept: %+v", o.Entries[0])
		}
	})
}

// A client waits for as long as its rung says, and that is what a failure counts.
func TestPatience(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const patience = 300 * time.Millisecond
		r := testRung()
		r.Patience = patience
		r.Handler = func(bool) (http.Handler, error) {
			return http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }), nil
		}
		if want := 2 * (r.Settle + r.Window + patience); r.Least() != want {
			t.Errorf("it takes at least %v, want %v", r.Least(), want)
		}
		c := inMemory(Config{Rungs: []*Rung{r}, Duration: r.Least(), Seed: 1})
		start := time.Now()
		outcomes, err := c.Climb(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if took := time.Since(start); took > c.Duration {
			t.Errorf("took %v, want at most %v", took, c.Duration)
		}
		record := outcomes[0].Before
		if record.Offered == 0 || record.Failed != record.Offered || record.Latency(1) != patience || record.Latency(99) != patience {
			t.Errorf("record is %s, latency %v; want all failed after %v", counts(record), record.Latency(1), patience)
		}
	})
}

// What exceeds the bound of requests in flight is a failure, not a gap.
func TestTooManyInFlight(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		inFlight, most := 0, 0
		hang := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			mu.Lock()
			inFlight++
			most = max(most, inFlight)
			mu.Unlock()
			<-r.Context().Done()
			mu.Lock()
			inFlight--
			mu.Unlock()
		})
		r := testRung()
		r.Streams[0].PerSecond = maxInFlight // for longer than a second of patience
		r.Handler = func(bool) (http.Handler, error) { return hang, nil }
		c := inMemory(Config{Rungs: []*Rung{r}, Duration: r.Least(), Seed: 1})
		outcomes, err := c.Climb(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		record := outcomes[0].Before
		if record.Offered == 0 || record.Failed != record.Offered || record.Latency(50) != DefaultPatience {
			t.Errorf("record is %s, want all failed", counts(record))
		}
		if most == 0 || most > maxInFlight {
			t.Errorf("%d requests were in flight, want 1 to %d", most, maxInFlight)
		}
	})
}

func TestResults(t *testing.T) {
	t.Parallel()
	for code, want := range map[int]result{
		200: served, 204: served, 301: failed, 404: failed, 429: refused, 500: failed, 502: failed, 503: refused,
	} {
		synctest.Test(t, func(t *testing.T) {
			listen, dial := memory()
			listener, err := listen()
			if err != nil {
				t.Fatal(err)
			}
			server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Header.Get(TenantField) != "a" || r.URL.Path != "/item/7" {
					t.Errorf("request is for %q by %q", r.URL.Path, r.Header.Get(TenantField))
				}
				w.WriteHeader(code)
			})}
			go func() { _ = server.Serve(listener) }() // ends with Close
			defer server.Close()
			m := &monitor{}
			g := newGenerator(dial, "http://"+listener.Addr().String(), &Rung{Streams: []Stream{{Tenant: "a"}}}, m)
			samples, err := g.send(t.Context(), []arrival{{at: time.Second, key: 7}})
			if err != nil || samples[0] != (sample{result: want, latency: samples[0].latency}) {
				t.Errorf("status %d gives %+v, %v; want %d", code, samples, err, want)
			}
			if c, _ := m.take(); c.offered != 1 || c.ended[want] != 1 {
				t.Errorf("status %d is counted as %+v", code, c)
			}
		})
	}
}

func TestProgress(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := testRung()
		var all []Progress
		c := inMemory(Config{Rungs: []*Rung{r}, Duration: r.Least(), Seed: 1, Report: func(p Progress) { all = append(all, p) }})
		if _, err := c.Climb(t.Context()); err != nil {
			t.Fatal(err)
		}
		if len(all) < 6 { // of 2s, every half second, in each half; at the end of a half it is a race
			t.Fatalf("%d reports, want 6 to 8", len(all))
		}
		sent := 0.0
		for _, p := range all {
			if p.Rung != r || p.Elapsed > p.Length || p.Settling != (p.Elapsed <= r.Settle) || p.Refused != 0 || p.Failed != 0 {
				t.Errorf("progress is %+v", p)
			}
			sent += p.Offered / float64(len(all))
		}
		if sent < 70 || sent > 130 {
			t.Errorf("%.0f offered per second, want about 100", sent)
		}
		if first, last := all[0], all[len(all)-1]; first.With || !last.With || last.P99 != 20*time.Millisecond {
			t.Errorf("first is %+v, last is %+v", first, last)
		}
	})
}

func TestClimbEndsWithItsContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		one, two := testRung(), testRung()
		c := inMemory(Config{Rungs: []*Rung{one, two}, Duration: one.Least() + two.Least()})
		ctx, cancel := context.WithTimeout(t.Context(), one.Least())
		defer cancel()
		start := time.Now()
		outcomes, err := c.Climb(ctx)
		if !errors.Is(err, context.DeadlineExceeded) || len(outcomes) != 1 || outcomes[0].Rung != one {
			t.Errorf("got %d outcomes, %v; want the first rung's, %v", len(outcomes), err, context.DeadlineExceeded)
		}
		if got := time.Since(start); got != one.Least() {
			t.Errorf("ended after %v, want %v", got, one.Least())
		}
	})
}

func TestClimbReportsWhatCannotBeSetUp(t *testing.T) {
	t.Parallel()
	r := testRung()
	r.Handler = func(bool) (http.Handler, error) { return nil, io.ErrUnexpectedEOF }
	c := Config{Rungs: []*Rung{r}, Duration: r.Least()}
	if _, err := c.Climb(t.Context()); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("got %v, want that of Handler", err)
	}
}
