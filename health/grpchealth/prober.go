package grpchealth

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/uprung/uprung/health"
)

// DefaultMaxConns is the number of connections that a [Prober] keeps by default.
const DefaultMaxConns = 1024

var errClosed = errors.New("grpchealth: prober is closed")

var _ health.Prober = (*Prober)(nil)

// ProberOptions are the settings of a [Prober]. The zero value of each field is its
// default.
type ProberOptions struct {
	// Service is the service to ask for. Zero means the server as a whole.
	Service string
	// MaxConns is the number of connections that are kept. With more addresses than
	// that, those used least recently are closed and dialled again. Zero means
	// [DefaultMaxConns].
	MaxConns int
}

// A Prober asks servers for their state by the Check method of grpc.health.v1. It is
// a [health.Prober], and safe for concurrent use. Use [NewProber], and Close when the
// monitor has ended.
type Prober struct {
	dial []grpc.DialOption
	o    ProberOptions

	mu     sync.Mutex
	conns  map[string]*pooled // guarded by mu
	probes uint64             // begun; guarded by mu
	closed bool               // guarded by mu
}

// pooled is a connection to an address, with fields guarded by the prober's mu.
type pooled struct {
	conn *grpc.ClientConn
	used uint64 // the number of the probe that used it last
	refs int    // probes under way
	kept bool   // in conns; when it is not, the last probe closes it
}

// NewProber returns a prober that dials with the given options, which must choose
// credentials: there is no safe default. Nil options are the defaults. The error
// names everything that is not valid.
func NewProber(dial []grpc.DialOption, o *ProberOptions) (*Prober, error) {
	if o == nil {
		o = &ProberOptions{}
	}
	var errs []error
	if o.MaxConns < 0 {
		errs = append(errs, fmt.Errorf("grpchealth: ProberOptions.MaxConns is %d, want >= 0", o.MaxConns))
	}
	p := &Prober{dial: append([]grpc.DialOption(nil), dial...), o: *o, conns: make(map[string]*pooled)}
	p.o.MaxConns = cmp.Or(o.MaxConns, DefaultMaxConns)
	// A connection is idle until it is used, so that this only checks the options.
	if conn, err := p.newConn("localhost:0"); err != nil {
		errs = append(errs, fmt.Errorf("grpchealth: dial options: %w", err))
	} else {
		errs = append(errs, conn.Close())
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return p, nil
}

// newConn returns a connection that is not dialled yet.
func (p *Prober) newConn(addr string) (*grpc.ClientConn, error) {
	// passthrough hands the address to the dialer as it is: one server is probed, and
	// not whichever of several a name stands for.
	return grpc.NewClient("passthrough:///"+addr, p.dial...)
}

// Probe asks the server at addr. It returns nil if it answers SERVING.
func (p *Prober) Probe(ctx context.Context, addr string) error {
	c, err := p.take(addr)
	if err != nil {
		return err
	}
	answer, err := grpc_health_v1.NewHealthClient(c.conn).Check(ctx, &grpc_health_v1.HealthCheckRequest{Service: p.o.Service})
	p.give(addr, c, reached(err))
	switch {
	case err != nil:
		return fmt.Errorf("grpchealth: %w", err)
	case answer.GetStatus() != grpc_health_v1.HealthCheckResponse_SERVING:
		return fmt.Errorf("grpchealth: status is %v, want SERVING", answer.GetStatus())
	}
	return nil
}

// reached reports whether an answer came over the connection, good or bad.
func reached(err error) bool {
	switch status.Code(err) {
	case codes.OK, codes.NotFound, codes.Unimplemented, codes.PermissionDenied, codes.Unauthenticated:
		return true
	}
	return false
}

// take returns the connection to an address, which give is to be called for.
func (p *Prober) take(addr string) (*pooled, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, errClosed
	}
	p.probes++
	c := p.conns[addr]
	if c == nil {
		conn, err := p.newConn(addr)
		if err != nil {
			return nil, fmt.Errorf("grpchealth: %w", err)
		}
		c = &pooled{conn: conn}
		if len(p.conns) < p.o.MaxConns || p.evict() {
			c.kept, p.conns[addr] = true, c
		}
	}
	c.used = p.probes
	c.refs++
	return c, nil
}

// evict makes room for a connection by closing the one that was used least recently
// of those that are not in use, while mu is held. It returns false if all are in use.
func (p *Prober) evict() bool {
	victim := ""
	var least *pooled
	for addr, c := range p.conns {
		if c.refs == 0 && (least == nil || c.used < least.used) {
			victim, least = addr, c
		}
	}
	if least == nil {
		return false
	}
	p.drop(victim, least)
	return true
}

// drop forgets a connection, and closes it once nobody uses it, while mu is held.
func (p *Prober) drop(addr string, c *pooled) {
	if c.kept {
		c.kept = false
		delete(p.conns, addr)
	}
	if c.refs == 0 {
		_ = c.conn.Close() // it does not block, and fails only if it is closed already
	}
}

// give takes a connection back. One over which nothing came is not used again: it
// might wait for long before it dials anew.
func (p *Prober) give(addr string, c *pooled, works bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	c.refs--
	if !works || !c.kept {
		p.drop(addr, c)
	}
}

// Close closes all connections. Probes under way fail, and so do later ones. It can
// be called again.
func (p *Prober) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	var errs []error
	for addr, c := range p.conns {
		errs = append(errs, c.conn.Close())
		c.kept = false
		delete(p.conns, addr)
	}
	return errors.Join(errs...)
}
