package health

import (
	"context"
	"fmt"
	"net"
)

// Prober finds out whether the server at an address works. Probe returns nil if it
// does, and should return when ctx ends. It is called concurrently for different
// addresses. A Probe that panics counts as failed.
type Prober interface {
	Probe(ctx context.Context, addr string) error
}

// ProberFunc is a function that is a [Prober].
type ProberFunc func(ctx context.Context, addr string) error

// Probe calls the function.
func (f ProberFunc) Probe(ctx context.Context, addr string) error { return f(ctx, addr) }

// Func returns a [Prober] that calls probe whatever the address, for a monitor with
// one target: Func(db.PingContext).
func Func(probe func(ctx context.Context) error) Prober {
	return ProberFunc(func(ctx context.Context, _ string) error { return probe(ctx) })
}

// TCP is a [Prober] that opens a connection and closes it, which shows that
// somebody listens and no more than that. The zero value is ready.
type TCP struct {
	// Dial opens the connection. Nil means that of a zero [net.Dialer].
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)
}

// Probe dials addr.
func (p TCP) Probe(ctx context.Context, addr string) error {
	dial := p.Dial
	if dial == nil {
		dial = new(net.Dialer).DialContext
	}
	conn, err := dial(ctx, "tcp", addr)
	if err != nil {
		return fmt.Errorf("health: %w", err)
	}
	_ = conn.Close() // it was open, and that was the question
	return nil
}
