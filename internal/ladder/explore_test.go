package ladder

import (
	"context"
	"errors"
	"net/http"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// While a rung is explored the technique is switched on and off, and faults come and go,
// of which the figures tell at once.
func TestExplore(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := testRung()
		r.Handler = func(with bool) (http.Handler, error) {
			origin, err := NewOrigin(10, 20*time.Millisecond, 100)
			if with || err != nil {
				return origin, err
			}
			return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTooManyRequests) }), nil
		}
		var with, broken atomic.Bool
		var last atomic.Pointer[Progress]
		c := inMemory(Config{Seed: 1, Report: func(p Progress) { last.Store(&p) }, Faults: func(next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if broken.Load() {
					w.WriteHeader(http.StatusInternalServerError)
					return
				}
				next.ServeHTTP(w, r)
			})
		}})
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- c.Explore(ctx, r, 30*time.Second, with.Load) }()
		look := func(what string, want func(Progress) bool) {
			t.Helper()
			time.Sleep(2 * time.Second)
			synctest.Wait()
			if p := last.Load(); p == nil || p.Rung != r || p.With != with.Load() || !want(*p) {
				t.Errorf("%s: %+v", what, p)
			}
		}
		refused := func(p Progress) bool { return p.Refused > 0 && p.Served == 0 && p.Failed == 0 }
		served := func(p Progress) bool { return p.Served > 0 && p.Refused == 0 && p.Failed == 0 }
		look("without", refused)
		with.Store(true)
		look("with", served)
		broken.Store(true)
		look("broken", func(p Progress) bool { return p.Failed > 0 && p.Served == 0 })
		broken.Store(false)
		time.Sleep(time.Minute)
		look("in another round", served)
		with.Store(false)
		look("without again", refused)
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("it ends with %v", err)
		}
		r.Window = 0
		if err := c.Explore(t.Context(), r, time.Second, with.Load); err == nil {
			t.Error("a rung that is not valid is explored")
		}
	})
}

// Of a cluster only the last server meets the faults.
func TestFaultsMeetTheLastServer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := testRung()
		var reached [3]atomic.Int64
		r.Handler = func(bool) (http.Handler, error) {
			var nodes []Node
			for range 3 {
				origin, err := NewOrigin(100, time.Millisecond, 100)
				if err != nil {
					return nil, err
				}
				nodes = append(nodes, Node{Handler: origin})
			}
			cluster, err := NewCluster(nodes...)
			return &inTurn{Cluster: cluster, reached: &reached}, err
		}
		c := inMemory(Config{Rungs: []*Rung{r}, Duration: 20 * time.Second, Seed: 1, Faults: func(http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) })
		}})
		outcomes, err := c.Climb(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		got := outcomes[0].After
		if share := float64(got.Failed) / float64(got.Offered); share < 0.3 || share > 0.37 {
			t.Errorf("%s: want a third to fail", counts(got))
		}
	})
}

// inTurn passes requests to the servers of a cluster in turn.
type inTurn struct {
	*Cluster
	next    atomic.Int64
	reached *[3]atomic.Int64
}

func (i *inTurn) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	at := int(i.next.Add(1)) % 3
	i.reached[at].Add(1)
	out, err := http.NewRequestWithContext(r.Context(), http.MethodGet, "http://"+i.Addrs()[at], nil)
	if err != nil {
		return
	}
	transport := &http.Transport{DialContext: i.DialContext, DisableKeepAlives: true}
	resp, err := transport.RoundTrip(out)
	if err != nil {
		w.WriteHeader(http.StatusBadGateway)
		return
	}
	_ = resp.Body.Close()
	w.WriteHeader(resp.StatusCode)
}
