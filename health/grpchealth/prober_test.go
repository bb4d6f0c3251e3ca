package grpchealth

import (
	"context"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/uprung/uprung/health"
	"github.com/uprung/uprung/internal/memnet"
)

// dials counts the connections of a prober.
type dials struct {
	memnet.Network
	made atomic.Int64
	open atomic.Int64
	down atomic.Bool // refuse everything
}

type dialled struct {
	net.Conn
	once sync.Once
	d    *dials
}

func (c *dialled) Close() error {
	c.once.Do(func() { c.d.open.Add(-1) })
	return c.Conn.Close()
}

func (d *dials) newProber(t *testing.T, o *ProberOptions) *Prober {
	t.Helper()
	p, err := NewProber([]grpc.DialOption{
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, addr string) (net.Conn, error) {
			if d.down.Load() {
				return nil, syscall.ECONNREFUSED
			}
			conn, err := d.DialContext(ctx, "tcp", addr)
			if err != nil {
				return nil, err
			}
			d.made.Add(1)
			d.open.Add(1)
			return &dialled{Conn: conn, d: d}, nil
		}),
	}, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Close() })
	return p
}

func TestProbe(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var d dials
		s, _, check := newServer(t, &ServerOptions{Services: []string{"app.v1.Carts"}})
		_, addr := serve(t, &d.Network, s)
		for service, wants := range map[string][2]string{
			"":              {"", "grpchealth: status is NOT_SERVING, want SERVING"},
			"app.v1.Carts":  {"", "grpchealth: status is NOT_SERVING, want SERVING"},
			"app.v1.Orders": {"grpchealth: rpc error: code = NotFound desc = unknown service", "grpchealth: rpc error: code = NotFound desc = unknown service"},
		} {
			p := d.newProber(t, &ProberOptions{Service: service})
			for i, want := range wants {
				check.fails.Store(i == 1)
				got := ""
				if err := p.Probe(t.Context(), addr); err != nil {
					got = err.Error()
				}
				if got != want {
					t.Errorf("service %q, fails %v: %q, want %q", service, i == 1, got, want)
				}
			}
		}
		if d.made.Load() != 3 {
			t.Errorf("%d connections by three probers, want 3: an answer is no reason to dial anew", d.made.Load())
		}
	})
}

func TestProberReusesAndCloses(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var d dials
		s, _, _ := newServer(t, nil)
		var addrs []string
		for range 3 {
			_, addr := serve(t, &d.Network, s)
			addrs = append(addrs, addr)
		}
		p := d.newProber(t, nil)
		for range 10 {
			for _, addr := range addrs {
				if err := p.Probe(t.Context(), addr); err != nil {
					t.Fatal(err)
				}
			}
		}
		if d.made.Load() != 3 || d.open.Load() != 3 {
			t.Errorf("%d connections were made and %d are open, want one for each address", d.made.Load(), d.open.Load())
		}
		for range 2 {
			if err := p.Close(); err != nil {
				t.Error(err)
			}
		}
		synctest.Wait()
		if d.open.Load() != 0 {
			t.Errorf("%d connections are open after Close", d.open.Load())
		}
		if err := p.Probe(t.Context(), addrs[0]); err == nil {
			t.Error("a probe after Close returned nil")
		}
	})
}

func TestProberIsBounded(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var d dials
		s, _, _ := newServer(t, nil)
		var addrs []string
		for range 6 {
			_, addr := serve(t, &d.Network, s)
			addrs = append(addrs, addr)
		}
		p := d.newProber(t, &ProberOptions{MaxConns: 3})
		probe := func(i int) {
			t.Helper()
			if err := p.Probe(t.Context(), addrs[i]); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		for _, i := range []int{0, 1, 2, 0, 3} { // 1 was used least recently
			probe(i)
		}
		if d.open.Load() != 3 || len(p.conns) != 3 || p.conns[addrs[1]] != nil {
			t.Errorf("%d connections are open, want 3 without the one used least recently", d.open.Load())
		}
		// All in use: the others get one of their own, which does not stay.
		slow := &slowService{begun: make(chan struct{}), takes: time.Second}
		var slowAddrs []string
		for range 5 {
			_, addr := serve(t, &d.Network, slow)
			slowAddrs = append(slowAddrs, addr)
		}
		var all sync.WaitGroup
		for _, addr := range slowAddrs {
			all.Go(func() {
				if err := p.Probe(t.Context(), addr); err != nil {
					t.Error(err)
				}
			})
		}
		for range slowAddrs {
			<-slow.begun
		}
		if d.open.Load() != 5 || len(p.conns) != 3 {
			t.Errorf("%d connections are open and %d are kept, want 5 and 3", d.open.Load(), len(p.conns))
		}
		all.Wait()
		synctest.Wait()
		if d.open.Load() != 3 {
			t.Errorf("%d connections are open in the end, want 3", d.open.Load())
		}
	})
}

// A server that is back is found by the next probe, whatever the backoff of the
// connection would be.
func TestProberFindsAServerThatIsBack(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var d dials
		s, _, _ := newServer(t, nil)
		_, addr := serve(t, &d.Network, s)
		p := d.newProber(t, nil)
		d.down.Store(true)
		for range 20 { // by then gRPC would wait for two minutes between attempts
			start := time.Now()
			err := p.Probe(t.Context(), addr)
			if took := time.Since(start); err == nil || !strings.Contains(err.Error(), "refused") || took != 0 {
				t.Fatalf("error %v after %v, want at once that the connection is refused", err, took)
			}
			time.Sleep(5 * time.Second)
		}
		d.down.Store(false)
		if err := p.Probe(t.Context(), addr); err != nil {
			t.Errorf("error %v, want none", err)
		}
	})
}

func TestMonitorOverGRPC(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var d dials
		s, _, check := newServer(t, nil)
		_, addr := serve(t, &d.Network, s)
		p := d.newProber(t, nil)
		m, err := health.NewMonitor(p, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := m.SetTargets([]health.Target{{ID: "a", Addr: addr}, {ID: "b", Addr: "127.0.0.1:1"}}); err != nil {
			t.Fatal(err)
		}
		running(t, m.Run)
		var got []string
		for i := range 3 {
			check.fails.Store(i == 1)
			time.Sleep(time.Minute)
			got = append(got, fmt.Sprint(m.View().State("a"), " ", m.View().State("b")))
		}
		if want := "[healthy unhealthy unhealthy unhealthy healthy unhealthy]"; fmt.Sprint(got) != want {
			t.Errorf("states are %v, want %v", got, want)
		}
	})
}
