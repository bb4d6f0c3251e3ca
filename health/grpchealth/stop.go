package grpchealth

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/grpc"
)

// stopGrace is how long a server that is stopped may take to close its connections.
const stopGrace = 500 * time.Millisecond

// GracefulStop returns a function for [health.Registry.Drain] that stops a server:
// it accepts nothing more and waits for the calls in progress. If ctx ends before
// they have, it cuts them off, and the error says so; it does not wait for handlers
// that ignore that.
func GracefulStop(s *grpc.Server) func(ctx context.Context) error {
	return func(ctx context.Context) error {
		graceful := make(chan struct{})
		go func() {
			defer close(graceful)
			s.GracefulStop()
		}()
		select {
		case <-graceful:
			return nil
		case <-ctx.Done():
		}
		// Stop may wait for the lock that GracefulStop holds while handlers run.
		stopped := make(chan struct{})
		go func() {
			defer close(stopped)
			s.Stop()
		}()
		grace := time.NewTimer(stopGrace)
		defer grace.Stop()
		select {
		case <-stopped:
		case <-grace.C:
		}
		return fmt.Errorf("grpchealth: calls were cut off: %w", ctx.Err())
	}
}
