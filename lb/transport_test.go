package lb

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/uprung/uprung"
	"github.com/uprung/uprung/lb/pick"
	"github.com/uprung/uprung/middlewaretest"
)

// asked answers with what the server was asked for.
func asked(w http.ResponseWriter, r *http.Request) {
	name := ""
	if r.TLS != nil {
		name = r.TLS.ServerName
	}
	_, _ = fmt.Fprintf(w, "%s %s %s", r.Proto, r.Host, name)
}

// The URL names the service; connections go to the endpoint.
func TestTransportProtocols(t *testing.T) {
	t.Parallel()
	h2c := new(http.Protocols)
	h2c.SetUnencryptedHTTP2(true)
	for _, tt := range []struct {
		name     string
		tls      bool
		http2    bool
		protocol *http.Protocols
		endpoint Endpoint
		want     string
	}{
		{"HTTP", false, false, nil, Endpoint{}, "HTTP/1.1 example.com "},
		{"HTTP, host of the endpoint", false, false, nil, Endpoint{Host: "own.example"}, "HTTP/1.1 own.example "},
		{"HTTPS", true, false, nil, Endpoint{}, "HTTP/1.1 example.com example.com"},
		{"HTTPS, host of the endpoint", true, false, nil, Endpoint{Host: "www.example.com"}, "HTTP/1.1 www.example.com www.example.com"},
		{"HTTP/2", true, true, nil, Endpoint{}, "HTTP/2.0 example.com example.com"},
		{"h2c", false, false, h2c, Endpoint{}, "HTTP/2.0 example.com "},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			server := httptest.NewUnstartedServer(http.HandlerFunc(asked))
			defer server.Close()
			base := &http.Transport{Protocols: tt.protocol, ForceAttemptHTTP2: tt.http2}
			scheme := "http"
			if tt.protocol != nil {
				server.Config.Protocols = tt.protocol
			}
			if server.EnableHTTP2 = tt.http2; tt.tls {
				scheme = "https"
				server.StartTLS()
				// Valid for example.com and *.example.com.
				roots := x509.NewCertPool()
				roots.AddCert(server.Certificate())
				base.TLSClientConfig = &tls.Config{RootCAs: roots}
			} else {
				server.Start()
			}
			tt.endpoint.Addr = server.Listener.Addr().String()
			c := client(t, mustNew(t, Static{tt.endpoint}, nil).Transport(base))
			for range 3 {
				if code, body := get(t, c, scheme+"://example.com/"); code != 200 || body != tt.want {
					t.Errorf("got %d %q, want 200 %q", code, body, tt.want)
				}
			}
		})
	}
}

// Another base than http.Transport gets the address in the URL.
func TestTransportOverAnyBase(t *testing.T) {
	t.Parallel()
	type seen struct{ url, host string }
	var got []seen
	base := roundTripper(func(r *http.Request) (*http.Response, error) {
		got = append(got, seen{r.URL.String(), r.Host})
		return &http.Response{StatusCode: 200, Header: http.Header{}, Body: http.NoBody, Request: r}, nil
	})
	for _, endpoint := range []Endpoint{{Addr: "10.0.0.1:80"}, {Addr: "10.0.0.1:80", Host: "own.example"}} {
		rt := mustNew(t, Static{endpoint}, nil).Transport(base)
		request := httptest.NewRequest(http.MethodGet, "http://orders/42", nil)
		request.Host = ""
		if _, err := rt.RoundTrip(request); err != nil {
			t.Fatal(err)
		}
		if request.URL.Host != "orders" || request.Host != "" {
			t.Errorf("the request was changed: %v, %q", request.URL, request.Host)
		}
	}
	want := []seen{{"http://10.0.0.1:80/42", "orders"}, {"http://10.0.0.1:80/42", "own.example"}}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("the base got %v, want %v", got, want)
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// The old ways to dial are honoured.
func TestTransportKeepsDialers(t *testing.T) {
	t.Parallel()
	addr := serve(t, named("a"))
	server := httptest.NewTLSServer(named("tls"))
	defer server.Close()
	var dialled atomic.Int64
	count := func(network, addr string) (net.Conn, error) {
		dialled.Add(1)
		return net.Dial(network, addr)
	}
	secure := func(network, addr string) (net.Conn, error) {
		dialled.Add(1)
		return tls.Dial(network, addr, &tls.Config{InsecureSkipVerify: true}) // the test is of who dials
	}
	for name, tt := range map[string]struct {
		base *http.Transport
		url  string
		addr string
	}{
		"DialContext":    {&http.Transport{DialContext: func(_ context.Context, n, a string) (net.Conn, error) { return count(n, a) }}, "http://x/", addr},
		"Dial":           {&http.Transport{Dial: count}, "http://x/", addr}, //nolint:staticcheck // deprecated, and still honoured
		"DialTLSContext": {&http.Transport{DialTLSContext: func(_ context.Context, n, a string) (net.Conn, error) { return secure(n, a) }}, "https://x/", server.Listener.Addr().String()},
		"DialTLS":        {&http.Transport{DialTLS: secure}, "https://x/", server.Listener.Addr().String()}, //nolint:staticcheck // as above
	} {
		before := dialled.Load()
		if code, _ := get(t, client(t, mustNew(t, Addrs(tt.addr), nil).Transport(tt.base)), tt.url); code != 200 || dialled.Load() != before+1 {
			t.Errorf("%s: got %d after %d calls, want 200 after 1", name, code, dialled.Load()-before)
		}
	}
}

func TestTransportRefuses(t *testing.T) {
	t.Parallel()
	b := mustNew(t, Addrs("a:80"), &Options{Name: "orders", Eligible: func(string) bool { return false }, RetryAfter: 7 * time.Second})
	_, err := client(t, b.Transport(nil)).Get("http://orders/")
	rejection, ok := errors.AsType[*uprung.Rejection](err)
	if !ok || !errors.Is(err, ErrNoEndpoint) || rejection.Kind != uprung.KindBalance || rejection.Name != "orders" || rejection.RetryAfter != 7*time.Second {
		t.Errorf("Get = %v, want a rejection", err)
	}
}

// Requests to an endpoint that is gone finish, and no other goes there.
func TestTrap17Removal(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		hold := make(chan struct{})
		f := newFleet(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/slow" {
				<-hold
			}
			_, _ = io.WriteString(w, "old")
		}), named("new"))
		r := &changing{endpoints: Addrs(f.addrs[0])}
		b := mustNew(t, r, nil)
		start(t, b)
		c := client(t, b.Transport(&http.Transport{DialContext: f.network.DialContext}))
		slow := make(chan string)
		go func() {
			_, body := get(t, c, "http://orders/slow")
			slow <- body
		}()
		synctest.Wait()
		r.set(nil, Addrs(f.addrs[1])...)
		time.Sleep(34 * time.Second)
		for range 20 {
			if _, body := get(t, c, "http://orders/"); body != "new" {
				t.Fatalf("got %q from an endpoint that is gone", body)
			}
		}
		close(hold)
		if got := <-slow; got != "old" {
			t.Errorf("the request in progress got %q, want old", got)
		}
		// Its connection does not stay.
		synctest.Wait()
		if s := b.Stats(); len(s.Endpoints) != 1 {
			t.Errorf("endpoints are %+v, want one", s.Endpoints)
		}
	})
}

// However a request ends, it ends once.
func TestTrap21DoneExactlyOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			switch r.URL.Path {
			case "/empty":
			case "/body":
				_, _ = io.WriteString(w, strings.Repeat("x", 1<<20))
			case "/hints":
				w.WriteHeader(http.StatusEarlyHints)
				_, _ = io.WriteString(w, "after hints")
			case "/cut":
				w.Header().Set("Content-Length", "100")
				_, _ = io.WriteString(w, "half")
				panic(http.ErrAbortHandler)
			case "/hang":
				<-r.Context().Done()
			case "/stream":
				for {
					_, _ = io.WriteString(w, "event")
					if http.NewResponseController(w).Flush() != nil {
						return
					}
					select {
					case <-r.Context().Done():
						return
					case <-time.After(time.Minute):
					}
				}
			case "/upgrade":
				conn, rw, err := http.NewResponseController(w).Hijack()
				if err != nil {
					return
				}
				defer func() { _ = conn.Close() }()
				_, _ = rw.WriteString("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
				_ = rw.Flush()
				_, _ = io.Copy(conn, rw)
			case "/503":
				w.WriteHeader(http.StatusServiceUnavailable)
			case "/429":
				w.WriteHeader(http.StatusTooManyRequests)
			}
		}))
		c, b := f.client(t, &Options{Outlier: Outlier{Mode: uprung.Off}})
		do := func(ctx context.Context, path string) (*http.Response, error) {
			request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://orders"+path, nil)
			if err != nil {
				t.Fatal(err)
			}
			if path == "/upgrade" {
				request.Header.Set("Connection", "Upgrade")
				request.Header.Set("Upgrade", "echo")
			}
			return c.Do(request)
		}
		read := func(resp *http.Response, err error) {
			if err == nil {
				_, _ = io.Copy(io.Discard, resp.Body)
				_, _ = resp.Body.Close(), resp.Body.Close()
			}
		}
		for _, tt := range []struct {
			name string
			do   func()
			want EndpointStats
		}{
			{"empty", func() { read(do(t.Context(), "/empty")) }, EndpointStats{Successes: 1}},
			{"read to the end", func() { read(do(t.Context(), "/body")) }, EndpointStats{Successes: 1}},
			{"closed half way", func() {
				if resp, err := do(t.Context(), "/body"); err == nil {
					_, _ = resp.Body.Read(make([]byte, 10))
					_ = resp.Body.Close()
				}
			}, EndpointStats{Successes: 1}},
			{"informational", func() { read(do(t.Context(), "/hints")) }, EndpointStats{Successes: 1}},
			{"cut off", func() { read(do(t.Context(), "/cut")) }, EndpointStats{Failures: 1}},
			{"503", func() { read(do(t.Context(), "/503")) }, EndpointStats{Failures: 1}},
			{"429", func() { read(do(t.Context(), "/429")) }, EndpointStats{Overloads: 1}},
			{"cancelled before", func() {
				ctx, cancel := context.WithCancel(t.Context())
				cancel()
				read(do(ctx, "/empty"))
			}, EndpointStats{}},
			{"cancelled while waiting", func() {
				ctx, cancel := context.WithCancel(t.Context())
				time.AfterFunc(time.Minute, cancel)
				read(do(ctx, "/hang"))
			}, EndpointStats{Ignored: 1}},
			{"out of time soon", func() {
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
				defer cancel()
				read(do(ctx, "/hang"))
			}, EndpointStats{Ignored: 1}},
			{"out of time", func() {
				ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
				defer cancel()
				read(do(ctx, "/hang"))
			}, EndpointStats{Failures: 1}},
			{"left without closing", func() {
				ctx, cancel := context.WithCancel(t.Context())
				_, err := do(ctx, "/stream")
				cancel()
				synctest.Wait()
				if err != nil {
					t.Error(err)
				}
			}, EndpointStats{Ignored: 1}},
			{"a stream that runs out of time", func() {
				ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
				defer cancel()
				read(do(ctx, "/stream"))
			}, EndpointStats{Ignored: 1}},
			{"upgraded", func() {
				resp, err := do(t.Context(), "/upgrade")
				if err != nil {
					t.Error(err)
					return
				}
				if got := b.Stats().of(t, f.addrs[0]).InFlight; got != 1 {
					t.Errorf("%d requests in progress, want the upgraded one", got)
				}
				conn := resp.Body.(io.ReadWriteCloser)
				_, _ = io.WriteString(conn, "hello")
				echo := make([]byte, 5)
				if _, err := io.ReadFull(conn, echo); err != nil || string(echo) != "hello" {
					t.Errorf("read %q, %v, want hello", echo, err)
				}
				_ = conn.Close()
			}, EndpointStats{Successes: 1}},
		} {
			before := EndpointStats{}
			if s := b.Stats(); len(s.Endpoints) > 0 {
				before = s.Endpoints[0]
			}
			tt.do()
			synctest.Wait()
			after := b.Stats().of(t, f.addrs[0])
			got := EndpointStats{
				Successes: after.Successes - before.Successes, Failures: after.Failures - before.Failures,
				Overloads: after.Overloads - before.Overloads, Ignored: after.Ignored - before.Ignored,
			}
			if got != tt.want || after.InFlight != 0 {
				t.Errorf("%s: got %+v, %d in progress, want %+v and 0", tt.name, got, after.InFlight, tt.want)
			}
		}
	})
}

// A panic ends a request too, and goes on.
func TestTrap21Panic(t *testing.T) {
	t.Parallel()
	b := mustNew(t, Addrs("a:80"), nil)
	rt := b.Transport(roundTripper(func(*http.Request) (*http.Response, error) { panic("oops") }))
	func() {
		defer func() {
			if v := recover(); v != "oops" {
				t.Errorf("recovered %v, want oops", v)
			}
		}()
		_, _ = rt.RoundTrip(httptest.NewRequest(http.MethodGet, "http://orders/", nil))
	}()
	if got := b.Stats().of(t, "a:80"); got.Failures != 1 || got.InFlight != 0 {
		t.Errorf("stats are %+v, want one failure", got)
	}
}

// A stalled backend gets a request or two, not all of its share: those that wait are
// seen while they wait.
func TestTrap14StalledBackend(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var handlers []http.Handler
		var stalled atomic.Bool
		var stuck atomic.Int64
		for i := range 10 {
			handlers = append(handlers, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if i == 3 && stalled.Load() {
					stuck.Add(1)
					<-r.Context().Done()
					return
				}
				time.Sleep(10 * time.Millisecond)
			}))
		}
		f := newFleet(t, handlers...)
		c, _ := f.client(t, &Options{Seed: 1})
		c.Timeout = 5 * time.Second
		var workers sync.WaitGroup
		for i := range 4000 {
			if i == 1000 {
				stalled.Store(true)
			}
			workers.Go(func() {
				if resp, err := c.Get("http://orders/"); err == nil {
					_ = resp.Body.Close()
				}
			})
			time.Sleep(time.Millisecond)
		}
		workers.Wait()
		if got := stuck.Load(); got < 1 || got > 12 {
			t.Errorf("%d of 3000 requests went to the stalled backend, want 1 to 12", got)
		}
	})
}

// A stream that stays open changes nothing about which endpoint is chosen.
func TestOpenStreamHarmsNobody(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var handlers []http.Handler
		for range 6 {
			handlers = append(handlers, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				time.Sleep(10 * time.Millisecond)
				if r.URL.Path == "/stream" {
					_ = http.NewResponseController(w).Flush()
					<-r.Context().Done()
				}
			}))
		}
		f := newFleet(t, handlers...)
		c, b := f.client(t, &Options{Seed: 1})
		ctx, cancel := context.WithCancel(t.Context())
		var at []string
		for range 8 { // all in the same place
			request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://orders/stream", nil)
			if err != nil {
				t.Fatal(err)
			}
			request = request.WithContext(withPreference(ctx, &preference{id: f.addrs[2]}))
			if len(at) == 0 {
				get(t, c, "http://orders/")
			}
			if _, err := c.Do(request); err != nil {
				t.Fatal(err)
			}
			at = append(at, f.addrs[2])
		}
		before := b.Stats()
		if got := before.of(t, f.addrs[2]).InFlight; got != 8 {
			t.Fatalf("%d streams are open, want 8", got)
		}
		var workers sync.WaitGroup
		for range 6000 {
			workers.Go(func() { get(t, c, "http://orders/") })
			time.Sleep(5 * time.Millisecond)
		}
		workers.Wait()
		got := b.Stats().of(t, f.addrs[2]).Picked - before.of(t, f.addrs[2]).Picked
		if got < 700 || got > 1300 {
			t.Errorf("the endpoint with streams got %d of 6000 requests, want about 1000", got)
		}
		cancel()
		synctest.Wait()
		if got := b.Stats().of(t, f.addrs[2]); got.InFlight != 0 || got.Failures != 0 {
			t.Errorf("in the end stats are %+v, want none in progress and no failure", got)
		}
	})
}

func TestTransportKeepsThePromisesOfHTTP(t *testing.T) {
	t.Parallel()
	// The kit asks several servers, here each a service of one endpoint.
	wrap := func(o Options) func(http.RoundTripper) http.RoundTripper {
		return func(base http.RoundTripper) http.RoundTripper {
			services := &services{base: base, o: o, of: map[string]http.RoundTripper{}}
			return services
		}
	}
	refusing := Options{Eligible: func(string) bool { return false }}
	middlewaretest.RunTransport(t, wrap(Options{}), &middlewaretest.TransportOptions{Refusing: wrap(refusing)})
}

// services has a balancer for each host.
type services struct {
	base http.RoundTripper
	o    Options
	mu   sync.Mutex
	of   map[string]http.RoundTripper
}

func (s *services) RoundTrip(r *http.Request) (*http.Response, error) {
	s.mu.Lock()
	rt := s.of[r.URL.Host]
	if rt == nil {
		b, err := New(Addrs(r.URL.Host), &s.o)
		if err != nil {
			s.mu.Unlock()
			return nil, err
		}
		rt = b.Transport(s.base)
		s.of[r.URL.Host] = rt
	}
	s.mu.Unlock()
	return rt.RoundTrip(r)
}

// What Options.Endpoint puts before an endpoint is made once for it, sees its requests
// and no others, and shows in the chain.
func TestEndpointWrapsTheWayToEach(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"cloned base", "other base"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var mu sync.Mutex
			made, seen := map[string]int{}, map[string]int{}
			b, err := New(Addrs("127.0.0.1:1", "127.0.0.1:2"), &Options{Policy: pick.RoundRobin{}, Endpoint: func(id string, next http.RoundTripper) http.RoundTripper {
				mu.Lock()
				defer mu.Unlock()
				made[id]++
				return shown{next, func(*http.Request) (*http.Response, error) {
					mu.Lock()
					defer mu.Unlock()
					seen[id]++
					return &http.Response{StatusCode: 204, Body: http.NoBody, Header: http.Header{}}, nil
				}}
			}})
			if err != nil {
				t.Fatal(err)
			}
			var base http.RoundTripper = &http.Transport{}
			if name == "other base" {
				base = shown{}
			}
			rt := b.Transport(base)
			if layers := uprung.VetTransport(rt).Layers; len(layers) < 2 || layers[1].Name != "shown" {
				t.Errorf("the chain is %v", layers)
			}
			for range 10 {
				resp, err := rt.RoundTrip(httptest.NewRequest("GET", "http://service/", nil))
				if err != nil {
					t.Fatal(err)
				}
				_ = resp.Body.Close()
			}
			want := map[string]int{"": 1, "127.0.0.1:1": 1, "127.0.0.1:2": 1}
			if !maps.Equal(made, want) || seen["127.0.0.1:1"] != 5 || seen["127.0.0.1:2"] != 5 || seen[""] != 0 {
				t.Errorf("made %v, seen %v", made, seen)
			}
		})
	}
}

// shown shows in a chain, and answers itself, if it is told how.
type shown struct {
	next http.RoundTripper
	do   func(*http.Request) (*http.Response, error)
}

func (w shown) RoundTrip(r *http.Request) (*http.Response, error) { return w.do(r) }
func (w shown) Unwrap() http.RoundTripper                         { return w.next }
func (w shown) Layer() uprung.Layer {
	return uprung.Layer{Kind: uprung.KindObserve, Name: "shown"}
}
