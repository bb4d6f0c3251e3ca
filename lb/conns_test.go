package lb

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/uprung/uprung"
)

// The connections to an endpoint that is gone are closed, at once or when their last
// request is over: also one of HTTP/2, which goes on being used as long as it has any.
func TestConnectionsOfARemovedEndpoint(t *testing.T) {
	t.Parallel()
	for name, http2 := range map[string]bool{"HTTP/1": false, "HTTP/2": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				protocols := new(http.Protocols)
				protocols.SetHTTP1(!http2)
				protocols.SetUnencryptedHTTP2(http2)
				hold := make(chan struct{})
				var open atomic.Int64 // to the old one
				f := &fleet{prepare: func(s *http.Server) {
					s.Protocols = protocols
					s.ConnState = func(_ net.Conn, state http.ConnState) {
						switch state {
						case http.StateNew:
							open.Add(1)
						case http.StateClosed:
							open.Add(-1)
						}
					}
				}}
				f.add(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if r.URL.Path == "/slow" {
						_ = http.NewResponseController(w).Flush()
						<-hold
					}
				}))
				f.prepare = func(s *http.Server) { s.Protocols = protocols }
				f.add(t, named("new"))
				r := &changing{endpoints: Addrs(f.addrs[0])}
				b := mustNew(t, r, nil)
				base := &http.Transport{DialContext: f.network.DialContext, Protocols: protocols}
				c := client(t, b.Transport(base))
				slow, err := c.Get("http://orders/slow")
				if err != nil {
					t.Fatal(err)
				}
				get(t, c, "http://orders/")
				r.set(nil, Addrs(f.addrs[1])...)
				if err := b.resolve(t.Context(), false); err != nil {
					t.Fatal(err)
				}
				get(t, c, "http://orders/")
				time.Sleep(time.Minute)
				if got := open.Load(); got != 1 {
					t.Errorf("%d connections while a request is in progress, want one", got)
				}
				close(hold)
				_, _ = io.Copy(io.Discard, slow.Body)
				_ = slow.Body.Close()
				time.Sleep(lingers)
				synctest.Wait()
				if got := open.Load(); got != 0 {
					t.Errorf("%d connections after the last request, want none", got)
				}
			})
		})
	}
}

// What else is said of an endpoint than its address closes no connection.
func TestConnectionsOutliveAChangedWeight(t *testing.T) {
	t.Parallel()
	addr := serve(t, named("a"))
	var dialled atomic.Int64
	r := &changing{}
	b := mustNew(t, r, nil)
	c := client(t, b.Transport(&http.Transport{DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
		dialled.Add(1)
		return new(net.Dialer).DialContext(ctx, network, addr)
	}}))
	for i := range 5 {
		r.set(nil, Endpoint{Addr: addr, Weight: i + 1})
		if err := b.resolve(t.Context(), false); err != nil {
			t.Fatal(err)
		}
		get(t, c, "http://orders/")
	}
	if n := dialled.Load(); n != 1 {
		t.Errorf("%d connections for 5 requests one after the other, want 1", n)
	}
}

// A base that dials TLS itself is given the address of the endpoint, and the name in the
// URL is for it to verify.
func TestDialTLSContextGetsTheAddress(t *testing.T) {
	t.Parallel()
	server := httptest.NewTLSServer(named("tls"))
	defer server.Close()
	addr := server.Listener.Addr().String()
	got := ""
	base := &http.Transport{DialTLSContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
		got = addr
		d := tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true}} // the test is of the address
		return d.DialContext(ctx, network, addr)
	}}
	c := client(t, mustNew(t, Static{{Addr: addr, Host: "own.example"}}, nil).Transport(base))
	if code, body := get(t, c, "https://orders/"); code != http.StatusOK || body != "tls" || got != addr {
		t.Errorf("got %d %q from %q, want 200 tls from %s", code, body, got, addr)
	}
}

// A base that returns nothing at all is at fault, and nobody else.
func TestBaseThatReturnsNothing(t *testing.T) {
	t.Parallel()
	b := mustNew(t, Addrs("a:80"), nil)
	resp, err := b.Transport(roundTripper(func(*http.Request) (*http.Response, error) { return nil, nil })).
		RoundTrip(httptest.NewRequest(http.MethodGet, "/", nil))
	if resp != nil || err == nil {
		t.Errorf("got %v, %v, want an error", resp, err)
	}
	if s := b.Stats().Endpoints[0]; s.InFlight != 0 || s.Failures != 1 {
		t.Errorf("stats are %+v, want a failure", s)
	}
}

// A redirect leads on by the name of the service, and not by an address.
func TestResponseHasTheRequestAsItWas(t *testing.T) {
	t.Parallel()
	request := httptest.NewRequest(http.MethodGet, "http://orders/a/b", nil)
	resp, err := mustNew(t, Addrs("10.0.0.1:80"), nil).Transport(roundTripper(func(r *http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: http.StatusFound, Header: http.Header{"Location": {"/c"}}, Body: http.NoBody, Request: r}, nil
	})).RoundTrip(request)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if to, err := resp.Location(); err != nil || to.String() != "http://orders/c" || resp.Request != request {
		t.Errorf("it leads to %v, %v, want http://orders/c", to, err)
	}
}

// An upgraded connection that ends with its caller's time is no failure of the endpoint.
func TestUpgradedConnectionRunsOutOfTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			if conn := takeOver(t, w); conn != nil {
				_, _ = io.Copy(io.Discard, conn)
				_ = conn.Close()
			}
		}))
		c, b := f.client(t, nil)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://orders/", nil)
		if err != nil {
			t.Fatal(err)
		}
		request.Header = http.Header{"Connection": {"Upgrade"}, "Upgrade": {"x"}}
		resp, err := c.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		<-ctx.Done()
		synctest.Wait()
		_ = resp.Body.Close()
		if s := b.Stats().of(t, f.addrs[0]); s.Failures != 0 || s.Ignored != 1 || s.InFlight != 0 {
			t.Errorf("stats are %+v, want the request %v", s, uprung.Ignored)
		}
	})
}
