package lb

import (
	"context"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/uprung/uprung/internal/memnet"
)

// mustNew returns a balancer that is known to be valid.
func mustNew(tb testing.TB, r Resolver, o *Options) *Balancer {
	tb.Helper()
	b, err := New(r, o)
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

// serve starts a server on the loopback interface, and returns its address.
func serve(tb testing.TB, handler http.Handler) (addr string) {
	tb.Helper()
	server := httptest.NewUnstartedServer(handler)
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.Start()
	tb.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://")
}

// named answers with a name.
func named(name string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, name) })
}

// client returns one over base, whose connections are closed in the end.
func client(tb testing.TB, transport http.RoundTripper) *http.Client {
	tb.Helper()
	c := &http.Client{Transport: transport}
	tb.Cleanup(c.CloseIdleConnections)
	return c
}

// get returns status and body.
func get(tb testing.TB, c *http.Client, url string) (int, string) {
	tb.Helper()
	resp, err := c.Get(url)
	if err != nil {
		tb.Fatal(err)
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		tb.Fatal(err)
	}
	_ = resp.Body.Close()
	return resp.StatusCode, string(body)
}

// fleet is a number of servers in memory, for tests in a bubble.
type fleet struct {
	network memnet.Network
	addrs   []string
	servers []*http.Server
	prepare func(*http.Server) // before it starts; nil prepares nothing
}

// newFleet starts a server for each handler. They end with the test.
func newFleet(tb testing.TB, handlers ...http.Handler) *fleet {
	tb.Helper()
	f := &fleet{}
	for _, handler := range handlers {
		f.add(tb, handler)
	}
	return f
}

// add starts one server more and returns its address.
func (f *fleet) add(tb testing.TB, handler http.Handler) string {
	l := f.network.Listen()
	s := &http.Server{Handler: handler, ErrorLog: log.New(io.Discard, "", 0)}
	if f.prepare != nil {
		f.prepare(s)
	}
	go func() { _ = s.Serve(l) }() // ends with Close
	tb.Cleanup(func() { _ = s.Close() })
	f.addrs, f.servers = append(f.addrs, l.Addr().String()), append(f.servers, s)
	return l.Addr().String()
}

// client returns one that is balanced over the fleet, with what balances it.
func (f *fleet) client(tb testing.TB, o *Options) (*http.Client, *Balancer) {
	tb.Helper()
	b := mustNew(tb, Addrs(f.addrs...), o)
	return client(tb, b.Transport(&http.Transport{DialContext: f.network.DialContext})), b
}

// changing is a resolver whose answer tests change.
type changing struct {
	mu        sync.Mutex
	endpoints []Endpoint
	err       error
	calls     int
}

func (c *changing) set(err error, endpoints ...Endpoint) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.endpoints, c.err = endpoints, err
}

func (c *changing) Resolve(context.Context) ([]Endpoint, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.calls++
	return c.endpoints, c.err
}

// start runs b until the test ends, and waits for its end.
func start(t *testing.T, b *Balancer) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- b.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run = %v, want nil", err)
		}
	})
	synctest.Wait()
}

// of returns the figures of an endpoint.
func (s Stats) of(tb testing.TB, id string) EndpointStats {
	tb.Helper()
	for _, e := range s.Endpoints {
		if e.ID == id {
			return e
		}
	}
	tb.Fatalf("no endpoint %q in %+v", id, s.Endpoints)
	return EndpointStats{}
}

// takeOver takes over the connection of a request, as a server that changes protocols.
func takeOver(tb testing.TB, w http.ResponseWriter) net.Conn {
	conn, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		tb.Error(err)
		return nil
	}
	_, _ = rw.WriteString("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n")
	_ = rw.Flush()
	return conn
}
