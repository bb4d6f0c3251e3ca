//go:build linux

package retry

import (
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/uprung/uprung/integration/fleet"
	"github.com/uprung/uprung/lb"
	"github.com/uprung/uprung/retry"
)

func TestMain(m *testing.M) {
	fleet.Main(m, func(l net.Listener, s *fleet.Service) error {
		return (&http.Server{Handler: s}).Serve(l)
	})
}

// Requests survive what befalls four of twenty servers at a time.
func TestRealProcesses(t *testing.T) {
	for _, tt := range []struct {
		name    string
		clients int
		rate    float64 // of each client
		options retry.Options
	}{
		{"20 a second", 10, 20, retry.Options{AttemptTimeout: fleet.AttemptTimeout}},
		{"20 a second, hedged", 10, 20, retry.Options{AttemptTimeout: fleet.AttemptTimeout, HedgeAt: 0.95}},
		{"80 a second, hedged", 5, 80, retry.Options{AttemptTimeout: fleet.AttemptTimeout, HedgeAt: 0.95}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := fleet.Shape{Lasts: 12 * time.Second, Clients: tt.clients, Rate: tt.rate * float64(tt.clients), Work: 20 * time.Millisecond}
			survive(t, s.Plan(fleet.Seed()), &tt.options)
		})
	}
}

// Requests survive that nineteen of twenty servers are killed at the same time and stay
// away: also those that were in flight.
func TestOneOfTwentyIsLeft(t *testing.T) {
	s := fleet.Shape{Lasts: 7 * time.Second, Clients: 10, Rate: 200, Work: 2 * time.Millisecond}
	survive(t, s.OneLeft(fleet.Seed()), &retry.Options{AttemptTimeout: fleet.AttemptTimeout})
}

// survive carries out a plan with a retrier over a balancer for each client.
func survive(t *testing.T, p *fleet.Plan, o *retry.Options) {
	t.Helper()
	f := fleet.Start(t)
	clients := make([]*http.Client, p.Clients)
	retriers := make([]*retry.Retrier, p.Clients)
	for i := range clients {
		b, err := lb.New(lb.Addrs(f.Addrs()...), nil)
		if err != nil {
			t.Fatal(err)
		}
		if retriers[i], err = retry.New(o); err != nil {
			t.Fatal(err)
		}
		clients[i] = &http.Client{Transport: retriers[i].Transport(b.Transport(nil))}
		defer clients[i].CloseIdleConnections()
	}
	fleet.Survive(t, p, f, retriers, fleet.SendHTTP(clients))
}
