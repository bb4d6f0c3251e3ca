package ladder

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"
)

const (
	// TenantField is the header field that says whose a request is.
	TenantField = "X-Tenant"

	// DefaultPatience is how long a client waits for an answer unless its rung says
	// otherwise.
	DefaultPatience = 2 * time.Second

	// maxInFlight bounds the requests in flight, and with them connections and
	// goroutines. One that would exceed it fails.
	maxInFlight = 512
)

// generator sends the requests of a schedule to a server.
type generator struct {
	client  *http.Client
	base    string // URL without a path
	rung    *Rung
	monitor *monitor
}

func newGenerator(dial dialFunc, base string, r *Rung, m *monitor) *generator {
	return &generator{
		client: &http.Client{Transport: &http.Transport{
			DialContext:         dial,
			DisableCompression:  true,
			MaxIdleConns:        maxInFlight,
			MaxIdleConnsPerHost: maxInFlight, // a connection that is closed for being idle costs the next request a handshake
		}},
		base:    base,
		rung:    r,
		monitor: m,
	}
}

// send sends every request at its instant after now and returns what became of
// them, when all have ended. It returns early with the error of ctx.
func (g *generator) send(ctx context.Context, arrivals []arrival) ([]sample, error) {
	samples := make([]sample, len(arrivals))
	places := make(chan struct{}, maxInFlight)
	start := time.Now()
	tick := time.NewTimer(0)
	defer tick.Stop()
	var inFlight sync.WaitGroup
	defer g.client.CloseIdleConnections()
	defer inFlight.Wait()
	for i, a := range arrivals {
		scheduled := start.Add(a.at)
		if wait := time.Until(scheduled); wait > 0 {
			tick.Reset(wait)
			select {
			case <-tick.C:
			case <-ctx.Done():
			}
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		g.monitor.offer()
		samples[i].late = time.Since(scheduled)
		select {
		case places <- struct{}{}:
		default:
			g.finish(a, &samples[i], failed, 0)
			continue
		}
		inFlight.Go(func() {
			outcome := g.request(ctx, a, scheduled)
			latency := time.Since(scheduled)
			<-places
			g.finish(a, &samples[i], outcome, latency)
		})
	}
	inFlight.Wait()
	return samples, ctx.Err()
}

// request sends one request and reads its answer.
func (g *generator) request(ctx context.Context, a arrival, scheduled time.Time) result {
	ctx, cancel := context.WithDeadline(ctx, scheduled.Add(g.rung.patience()))
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("%s/item/%d", g.base, a.key), nil)
	if err != nil {
		return failed
	}
	req.Header.Set(TenantField, g.rung.Streams[a.stream].Tenant)
	resp, err := g.client.Do(req)
	if err != nil {
		return failed
	}
	_, err = io.Copy(io.Discard, resp.Body)
	_ = resp.Body.Close() // the body has been read or has failed already
	switch code := resp.StatusCode; {
	case err != nil:
		return failed
	case code >= 200 && code <= 299:
		return served
	case code == http.StatusTooManyRequests || code == http.StatusServiceUnavailable:
		return refused
	}
	return failed
}

func (g *generator) finish(a arrival, s *sample, outcome result, latency time.Duration) {
	if outcome == failed {
		latency = g.rung.patience()
	}
	s.result, s.latency = outcome, latency
	g.monitor.finish(outcome, latency, g.rung.Streams[a.stream].Judged)
}

type dialFunc = func(ctx context.Context, network, address string) (net.Conn, error)
