package lb

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/uprung/uprung"
	"github.com/uprung/uprung/lb/pick"
)

// answering is a base whose endpoints answer at once, and which keeps what it was sent.
type answering struct{ sent []*http.Request }

func (a *answering) RoundTrip(r *http.Request) (*http.Response, error) {
	a.sent = append(a.sent, r)
	return &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Body: http.NoBody, Request: r}, nil
}

// raw sends bytes to a server and returns the status line of its answer.
func raw(tb testing.TB, addr, bytes string) string {
	tb.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		tb.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	_, _ = io.WriteString(conn, bytes)
	line, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil {
		tb.Errorf("answer to %q: %v", bytes, err)
	}
	return strings.TrimSpace(line)
}

// A body that a client sends wrongly is the client's fault, and no reason to eject the
// endpoint that it was meant for.
func TestClientsBrokenBodies(t *testing.T) {
	t.Parallel()
	addrs := []string{serve(t, swallow), serve(t, swallow)}
	b := mustNew(t, Addrs(addrs...), nil)
	front := httptest.NewUnstartedServer(http.MaxBytesHandler(mustProxy(t, b, nil), 1000))
	front.Config.ReadTimeout = 2 * time.Second
	front.Start()
	defer front.Close()
	addr := front.Listener.Addr().String()
	const head = "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"
	for _, tt := range []struct{ name, bytes, want string }{
		{"no chunk", head + "ZZZ\r\n", "HTTP/1.1 400 Bad Request"},
		{"too large", head + "7d0\r\n" + strings.Repeat("x", 2000) + "\r\n0\r\n\r\n", "HTTP/1.1 413 Request Entity Too Large"},
		{"too slow", head, "HTTP/1.1 408 Request Timeout"},
		{"whole", head + "0\r\n\r\n", "HTTP/1.1 200 OK"},
	} {
		var requests sync.WaitGroup
		for range 6 {
			requests.Go(func() {
				if got := raw(t, addr, tt.bytes); got != tt.want {
					t.Errorf("%s: answered %q, want %q", tt.name, got, tt.want)
				}
			})
		}
		requests.Wait()
	}
	for _, e := range b.Stats().Endpoints {
		if e.Failures > 0 || e.Ejected {
			t.Errorf("%s has %d failures by what clients sent, ejected: %v", e.ID, e.Failures, e.Ejected)
		}
	}
}

// Tunnels, and targets that would be sent on as they are, are refused; those that have a
// path are sent on by it, to the service and no other.
func TestProxyRefusesTunnels(t *testing.T) {
	t.Parallel()
	for _, o := range []*ProxyOptions{{}, {Target: parse(t, "http://orders.internal/v1")}} {
		base := &answering{}
		o.Base = base
		front := serve(t, mustProxy(t, mustNew(t, Addrs("a:80"), nil), o))
		prefix := ""
		if o.Target != nil {
			prefix = o.Target.Path
		}
		for _, tt := range []struct{ line, status, path string }{
			{"GET /x", "200 OK", prefix + "/x"},
			{"GET http://other/abc", "200 OK", prefix + "/abc"},
			{"GET x:/abs", "200 OK", prefix + "/abs"},
			{"GET x:http://orders.internal/admin", "400 Bad Request", ""},
			{"GET x:foo", "400 Bad Request", ""},
			{"CONNECT evil:443", "400 Bad Request", ""},
		} {
			base.sent = nil
			if got := raw(t, front, tt.line+" HTTP/1.1\r\nHost: me\r\n\r\n"); got != "HTTP/1.1 "+tt.status {
				t.Errorf("%s: answered %q, want %s", tt.line, got, tt.status)
			}
			if tt.path == "" {
				if len(base.sent) > 0 {
					t.Errorf("%s: sent on to %v", tt.line, base.sent[0].URL)
				}
				continue
			}
			if len(base.sent) != 1 || base.sent[0].URL.String() != "http://a:80"+tt.path {
				t.Errorf("%s: sent on to %v, want %s of the endpoint", tt.line, base.sent, tt.path)
			}
		}
	}
}

// What a client says of how it has come here is not believed, by whatever name; and what
// a trusted proxy says stays where there is nothing to add.
func TestForwardedIsNotSpoofed(t *testing.T) {
	t.Parallel()
	base := &answering{}
	p := mustProxy(t, mustNew(t, Addrs("a:80"), nil), &ProxyOptions{Base: base})
	request := httptest.NewRequest(http.MethodGet, "/", nil)
	for _, name := range []string{"X-Forwarded-Port", "X-Forwarded-Prefix", "X-Forwarded-Server", "X-Forwarded-Ssl", "X-Forwarded-Client-Cert", "X-Real-Ip"} {
		request.Header.Set(name, "spoofed")
	}
	p.ServeHTTP(httptest.NewRecorder(), request)
	for name, values := range base.sent[0].Header {
		if values[0] == "spoofed" {
			t.Errorf("%s passes from a client", name)
		}
	}
	p = mustProxy(t, mustNew(t, Addrs("a:80"), nil), &ProxyOptions{Base: base, TrustForwarded: func(*http.Request) bool { return true }})
	request = httptest.NewRequest(http.MethodGet, "/", nil)
	request.RemoteAddr = "@" // a Unix socket
	request.Header.Set("X-Forwarded-For", "203.0.113.7")
	p.ServeHTTP(httptest.NewRecorder(), request)
	if got := base.sent[1].Header.Get("X-Forwarded-For"); got != "203.0.113.7" {
		t.Errorf("behind a trusted proxy on a Unix socket X-Forwarded-For is %q, want what that said", got)
	}
}

// Refused sees the request as it came in, and not as it was to be sent.
func TestRefusedGetsTheRequestThatCameIn(t *testing.T) {
	t.Parallel()
	in := httptest.NewRequest(http.MethodGet, "/hello", nil)
	var got *http.Request
	p := mustProxy(t, mustNew(t, Addrs("a:80"), nil), &ProxyOptions{
		Base:   roundTripper(func(*http.Request) (*http.Response, error) { return nil, errors.New("broken") }),
		Target: parse(t, "https://orders.internal/v1"),
		Refused: func(w http.ResponseWriter, r *http.Request, _ error) {
			got = r
			w.WriteHeader(http.StatusBadGateway)
		},
	})
	p.ServeHTTP(httptest.NewRecorder(), in)
	if got == nil || got.URL.String() != "/hello" || got.Host != in.Host {
		t.Errorf("got %v, want the request that came in", got)
	}
}

// A client's session outlives the proxy, from the first request on.
func TestAffinityAfterARestart(t *testing.T) {
	t.Parallel()
	resolver := ResolverFunc(func(context.Context) ([]Endpoint, error) { return Addrs("a:80", "b:80", "c:80", "d:80"), nil })
	for range 10 {
		ask := func(cookies ...*http.Cookie) []*http.Cookie {
			p := mustProxy(t, mustNew(t, resolver, nil), &ProxyOptions{Base: &answering{}, Affinity: &Affinity{Secret: []byte("0123456789abcdef")}})
			r := httptest.NewRequest(http.MethodGet, "/", nil)
			for _, c := range cookies {
				r.AddCookie(c)
			}
			w := httptest.NewRecorder()
			p.ServeHTTP(w, r)
			return w.Result().Cookies()
		}
		cookies := ask()
		if len(cookies) != 1 {
			t.Fatalf("cookies are %v, want one", cookies)
		}
		if moved := ask(cookies...); len(moved) != 0 {
			t.Fatalf("the first request after a restart moved from %v to %v", cookies, moved)
		}
	}
}

// Clients leave upgraded connections as they like, and no endpoint has failed then.
func TestClientsLeaveUpgradedConnections(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			conn := takeOver(t, w)
			if conn == nil {
				return
			}
			go func() { // ends with the connection
				for {
					if _, err := io.WriteString(conn, "tick"); err != nil {
						return
					}
					time.Sleep(time.Millisecond)
				}
			}()
			_, _ = io.Copy(io.Discard, conn)
			_ = conn.Close()
		}))
		b := mustNew(t, Addrs(f.addrs...), nil)
		front := newFleet(t, mustProxy(t, b, &ProxyOptions{Base: &http.Transport{DialContext: f.network.DialContext}}))
		for range 20 {
			conn, err := front.network.DialContext(t.Context(), "tcp", front.addrs[0])
			if err != nil {
				t.Fatal(err)
			}
			_, _ = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n")
			_, _ = conn.Read(make([]byte, 300))
			time.Sleep(5 * time.Millisecond)
			_ = conn.Close()
		}
		time.Sleep(time.Second)
		if s := b.Stats().of(t, f.addrs[0]); s.Picked != 20 || s.Failures != 0 || s.InFlight != 0 {
			t.Errorf("stats are %+v, want 20 requests and no failure", s)
		}
	})
}

// Trailers that have not come when a client leaves are nobody's.
func TestTrailersOfClientsThatLeave(t *testing.T) {
	t.Parallel()
	addr := serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) }))
	front := serve(t, mustProxy(t, mustNew(t, Addrs(addr), nil), nil))
	var workers sync.WaitGroup
	for range 4 {
		workers.Go(func() {
			for range 25 { // for the race detector
				ctx, cancel := context.WithTimeout(t.Context(), 3*time.Millisecond)
				request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+front, io.MultiReader(strings.NewReader(strings.Repeat("x", 20_000))))
				if err != nil {
					t.Error(err)
				} else {
					request.Trailer = http.Header{"A": {"1"}, "B": {"2"}}
					if resp, err := http.DefaultClient.Do(request); err == nil {
						_, _ = io.Copy(io.Discard, resp.Body)
						_ = resp.Body.Close()
					}
				}
				cancel()
			}
		})
	}
	workers.Wait()
}

// Round trippers around the balancer make each of their attempts another choice.
func TestProxyWrap(t *testing.T) {
	t.Parallel()
	addrs := []string{serve(t, named("a")), serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) }))}
	b := mustNew(t, Addrs(addrs...), &Options{Policy: pick.RoundRobin{}, Outlier: Outlier{Mode: uprung.Off}})
	attempts := 0
	p := mustProxy(t, b, &ProxyOptions{Wrap: func(balancer http.RoundTripper) http.RoundTripper {
		return roundTripper(func(r *http.Request) (*http.Response, error) {
			ctx := uprung.WithAttempt(r.Context(), new(uprung.Attempt))
			for {
				attempts++
				resp, err := balancer.RoundTrip(r.WithContext(ctx))
				if err != nil || resp.StatusCode < 500 {
					return resp, err
				}
				_ = resp.Body.Close()
			}
		})
	}})
	for range 10 {
		w := httptest.NewRecorder()
		p.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
		if w.Code != http.StatusOK || w.Body.String() != "a" {
			t.Errorf("answered %d %q, want 200 a", w.Code, w.Body)
		}
	}
	if attempts < 12 || attempts > 20 {
		t.Errorf("%d attempts for 10 requests, of which each second fails first, want up to 20", attempts)
	}
	p.CloseIdleConnections() // which what is around the balancer cannot
}
