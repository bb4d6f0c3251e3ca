package grpchealth

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health/grpc_health_v1"

	"github.com/uprung/uprung/internal/memnet"
)

func TestTrap35WatchSendsTheCurrentStateAtOnce(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var network memnet.Network
		s, _, check := newServer(t, nil)
		_, addr := serve(t, &network, s)
		c := client(t, &network, addr)
		for _, tt := range []struct {
			fails bool
			want  grpc_health_v1.HealthCheckResponse_ServingStatus
		}{{false, serving}, {true, notServing}, {false, serving}} {
			check.fails.Store(tt.fails)
			watcher := updates(t, c, "")
			start := time.Now()
			if got, ok := next(t, watcher, time.Minute); !ok || got != tt.want || time.Since(start) != 0 {
				t.Errorf("a watcher is sent %v (%v) after %v, want %v at once", got, ok, time.Since(start), tt.want)
			}
		}
	})
}

func TestTrap35WatchOfAnUnregisteredServiceStaysOpen(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var network memnet.Network
		s, _, check := newServer(t, &ServerOptions{Services: []string{"app.v1.Carts"}})
		_, addr := serve(t, &network, s)
		c := client(t, &network, addr)
		running(t, s.Run)
		registered, unregistered := updates(t, c, "app.v1.Carts"), updates(t, c, "app.v1.Orders")
		if got, _ := next(t, registered, time.Second); got != serving {
			t.Errorf("the registered service is %v, want %v", got, serving)
		}
		if got, _ := next(t, unregistered, time.Second); got != unknown {
			t.Errorf("the unregistered service is %v, want %v", got, unknown)
		}
		check.fails.Store(true)
		if got, _ := next(t, registered, 2*time.Second); got != notServing {
			t.Errorf("the registered service is %v, want %v", got, notServing)
		}
		if got, ok := next(t, unregistered, time.Hour); ok { // which fails if the stream ends
			t.Errorf("the unregistered service is %v, want nothing new", got)
		}
	})
}

// slowStream is a watcher that takes its time to receive.
type slowStream struct {
	grpc.ServerStream
	ctx  func() context.Context
	sent chan grpc_health_v1.HealthCheckResponse_ServingStatus // unbuffered
}

func (s *slowStream) Context() context.Context { return s.ctx() }

func (s *slowStream) Send(r *grpc_health_v1.HealthCheckResponse) error {
	s.sent <- r.GetStatus()
	return nil
}

func TestTrap35SlowWatcherGetsTheLatestState(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s, _, check := newServer(t, nil)
		ctx, cancel := context.WithCancel(t.Context())
		stream := &slowStream{
			ctx:  func() context.Context { return ctx },
			sent: make(chan grpc_health_v1.HealthCheckResponse_ServingStatus),
		}
		ended := make(chan error)
		go func() { ended <- s.Watch(&grpc_health_v1.HealthCheckRequest{}, stream) }()
		synctest.Wait() // until it is sent the first state
		running(t, s.Run)
		for i := range 20 { // while nothing is received, and nobody waits for that
			check.fails.Store(i%2 == 0)
			time.Sleep(2 * time.Second)
		}
		check.fails.Store(true)
		time.Sleep(2 * time.Second)
		var got []grpc_health_v1.HealthCheckResponse_ServingStatus
		for done := false; !done; {
			select {
			case state := <-stream.sent:
				got = append(got, state)
				synctest.Wait()
			case <-time.After(time.Minute):
				done = true
			}
		}
		if len(got) != 2 || got[0] != serving || got[1] != notServing {
			t.Errorf("a slow watcher is sent %v, want the first state and the latest", got)
		}
		cancel()
		<-ended
	})
}
