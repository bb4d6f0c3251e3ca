package main

import (
	"cmp"
	"context"
	"io"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/uprung/uprung/breaker"
	"github.com/uprung/uprung/client"
	"github.com/uprung/uprung/internal/ladder"
	"github.com/uprung/uprung/lb"
	"github.com/uprung/uprung/ratelimit"
	"github.com/uprung/uprung/retry"
)

// outageScale is how much faster everything is than in the story: an outage of ten
// seconds, attempts of one and clients that wait for three, at a service that is used to
// four fifths of what it can do.
const outageScale = 7

// scaled returns a time of the story as it is in the rung.
func scaled(d time.Duration) time.Duration { return d / outageScale }

const (
	outageWorkers  = 4
	outageService  = 20 * time.Millisecond
	outageQueue    = 140               // 0.7 s of work, which are five of the story
	outageInFlight = 3 * outageWorkers // with a limit

	outageOffered = outageWorkers * int(time.Second/outageService) * 8 / 10

	outageAttempts = 3
	outageSlot     = time.Second // of the story: recovery is known to so much
	outageLasting  = 3           // slots in a row, of whose requests
	outageWell     = 0.8         // are served: a machine that is starved may lose some

	recovery = "recovery_s"
)

var (
	outageBegins = scaled(3 * time.Second)
	outageEnds   = outageBegins + scaled(10*time.Second)
	outageLength = outageEnds + scaled(7*time.Second)
)

// outage is the rung of package client. A service calls a dependency, which hangs for ten
// seconds, in fast motion, and then is well again.
//
// Without the technique, the service has an http.Client with a timeout for each of three
// attempts. When the dependency goes on it has a queue of requests that nobody waits for
// any more, and gets three for each that is new: it serves none in time, and so it
// remains.
//
// With package client as it is by default, but in fast motion, and a limit of what the
// dependency has in progress, little is sent while it hangs, and it has little to catch
// up with.
//
// It promises that it is well again within three seconds, and in half of the time that it
// takes without, which is all there is.
func outage() *ladder.Rung {
	return &ladder.Rung{
		Name: "outage",
		Story: "a dependency hangs for ten seconds, here in fast motion; package client stops calling, finds out that it " +
			"is over and goes on, where three attempts for everything bury it for good.",
		Judged:   "all",
		Streams:  []ladder.Stream{{Tenant: "all", PerSecond: float64(outageOffered), Keys: 1000, Judged: true}},
		Settle:   scaled(time.Second),
		Window:   outageLength - scaled(time.Second),
		Patience: scaled(3 * time.Second),
		Handler:  newOutage,
		Promises: []ladder.Promise{{
			Metric: recovery, Title: "seconds until it is well again, as in an outage of ten", Better: ladder.Lower, Format: "%.1f s",
			Of:     func(r *ladder.Record) float64 { return r.Figures[recovery] },
			Factor: 0.5, After: 3,
		}},
	}
}

// caller is a service that asks a dependency for whatever it is asked for.
type caller struct {
	*ladder.Cluster
	client *http.Client

	mu    sync.Mutex
	begun time.Time // of the first request; guarded by mu
	slots []outcomes
}

// outcomes are those of the requests that came in a slot.
type outcomes struct{ arrived, served int }

func newOutage(with bool) (http.Handler, error) {
	h := &caller{}
	origin, err := ladder.NewOrigin(outageWorkers, outageService, outageQueue)
	if err != nil {
		return nil, err
	}
	var dependency http.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if since := h.since(); since >= outageBegins && since < outageEnds {
			time.Sleep(outageEnds - since) // and then the work is done, whoever has left
		}
		origin.ServeHTTP(w, r)
	})
	if with {
		limit, err := ratelimit.NewConcurrency(ratelimit.AtMost(outageInFlight), &ratelimit.ConcurrencyOptions{Name: "dependency"})
		if err != nil {
			return nil, err
		}
		dependency = limit.Middleware(dependency)
	}
	if h.Cluster, err = ladder.NewCluster(ladder.Node{Handler: dependency}); err != nil {
		return nil, err
	}
	base := &http.Transport{DialContext: h.DialContext, MaxIdleConnsPerHost: 256}
	attempt, total := scaled(time.Second), scaled(3*time.Second)
	if !with {
		base.DialContext = func(ctx context.Context, network, _ string) (net.Conn, error) {
			return h.DialContext(ctx, network, h.Addrs()[0])
		}
		h.client = &http.Client{Transport: &again{&http.Client{Transport: base, Timeout: attempt}}, Timeout: total}
		return h, nil
	}
	transport, err := client.NewTransport(lb.Addrs(h.Addrs()...), &client.Options{
		Name: "dependency", Base: base, Deadline: total, AttemptTimeout: attempt,
		Retry:    &retry.Options{Backoff: scaled(100 * time.Millisecond), MaxBackoff: scaled(2 * time.Second)},
		Breaker:  &breaker.Options{Window: scaled(10 * time.Second), OpenFor: scaled(time.Second), OpenMax: scaled(30 * time.Second)},
		Throttle: &breaker.ThrottleOptions{Window: scaled(time.Second)},
		LB:       &lb.Options{SlowStart: scaled(10 * time.Second), Outlier: lb.Outlier{Ejection: scaled(3 * time.Second)}},
	})
	h.client = &http.Client{Transport: transport}
	return h, err
}

// again is how a request is often repeated.
type again struct{ client *http.Client }

func (a *again) RoundTrip(r *http.Request) (resp *http.Response, err error) {
	for range outageAttempts {
		if resp, err = a.client.Do(r); err == nil && resp.StatusCode == http.StatusOK {
			break
		}
		if err == nil {
			_ = resp.Body.Close()
		}
	}
	return resp, err
}

// since returns the time since the first request.
func (h *caller) since() time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.begun.IsZero() {
		h.begun = time.Now()
	}
	return time.Since(h.begun)
}

// ServeHTTP asks the dependency.
func (h *caller) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	at := int(h.since() / scaled(outageSlot))
	served := h.ask(r)
	h.mu.Lock()
	for len(h.slots) <= at {
		h.slots = append(h.slots, outcomes{})
	}
	h.slots[at].arrived++
	if served {
		h.slots[at].served++
	}
	h.mu.Unlock()
	if !served {
		http.Error(w, "the dependency has not answered", http.StatusBadGateway)
	}
}

// ask sends the request on, and reports whether it was answered.
func (h *caller) ask(r *http.Request) bool {
	out, err := http.NewRequestWithContext(r.Context(), http.MethodGet, "http://dependency"+r.URL.Path, nil)
	if err != nil {
		return false
	}
	resp, err := h.client.Do(out)
	if err != nil {
		return false
	}
	_, err = io.Copy(io.Discard, resp.Body)
	return cmp.Or(err, resp.Body.Close()) == nil && resp.StatusCode == http.StatusOK
}

// Figures returns how long it took until the service was well again, in the time of the
// story. If it never was, it is all the time that there was.
func (h *caller) Figures() map[string]float64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	from := int(outageEnds / scaled(outageSlot))
	for i := from; i+outageLasting <= len(h.slots); i++ {
		var sum outcomes
		for _, s := range h.slots[i : i+outageLasting] {
			sum.arrived += s.arrived
			sum.served += s.served
		}
		if float64(sum.served) >= outageWell*float64(sum.arrived) {
			return map[string]float64{recovery: float64(i-from) * outageSlot.Seconds()}
		}
	}
	return map[string]float64{recovery: float64(max(len(h.slots)-from, 0)) * outageSlot.Seconds()}
}
