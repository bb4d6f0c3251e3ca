//go:build linux

package lb

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"runtime"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/uprung/uprung/integration/fleet"
	"github.com/uprung/uprung/lb"
	"github.com/uprung/uprung/lb/pick"
)

func TestMain(m *testing.M) {
	fleet.Main(m, func(l net.Listener, s *fleet.Service) error {
		mux := http.NewServeMux()
		mux.Handle(fleet.WorkPath, s)
		mux.HandleFunc(eventsPath, serveEvents)
		return (&http.Server{Handler: mux}).Serve(l)
	})
}

const (
	// factor is by how much what is measured may differ from what is foretold.
	factor = 2
	// fewErrors is a share of errors that is as good as none.
	fewErrors = 0.001
	// worse is by how much round robin is.
	worse = 3
	// tries is how often a plan is carried out on a machine that is too busy.
	tries = 2
)

// shape is at two fifths of the capacity, which is half of what is left while four
// servers are out; in requests a second it is little, so that the processors are not
// what is measured.
func shape() fleet.Shape {
	lasts := 16 * time.Second
	if os.Getenv("UPRUNG_FULL_MODELS") == "1" {
		lasts = time.Minute
	}
	return fleet.Shape{Lasts: lasts, Clients: 10, Rate: 400, Work: 40 * time.Millisecond}
}

// Faults of real processes cost clients what the simulation foretells, and round robin
// much more. The simulation is fair because all that decides is the same: the balancers,
// the requests and their times, the faults and the way a server works; it leaves out
// what is small on a machine that is not busy, which is the processors' time and
// starting a process.
func TestRealProcesses(t *testing.T) {
	p := shape().Plan(fleet.Seed())
	t.Log(p)
	before := runtime.NumGoroutine()
	ours, ok := compare(t, "default", p, nil)
	theirs, okToo := compare(t, "round robin", p, &lb.Options{Policy: pick.RoundRobin{}})
	checkNothingRuns(t, before)
	if !ok || !okToo {
		t.Skip("this machine is too busy, times were not all judged: run it alone")
	}
	if theirs.P99 < worse*ours.P99 {
		t.Errorf("p99 is %v, and %v with round robin, want %d times as much at least", ours.P99, theirs.P99, worse)
	}
}

// compare carries out a plan with real processes, and compares that to what is
// foretold. If they differ, and requests were sent later than is small beside what is
// measured, the machine is too busy to tell.
func compare(t *testing.T, name string, p *fleet.Plan, o *lb.Options) (got fleet.Result, ok bool) {
	t.Helper()
	foretold := simulate(t, p, o)
	t.Logf("%s: foretold %v", name, foretold)
	for range tries {
		got = measure(t, p, o)
		t.Logf("%s: measured %v", name, got)
		err := differ(got, foretold)
		if err == nil {
			return got, true
		}
		if got.Late <= foretold.P99/10 {
			t.Errorf("%s: %v; errors:%s", name, err, got.Reasons())
			return got, true
		}
	}
	return got, false
}

// differ returns how a result differs from what is foretold.
func differ(got, want fleet.Result) error {
	var errs []error
	if got.P99 > factor*want.P99 || factor*got.P99 < want.P99 {
		errs = append(errs, fmt.Errorf("p99 is %v, want %v within a factor of %d", got.P99, want.P99, factor))
	}
	if got, want := got.ErrorShare(), want.ErrorShare(); got > factor*want+fewErrors || factor*(got+fewErrors) < want {
		errs = append(errs, fmt.Errorf("errors are %.4f of all, want %.4f within a factor of %d", got, want, factor))
	}
	return errors.Join(errs...)
}

// newBalancers returns one for each client of a plan.
func newBalancers(tb testing.TB, p *fleet.Plan, addrs []string, o *lb.Options) []*lb.Balancer {
	tb.Helper()
	balancers := make([]*lb.Balancer, p.Clients)
	for i := range balancers {
		var err error
		if balancers[i], err = lb.New(lb.Addrs(addrs...), o); err != nil {
			tb.Fatal(err)
		}
	}
	return balancers
}

// newClients returns a client over each balancer.
func newClients(balancers []*lb.Balancer, base http.RoundTripper) []*http.Client {
	clients := make([]*http.Client, len(balancers))
	for i, b := range balancers {
		clients[i] = &http.Client{Transport: b.Transport(base)}
	}
	return clients
}

// simulate returns what a plan comes to with a model.
func simulate(t *testing.T, p *fleet.Plan, o *lb.Options) (r fleet.Result) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		m := fleet.NewModel()
		clients := newClients(newBalancers(t, p, m.Addrs(), o), m)
		var err error
		if r, err = p.Run(m, fleet.Patience, fleet.SendHTTP(clients)); err != nil {
			t.Error(err)
		}
		m.Wait()
	})
	return r
}

// measure carries out a plan with processes, of which the first has a stream of each
// client open all the time.
func measure(t *testing.T, p *fleet.Plan, o *lb.Options) fleet.Result {
	t.Helper()
	f := fleet.Start(t)
	streaming := f.Addrs()[0]
	var options lb.Options
	if o != nil {
		options = *o
	}
	var opened atomic.Bool
	options.Eligible = func(id string) bool { return opened.Load() || id == streaming }
	balancers := newBalancers(t, p, f.Addrs(), &options)
	clients := newClients(balancers, nil)
	streams := make([]*stream, len(clients))
	for i, c := range clients {
		streams[i] = openStream(t, c)
		defer c.CloseIdleConnections()
	}
	opened.Store(true)

	start := time.Now()
	r, err := p.Run(f, fleet.Patience, fleet.SendHTTP(clients))
	if err != nil {
		t.Error(err)
	}
	lasted := time.Since(start)
	checkShares(t, f.Addrs()[:fleet.Untouched], balancers)
	for _, s := range streams {
		s.close(t, lasted)
	}
	checkNothingInFlight(t, balancers)
	return r
}

// checkShares checks that the first endpoint, which has the streams, gets as much of
// what balancers pick as the others that had no faults.
func checkShares(t *testing.T, untouched []string, balancers []*lb.Balancer) {
	t.Helper()
	picked := map[string]float64{}
	for _, b := range balancers {
		for _, e := range b.Stats().Endpoints {
			picked[e.Addr] += float64(e.Picked)
			if open := e.InFlight == 1; open != (e.Addr == untouched[0]) {
				t.Errorf("%s has %d requests in progress, and the stream is at %s", e.Addr, e.InFlight, untouched[0])
			}
		}
	}
	others := 0.0
	for _, addr := range untouched[1:] {
		others += picked[addr] / float64(len(untouched)-1)
	}
	share := picked[untouched[0]] / others
	t.Logf("the server of the streams gets %.0f requests, %.2f times as many as its equals", picked[untouched[0]], share)
	if share < 0.75 || share > 1/0.75 {
		t.Errorf("the server of the streams gets %.0f requests, its equals %.0f on average, want about as many", picked[untouched[0]], others)
	}
}

// checkNothingInFlight checks that balancers know of the end of all requests, soon: that
// of one whose context ended is noted beside.
func checkNothingInFlight(t *testing.T, balancers []*lb.Balancer) {
	t.Helper()
	open := func() (errs []error) {
		for i, b := range balancers {
			for _, e := range b.Stats().Endpoints {
				if ended := e.Successes + e.Failures + e.Overloads + e.Ignored; e.InFlight != 0 || e.Picked != ended {
					errs = append(errs, fmt.Errorf("balancer %d, endpoint %s: %d picked, %d ended, %d in flight", i, e.ID, e.Picked, ended, e.InFlight))
				}
			}
		}
		return errs
	}
	eventually(func() bool { return len(open()) == 0 })
	if err := errors.Join(open()...); err != nil {
		t.Error(err)
	}
}

// checkNothingRuns checks that there are soon no more goroutines than before.
func checkNothingRuns(t *testing.T, before int) {
	t.Helper()
	if !eventually(func() bool { return runtime.NumGoroutine() <= before }) {
		stacks := make([]byte, 1<<20)
		t.Errorf("%d goroutines are left, there were %d:\n%s", runtime.NumGoroutine(), before, stacks[:runtime.Stack(stacks, true)])
	}
}

// eventually reports whether something comes true within a few seconds.
func eventually(is func() bool) bool {
	for range 500 {
		if is() {
			return true
		}
		time.Sleep(10 * time.Millisecond)
	}
	return false
}
