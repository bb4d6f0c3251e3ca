package memnet

import (
	"context"
	"net"
	"os"
	"sync"
	"syscall"
)

const (
	// firstServerPort and firstClientPort are where a network begins to number its
	// listeners and its dialled connections. The latter is the first of the dynamic
	// ports (RFC 6335, section 6).
	firstServerPort = 8080
	firstClientPort = 49152

	// backlog is how many connections wait to be accepted before the next dial
	// blocks.
	backlog = 128
)

// Network is a set of listeners with addresses of their own, which are dialled by
// them: several servers behind one transport. The zero value is ready. All
// methods are safe for concurrent use.
type Network struct {
	mu        sync.Mutex
	listeners map[string]*Listener // by address; guarded by mu
	opened    int                  // listeners ever made; guarded by mu
	dialled   int                  // connections ever made; guarded by mu
}

// Listen opens a listener on the next port: 127.0.0.1:8080, then 8081 and so on.
func (n *Network) Listen() *Listener {
	n.mu.Lock()
	defer n.mu.Unlock()
	l := &Listener{
		network: n,
		addr:    loopback(firstServerPort + n.opened),
		conns:   make(chan *conn, backlog),
		closed:  make(chan struct{}),
	}
	n.opened++
	if n.listeners == nil {
		n.listeners = make(map[string]*Listener)
	}
	n.listeners[l.addr.String()] = l
	return l
}

// DialContext connects to the listener at address, as returned by the String
// method of its Addr. Without one the connection is refused. See
// [Listener.DialContext].
func (n *Network) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	n.mu.Lock()
	l := n.listeners[address]
	n.mu.Unlock()
	if l == nil {
		return nil, &net.OpError{Op: "dial", Net: network, Err: errRefused}
	}
	return l.DialContext(ctx, network, address)
}

// clientAddr returns an address for the dialling end of a new connection.
func (n *Network) clientAddr() *net.TCPAddr {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.dialled++
	return loopback(firstClientPort + (n.dialled-1)%(1<<16-firstClientPort))
}

func (n *Network) remove(l *Listener) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.listeners, l.addr.String())
}

// Listener is one listening socket of a [Network]. It is made by [Listen] or
// [Network.Listen]. All methods are safe for concurrent use.
type Listener struct {
	network *Network
	addr    *net.TCPAddr
	conns   chan *conn
	once    sync.Once
	closed  chan struct{}
}

var _ net.Listener = (*Listener)(nil)

// Listen opens a listener on a network of its own, at 127.0.0.1:8080.
func Listen() *Listener { return new(Network).Listen() }

// Accept waits for the next connection. After Close its error matches
// [net.ErrClosed].
func (l *Listener) Accept() (net.Conn, error) {
	if !l.isClosed() { // select has no preference
		select {
		case c := <-l.conns:
			return c, nil
		case <-l.closed:
		}
	}
	return nil, l.opError("accept", net.ErrClosed)
}

// Close stops listening. Connections that wait to be accepted are closed, those
// accepted before live on. A second Close is an error.
func (l *Listener) Close() error {
	err := l.opError("close", net.ErrClosed)
	l.once.Do(func() {
		l.network.remove(l)
		close(l.closed)
		l.drain()
		err = nil
	})
	return err
}

// Addr returns the address, a [*net.TCPAddr] with the IP address 127.0.0.1.
func (l *Listener) Addr() net.Addr { return l.addr }

// DialContext connects to l, whatever the address says, so that URLs may have any
// host name. The network is tcp, tcp4 or tcp6. It returns at once unless many
// connections wait to be accepted; then it waits, at most until ctx is done. Once
// l is closed the error matches [syscall.ECONNREFUSED].
func (l *Listener) DialContext(ctx context.Context, network, _ string) (net.Conn, error) {
	fail := func(err error) (net.Conn, error) {
		return nil, &net.OpError{Op: "dial", Net: network, Addr: l.addr, Err: err}
	}
	switch network {
	case "tcp", "tcp4", "tcp6":
	default:
		return fail(net.UnknownNetworkError(network))
	}
	if err := ctx.Err(); err != nil {
		return fail(err)
	}
	if l.isClosed() {
		return fail(errRefused)
	}
	client, server := newConns(l.network.clientAddr(), l.addr)
	select {
	case l.conns <- server:
	case <-l.closed:
		return fail(errRefused)
	case <-ctx.Done():
		return fail(ctx.Err())
	}
	if l.isClosed() {
		// Close may have drained the queue before server came into it.
		l.drain()
	}
	return client, nil
}

func (l *Listener) isClosed() bool {
	select {
	case <-l.closed:
		return true
	default:
		return false
	}
}

// drain closes the connections that nobody will accept.
func (l *Listener) drain() {
	for {
		select {
		case c := <-l.conns:
			_ = c.Close() // nobody else has it
		default:
			return
		}
	}
}

func (l *Listener) opError(op string, err error) error {
	return &net.OpError{Op: op, Net: "tcp", Addr: l.addr, Err: err}
}

var errRefused = os.NewSyscallError("connect", syscall.ECONNREFUSED)

func loopback(port int) *net.TCPAddr {
	return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port}
}
