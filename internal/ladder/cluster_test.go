package ladder

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"slices"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// hello answers at once.
var hello = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello") })

func TestNewClusterNamesEveryBadField(t *testing.T) {
	t.Parallel()
	_, err := NewCluster(
		Node{Handler: hello, Down: 0.5, Up: 0.6},
		Node{Down: 0.5},
		Node{Handler: hello, Up: 0.5},
		Node{Handler: hello, Down: 0.5, Up: 1},
	)
	want := `ladder: nodes[1].Handler is nil
ladder: nodes[1] is down from 0.5 to 0, want 0 < Down < Up < 1
ladder: nodes[2] is down from 0 to 0.5, want 0 < Down < Up < 1
ladder: nodes[3] is down from 0.5 to 1, want 0 < Down < Up < 1`
	if err == nil || err.Error() != want {
		t.Errorf("got %v, want\n%s", err, want)
	}
}

// mustCluster returns a cluster that is known to be valid.
func mustCluster(t *testing.T, nodes ...Node) *Cluster {
	t.Helper()
	c, err := NewCluster(nodes...)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// A server that is down loses what it was asked, refuses connections, and is back at
// the same address.
func TestClusterOutage(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		slow := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			select {
			case <-time.After(600 * time.Millisecond):
				_, _ = io.WriteString(w, "hello")
			case <-r.Context().Done():
			}
		})
		c := mustCluster(t, Node{Handler: slow}, Node{Handler: slow, Down: 0.3, Up: 0.5})
		if got, want := c.Addrs(), []string{"node-0:80", "node-1:80"}; !slices.Equal(got, want) {
			t.Fatalf("addresses are %q, want %q", got, want)
		}
		listen, dial := memory()
		ctx, stop := context.WithCancel(t.Context())
		if err := c.start(ctx, 10*time.Second, listen, dial); err != nil {
			t.Fatal(err)
		}
		client := &http.Client{Transport: &http.Transport{DialContext: c.DialContext, DisableKeepAlives: true}}
		start := time.Now()
		for _, tt := range []struct {
			at     time.Duration // the answer is due 600 ms later
			node   string
			refuse bool
			fails  time.Duration // when; zero if never
		}{
			{0, "node-1:80", false, 0},
			{time.Second, "node-0:80", false, 0},
			{2500 * time.Millisecond, "node-1:80", false, 3 * time.Second},
			{3500 * time.Millisecond, "node-1:80", true, 3500 * time.Millisecond},
			{3600 * time.Millisecond, "node-0:80", false, 0},
			{5 * time.Second, "node-1:80", false, 0},
			{6 * time.Second, "node-2:80", false, 6 * time.Second},
		} {
			time.Sleep(tt.at - time.Since(start))
			synctest.Wait() // for what happens at the same instant
			resp, err := client.Get("http://" + tt.node)
			if err == nil {
				_, err = io.Copy(io.Discard, resp.Body)
				resp.Body.Close()
			}
			if failed := err != nil; failed != (tt.fails > 0) || tt.refuse != errors.Is(err, syscall.ECONNREFUSED) {
				t.Errorf("%s at %v: got %v", tt.node, tt.at, err)
			}
			if got := time.Since(start); tt.fails > 0 && got != tt.fails {
				t.Errorf("%s at %v: failed at %v, want %v", tt.node, tt.at, got, tt.fails)
			}
		}
		stop()
		if err := c.close(); err != nil {
			t.Error(err)
		}
	})
}

// On a real network, connections to a server that is killed are reset.
func TestClusterResets(t *testing.T) {
	t.Parallel()
	asked := make(chan struct{})
	hang := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		close(asked)
		<-r.Context().Done()
	})
	c := mustCluster(t, Node{Handler: hang})
	listen := func() (net.Listener, error) { return net.Listen("tcp", "127.0.0.1:0") }
	if err := c.start(t.Context(), time.Minute, listen, new(net.Dialer).DialContext); err != nil {
		t.Fatal(err)
	}
	conn, err := c.DialContext(t.Context(), "tcp", "node-0:80")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: a\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	<-asked
	if err := c.close(); err != nil {
		t.Fatal(err)
	}
	if n, err := conn.Read(make([]byte, 1)); n != 0 || !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("read %d bytes, %v; want %v", n, err, syscall.ECONNRESET)
	}
	if _, err := c.DialContext(t.Context(), "tcp", "node-0:80"); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("dial: %v, want %v", err, syscall.ECONNREFUSED)
	}
}

// passing is a handler that asks the only server of a cluster.
type passing struct {
	http.Handler
	*Cluster
}

func newPassing(t *testing.T, node Node) passing {
	c := mustCluster(t, node)
	return passing{
		Handler: &httputil.ReverseProxy{
			Rewrite:      func(r *httputil.ProxyRequest) { r.Out.URL.Scheme, r.Out.URL.Host = "http", c.Addrs()[0] },
			Transport:    &http.Transport{DialContext: c.DialContext},
			ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) },
		},
		Cluster: c,
	}
}

// A cluster runs while its half does, and what happens to it happens in every half.
func TestClimbWithCluster(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := testRung()
		var all []passing
		r.Handler = func(bool) (http.Handler, error) {
			p := newPassing(t, Node{Handler: hello, Down: 0.6, Up: 0.7}) // the window is from 0.5
			all = append(all, p)
			return p, nil
		}
		c := inMemory(Config{Rungs: []*Rung{r}, Duration: r.Least(), Seed: 1})
		outcomes, err := c.Climb(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, record := range []*Record{outcomes[0].Before, outcomes[0].After} {
			if got := record.Goodput(); got < 0.7 || got > 0.9 {
				t.Errorf("goodput is %v (%s), want about 0.8", got, counts(record))
			}
		}
		for i, p := range all {
			if _, err := p.DialContext(t.Context(), "tcp", p.Addrs()[0]); !errors.Is(err, syscall.ECONNREFUSED) {
				t.Errorf("half %d: after the end dial returns %v, want %v", i, err, syscall.ECONNREFUSED)
			}
		}
	})
}

// Without a listener nothing starts, and where a server cannot come back, that is
// the error of the half.
func TestClimbReportsClusters(t *testing.T) {
	t.Parallel()
	for _, listeners := range []int{0, 1, 2} { // the server's, the proxy's, the server's again
		synctest.Test(t, func(t *testing.T) {
			r := testRung()
			r.Handler = func(bool) (http.Handler, error) { return newPassing(t, Node{Handler: hello, Down: 0.6, Up: 0.7}), nil }
			c := inMemory(Config{Rungs: []*Rung{r}, Duration: r.Least(), Seed: 1})
			listen := c.Listen
			c.Listen = func() (net.Listener, error) {
				if listeners--; listeners < 0 {
					return nil, io.ErrUnexpectedEOF
				}
				return listen()
			}
			if outcomes, err := c.Climb(t.Context()); !errors.Is(err, io.ErrUnexpectedEOF) || len(outcomes) > 0 {
				t.Errorf("got %d outcomes, %v; want none, %v", len(outcomes), err, io.ErrUnexpectedEOF)
			}
		})
	}
}

func TestDialWithoutServers(t *testing.T) {
	t.Parallel()
	c := mustCluster(t, Node{Handler: hello})
	if conn, err := c.DialContext(t.Context(), "tcp", "node-0:80"); err == nil {
		conn.Close()
		t.Error("connected to a server that was never started")
	}
}
