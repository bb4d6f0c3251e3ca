package ladder

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"
)

// Node is one of the servers of a [Cluster].
type Node struct {
	// Handler is what it serves.
	Handler http.Handler
	// Down and Up are when the server is killed and when it is back, in parts of the
	// length of a half: 0 < Down < Up < 1. Zero in both means that it is always there.
	Down, Up float64
}

// Cluster is several servers, each with a listener of its own, for a handler that
// sends requests on to them. It is embedded in the handler of a rung, which starts
// them before its half and stops them after. Use [NewCluster].
//
// A server that is killed closes its listener and resets its connections, and what it
// has not answered is lost; later it is back at the same address. It is safe for
// concurrent use.
type Cluster struct {
	// Ending is called when the half ends, however that is. Nil calls nothing.
	Ending func()

	nodes []*node

	// Set by start.
	listen func() (net.Listener, error)
	dial   dialFunc
	faults context.Context //nolint:containedctx // what requests to the last server are to meet; it never ends

	outages, serving sync.WaitGroup

	mu   sync.Mutex
	errs []error // guarded by mu
}

// node is a server that comes and goes.
type node struct {
	Node
	addr string // by which it is known

	mu     sync.Mutex
	at     string       // where it listens, or did last; guarded by mu
	server *http.Server // nil before the first; guarded by mu
}

// staged is a handler that embeds a Cluster.
type staged interface {
	start(ctx context.Context, length time.Duration, listen func() (net.Listener, error), dial dialFunc) error
	close() error
}

// NewCluster returns a cluster of these servers. The error names every bad field.
func NewCluster(nodes ...Node) (*Cluster, error) {
	c := &Cluster{}
	var errs []error
	for i, n := range nodes {
		if n.Handler == nil {
			errs = append(errs, fmt.Errorf("ladder: nodes[%d].Handler is nil", i))
		}
		if always := n.Down == 0 && n.Up == 0; !always && !(0 < n.Down && n.Down < n.Up && n.Up < 1) {
			errs = append(errs, fmt.Errorf("ladder: nodes[%d] is down from %v to %v, want 0 < Down < Up < 1", i, n.Down, n.Up))
		}
		c.nodes = append(c.nodes, &node{Node: n, addr: fmt.Sprintf("node-%d:80", i)})
	}
	return c, errors.Join(errs...)
}

// Addrs returns the addresses of the servers, by which DialContext knows them:
// node-0:80 and so on, before they run, while they do, and whether they are down.
func (c *Cluster) Addrs() []string {
	addrs := make([]string, len(c.nodes))
	for i, n := range c.nodes {
		addrs[i] = n.addr
	}
	return addrs
}

// DialContext connects to the server at one of Addrs. To one that is down the
// connection is refused, by the network.
func (c *Cluster) DialContext(ctx context.Context, network, addr string) (net.Conn, error) {
	for _, n := range c.nodes {
		if n.addr != addr {
			continue
		}
		n.mu.Lock()
		at := n.at
		n.mu.Unlock()
		if at != "" {
			return c.dial(ctx, network, at)
		}
	}
	return nil, fmt.Errorf("ladder: no server runs at %q", addr)
}

// start starts the servers, and what is to happen to them until ctx is done. After an
// error too, close is to be called.
func (c *Cluster) start(ctx context.Context, length time.Duration, listen func() (net.Listener, error), dial dialFunc) error {
	c.listen, c.dial, c.faults = listen, dial, context.WithoutCancel(ctx)
	for _, n := range c.nodes {
		if err := c.raise(n); err != nil {
			return err
		}
	}
	for _, n := range c.nodes {
		if n.Up > 0 {
			down, up := time.Duration(n.Down*float64(length)), time.Duration(n.Up*float64(length))
			c.outages.Go(func() { c.outage(ctx, n, down, up) })
		}
	}
	return nil
}

// outage kills a server and has it back.
func (c *Cluster) outage(ctx context.Context, n *node, down, up time.Duration) {
	if sleep(ctx, down) != nil {
		return
	}
	c.note(n.kill())
	if sleep(ctx, up-down) != nil {
		return
	}
	c.note(c.raise(n))
}

// raise starts a server at a free address.
func (c *Cluster) raise(n *node) error {
	listener, err := c.listen()
	if err != nil {
		return err
	}
	server := &http.Server{Handler: n.Handler, ReadHeaderTimeout: DefaultPatience, BaseContext: base(c.faults, n == c.nodes[len(c.nodes)-1])}
	n.mu.Lock()
	n.at, n.server = listener.Addr().String(), server
	n.mu.Unlock()
	c.serving.Go(func() {
		if err := server.Serve(resetting{listener}); !errors.Is(err, http.ErrServerClosed) {
			c.note(err)
		}
	})
	return nil
}

// kill ends a server at once.
func (n *node) kill() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.server == nil {
		return nil
	}
	return n.server.Close()
}

// note keeps an error for close to return.
func (c *Cluster) note(err error) {
	if err == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.errs = append(c.errs, err)
}

// close stops the servers, once the context of start is done, and returns all that
// went wrong with them.
func (c *Cluster) close() error {
	if c.Ending != nil {
		c.Ending()
	}
	c.outages.Wait()
	for _, n := range c.nodes {
		c.note(n.kill())
	}
	c.serving.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	return errors.Join(c.errs...)
}

// resetting is a listener whose connections end with a reset, where the network knows
// such a thing: in good order would be too kind.
type resetting struct{ net.Listener }

func (l resetting) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0) // fails on a connection that has ended already
	}
	return conn, err
}

// sleep waits, at most until ctx is done.
func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
