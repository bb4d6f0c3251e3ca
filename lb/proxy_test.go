package lb

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/uprung/uprung"
	"github.com/uprung/uprung/lb/pick"
	"github.com/uprung/uprung/middlewaretest"
)

func mustProxy(tb testing.TB, b *Balancer, o *ProxyOptions) *Proxy {
	tb.Helper()
	p, err := b.Proxy(o)
	if err != nil {
		tb.Fatal(err)
	}
	return p
}

// behind starts a proxy to handlers and returns its URL.
func behind(tb testing.TB, o *ProxyOptions, handlers ...http.Handler) string {
	tb.Helper()
	var addrs []string
	for _, handler := range handlers {
		addrs = append(addrs, serve(tb, handler))
	}
	return "http://" + serve(tb, mustProxy(tb, mustNew(tb, Addrs(addrs...), &Options{Policy: pick.RoundRobin{}}), o))
}

func parse(tb testing.TB, text string) *url.URL {
	tb.Helper()
	u, err := url.Parse(text)
	if err != nil {
		tb.Fatal(err)
	}
	return u
}

func TestProxyErrors(t *testing.T) {
	t.Parallel()
	b := mustNew(t, Addrs("a:80"), nil)
	for _, tt := range []struct {
		o    ProxyOptions
		want string
	}{
		{ProxyOptions{Target: parse(t, "ftp://x/")}, `Target is "ftp://x/", want http or https`},
		{ProxyOptions{Target: parse(t, "/path")}, `Target is "/path"`},
		{ProxyOptions{Target: parse(t, "http://user:secret@x/")}, `Target is "http://user:xxxxx@x/"`},
		{ProxyOptions{PreserveHost: true}, "PreserveHost is set, want also Target"},
		{ProxyOptions{Affinity: &Affinity{Cookie: "a b"}}, `Affinity.Cookie is "a b"`},
		{ProxyOptions{Affinity: &Affinity{Secret: []byte("short")}}, "Affinity.Secret is 5 bytes long, want 16"},
		{ProxyOptions{Affinity: &Affinity{MaxAge: -1}}, "Affinity.MaxAge is -1ns"},
		{ProxyOptions{Wrap: func(http.RoundTripper) http.RoundTripper { return nil }}, "Wrap returns nil, want a round tripper"},
	} {
		if _, err := b.Proxy(&tt.o); err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "secret@") {
			t.Errorf("error is %v, want one with %q", err, tt.want)
		}
	}
}

// echo answers with what it was asked.
var echo = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	_, _ = fmt.Fprintf(w, "%s %s host=%s", r.Method, r.URL, r.Host)
	for _, name := range []string{"Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "Cookie", "X-Added"} {
		if values := r.Header[name]; len(values) > 0 {
			_, _ = fmt.Fprintf(w, " %s=%s", name, strings.Join(values, "|"))
		}
	}
})

func TestProxyRequest(t *testing.T) {
	t.Parallel()
	spoofed := http.Header{
		"Forwarded": {"for=1.2.3.4"}, "X-Forwarded-For": {"1.2.3.4"}, "X-Forwarded-Host": {"evil.example"}, "X-Forwarded-Proto": {"https"},
	}
	const seen = " Forwarded=for=127.0.0.1;host=www.example;proto=http X-Forwarded-For=127.0.0.1 X-Forwarded-Host=www.example X-Forwarded-Proto=http"
	for _, tt := range []struct {
		name   string
		o      *ProxyOptions
		header http.Header
		want   string
	}{
		{"defaults", nil, nil, "GET /a?b=c host=www.example" + seen},
		{"spoofed", nil, spoofed, "GET /a?b=c host=www.example" + seen},
		{
			"trusted", &ProxyOptions{TrustForwarded: func(*http.Request) bool { return true }}, spoofed,
			"GET /a?b=c host=www.example Forwarded=for=1.2.3.4|for=127.0.0.1;host=www.example;proto=http" +
				" X-Forwarded-For=1.2.3.4, 127.0.0.1 X-Forwarded-Host=evil.example X-Forwarded-Proto=https",
		},
		{"trusted, none sent", &ProxyOptions{TrustForwarded: func(*http.Request) bool { return true }}, nil, "GET /a?b=c host=www.example" + seen},
		{"target", &ProxyOptions{Target: parse(t, "http://orders/v1")}, nil, "GET /v1/a?b=c host=orders" + seen},
		{"host preserved", &ProxyOptions{Target: parse(t, "http://orders/v1"), PreserveHost: true}, nil, "GET /v1/a?b=c host=www.example" + seen},
		{"rewritten", &ProxyOptions{Rewrite: func(r *httputil.ProxyRequest) { r.Out.Header.Set("X-Added", "yes") }}, nil, "GET /a?b=c host=www.example" + seen + " X-Added=yes"},
		{"cookies", &ProxyOptions{Affinity: &Affinity{}}, http.Header{"Cookie": {"a=1; lb=x; b=2", "lb=y", "c=3"}}, "GET /a?b=c host=www.example" + seen + " Cookie=a=1; b=2|c=3"},
		{"no other cookie", &ProxyOptions{Affinity: &Affinity{}}, http.Header{"Cookie": {"lb=x"}}, "GET /a?b=c host=www.example" + seen},
	} {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, behind(t, tt.o, echo)+"/a?b=c", nil)
		if err != nil {
			t.Fatal(err)
		}
		request.Host = "www.example"
		if tt.header != nil {
			request.Header = tt.header.Clone()
		}
		resp, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if got := string(body); got != tt.want {
			t.Errorf("%s: the endpoint saw\n%s\nwant\n%s", tt.name, got, tt.want)
		}
	}
}

func TestForwardedElement(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ client, host, want string }{
		{"192.0.2.1", "example.com", "for=192.0.2.1;host=example.com;proto=http"},
		{"2001:db8::1", "example.com:8080", `for="[2001:db8::1]";host="example.com:8080";proto=http`},
		{"", "", "for=unknown;proto=http"},
		{"192.0.2.1", "a\"b\\c;d=e\r\nX: y", `for=192.0.2.1;host="a\"b\\c;d=eX: y";proto=http`},
	} {
		if got := forwardedElement(tt.client, tt.host, "http"); got != tt.want {
			t.Errorf("forwardedElement(%q, %q) = %s, want %s", tt.client, tt.host, got, tt.want)
		}
	}
}

func FuzzForwardedElement(f *testing.F) {
	f.Add("192.0.2.1", "example.com")
	f.Add("::1", "a\"b\\\r\n")
	f.Fuzz(func(t *testing.T, client, host string) {
		got := forwardedElement(client, host, "http")
		inside, escaped := false, false
		for i := range len(got) {
			switch c := got[i]; {
			case c < ' ' && c != '\t' || c == 0x7f:
				t.Fatalf("%q has the control character %q", got, c)
			case escaped:
				escaped = false
			case inside && c == '\\':
				escaped = true
			case c == '"':
				inside = !inside
			case c == ',' && !inside:
				t.Fatalf("%q is more than one element", got)
			}
		}
		if inside || escaped {
			t.Fatalf("%q does not end its quotes", got)
		}
	})
}

func TestProxyAffinity(t *testing.T) {
	t.Parallel()
	secret := []byte("0123456789abcdef")
	var addrs []string
	for i := range 4 {
		addrs = append(addrs, serve(t, named(fmt.Sprint(i))))
	}
	down := map[string]bool{}
	b := mustNew(t, Addrs(addrs...), &Options{Policy: pick.RoundRobin{}, Eligible: func(id string) bool { return !down[id] }})
	front := "http://" + serve(t, mustProxy(t, b, &ProxyOptions{Affinity: &Affinity{Secret: secret, MaxAge: time.Hour, Path: "/shop"}}))
	ask := func(cookie string) (body string, set *http.Cookie) {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, front+"/shop", nil)
		if err != nil {
			t.Fatal(err)
		}
		if cookie != "" {
			request.AddCookie(&http.Cookie{Name: "lb", Value: cookie})
		}
		resp, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		text, _ := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		for _, c := range resp.Cookies() {
			set = c
		}
		return string(text), set
	}
	home, cookie := ask("")
	if cookie == nil || !cookie.Secure || !cookie.HttpOnly || cookie.SameSite != http.SameSiteLaxMode || cookie.MaxAge != 3600 || cookie.Path != "/shop" {
		t.Fatalf("the cookie is %+v, want one that is Secure and HttpOnly for an hour", cookie)
	}
	for _, addr := range addrs {
		if strings.Contains(cookie.Value, addr) {
			t.Errorf("the cookie %q shows an address", cookie.Value)
		}
	}
	for range 10 {
		if body, set := ask(cookie.Value); body != home || set != nil {
			t.Errorf("got %s and cookie %v, want %s and none", body, set, home)
		}
	}
	// Another proxy with the secret understands it, and one without does not.
	for _, tt := range []struct {
		affinity Affinity
		same     bool
	}{{Affinity{Secret: secret}, true}, {Affinity{}, false}} {
		p := mustProxy(t, mustNew(t, Addrs(addrs...), &Options{Policy: pick.RoundRobin{}}), &ProxyOptions{Affinity: &tt.affinity})
		answers := map[string]bool{}
		for range 8 {
			w := httptest.NewRecorder()
			r := httptest.NewRequest(http.MethodGet, "/", nil)
			r.AddCookie(cookie)
			p.ServeHTTP(w, r)
			answers[w.Body.String()] = true
		}
		// The first request comes before the endpoints are known.
		if got := len(answers) <= 2; got != tt.same {
			t.Errorf("%+v: answers come from %v", tt.affinity, answers)
		}
	}
	if body, set := ask("forged"); set == nil {
		t.Errorf("a cookie that is not ours got %s and no other", body)
	}
	// Its endpoint is refused: it moves on, and stays there.
	i := strings.Index("0123", home)
	down[addrs[i]] = true
	moved, next := ask(cookie.Value)
	if next == nil || moved == home {
		t.Fatalf("got %s and cookie %v while the endpoint is down", moved, next)
	}
	for range 5 {
		if body, set := ask(next.Value); body != moved || set != nil {
			t.Errorf("got %s and cookie %v, want %s and none", body, set, moved)
		}
	}
}

func TestProxyStatus(t *testing.T) {
	t.Parallel()
	failing := func(err error) http.RoundTripper {
		return roundTripper(func(*http.Request) (*http.Response, error) { return nil, err })
	}
	for _, tt := range []struct {
		err   error
		want  int
		after string
	}{
		{errors.New("connection refused"), http.StatusBadGateway, ""},
		{fmt.Errorf("dial: %w", context.DeadlineExceeded), http.StatusGatewayTimeout, ""},
		{&net.OpError{Op: "dial", Err: &net.DNSError{IsTimeout: true}}, http.StatusGatewayTimeout, ""},
		{&http.MaxBytesError{Limit: 1}, http.StatusRequestEntityTooLarge, ""},
		{&uprung.Rejection{Reason: errors.New("open"), RetryAfter: 3 * time.Second}, http.StatusServiceUnavailable, "3"},
		{&uprung.Rejection{Kind: uprung.KindRateLimit, Reason: errors.New("limited"), RetryAfter: time.Second}, http.StatusTooManyRequests, "1"},
	} {
		w := httptest.NewRecorder()
		p := mustProxy(t, mustNew(t, Addrs("a:80"), nil), &ProxyOptions{Base: failing(tt.err)})
		p.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
		if w.Code != tt.want || w.Header().Get("Retry-After") != tt.after || w.Header().Get("Content-Type") != "application/problem+json" {
			t.Errorf("%v: answered %d, %v, want %d and Retry-After %q", tt.err, w.Code, w.Header(), tt.want, tt.after)
		}
	}
	// No endpoint, by the function of the caller.
	w := httptest.NewRecorder()
	var got error
	p := mustProxy(t, mustNew(t, Addrs("a:80"), &Options{Eligible: func(string) bool { return false }}), &ProxyOptions{
		Refused: func(w http.ResponseWriter, _ *http.Request, err error) { got = err; w.WriteHeader(http.StatusTeapot) },
	})
	p.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
	if w.Code != http.StatusTeapot || !errors.Is(got, ErrNoEndpoint) {
		t.Errorf("answered %d for %v, want 418 for no endpoint", w.Code, got)
	}
	// The client has gone.
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	w = httptest.NewRecorder()
	mustProxy(t, mustNew(t, Addrs("a:80"), nil), nil).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil).WithContext(ctx))
	if w.Code != statusClientClosedRequest {
		t.Errorf("answered %d to nobody, want 499", w.Code)
	}
}

// A chain that is read back goes on through what is around the balancer, and ends where
// requests leave the process.
func TestProxyIsExplained(t *testing.T) {
	t.Parallel()
	wrap := uprung.NamedTransport(uprung.Layer{Kind: uprung.KindRetry, Name: "twice"}, func(base http.RoundTripper) http.RoundTripper { return base })
	p := mustProxy(t, mustNew(t, Addrs("a:80"), nil), &ProxyOptions{Target: parse(t, "https://orders/"), Affinity: &Affinity{}, Wrap: wrap})
	got := uprung.Explain(p)
	at := -1
	for _, want := range []string{
		`proxy "default"`, "https://orders/", "cookie lb", `retry "twice"`, `balance "default"`, "pick.AgeEWMA", "unknown below balance \"default\": *http.Transport\n",
	} {
		i := strings.Index(got, want)
		if i <= at {
			t.Errorf("explanation lacks %q, or not in its place:\n%s", want, got)
		}
		at = i
	}
	if err := uprung.Vet(p).Err(); err != nil {
		t.Error(err)
	}
}

// The endpoint, which does not see the host of the client's choice in the URL, gets
// one connection for all hosts.
func TestProxyConnectionsAreNotByHost(t *testing.T) {
	t.Parallel()
	peers := map[string]bool{}
	front := behind(t, nil, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { peers[r.RemoteAddr] = true }))
	for i := range 20 {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, front, nil)
		if err != nil {
			t.Fatal(err)
		}
		request.Host = fmt.Sprintf("host-%d.example", i)
		resp, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
	}
	if len(peers) != 1 {
		t.Errorf("%d connections for 20 hosts, want 1", len(peers))
	}
}

func TestProxyUpgrade(t *testing.T) {
	t.Parallel()
	front := behind(t, nil, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		conn, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer func() { _ = conn.Close() }()
		_, _ = rw.WriteString("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
		_ = rw.Flush()
		_, _ = io.Copy(conn, rw)
	}))
	conn, err := net.Dial("tcp", strings.TrimPrefix(front, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	_, _ = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
	reader := bufio.NewReader(conn)
	resp, err := http.ReadResponse(reader, nil)
	if err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("got %+v, %v, want 101", resp, err)
	}
	for range 3 {
		_, _ = io.WriteString(conn, "hello")
		got := make([]byte, 5)
		if _, err := io.ReadFull(reader, got); err != nil || string(got) != "hello" {
			t.Fatalf("read %q, %v, want hello", got, err)
		}
	}
}

// hop puts a proxy and a connection between a client and a handler.
func hop(tb testing.TB, o *Options) func(next http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return mustProxy(tb, mustNew(tb, Addrs(serve(tb, next)), o), &ProxyOptions{FullDuplex: true})
	}
}

func TestProxyKeepsThePromisesOfHTTP(t *testing.T) {
	t.Parallel()
	const own = "the handler has a connection of its own, "
	middlewaretest.Run(t, hop(t, nil), &middlewaretest.Options{
		Refusing: hop(t, &Options{Eligible: func(string) bool { return false }}),
		Skip: map[string]string{
			"request":         own + "without TLS; TestProxyRequest sees to the rest",
			"hijack":          own + "which is HTTP/1.1 and can be taken over; the check websocket runs",
			"panic":           own + "at which its panic ends",
			"abort":           own + "at which its panic ends",
			"goroutines":      own + "whose server outlives the check; TestProxyLeavesNothing counts",
			"expect-continue": "net/http tells no handler that an HTTP/2 client waits for leave to send",
		},
	})
}

func TestProxyLeavesNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) { // where what is left is a deadlock
		f := newFleet(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(w, r.Body)
		}))
		base := &http.Transport{DialContext: f.network.DialContext}
		p := mustProxy(t, mustNew(t, Addrs(f.addrs...), nil), &ProxyOptions{Base: base})
		front := newFleet(t, p)
		c := client(t, &http.Transport{DialContext: front.network.DialContext})
		for i := range 50 {
			resp, err := c.Post("http://"+front.addrs[0], "text/plain", strings.NewReader(strings.Repeat("x", 10_000)))
			if err != nil {
				t.Fatal(err)
			}
			if i%2 == 0 {
				_, _ = io.Copy(io.Discard, resp.Body)
			}
			_ = resp.Body.Close()
		}
		c.CloseIdleConnections()
		p.CloseIdleConnections()
	})
}

// Trailers of a request are there when its body has ended.
func TestProxyRequestTrailers(t *testing.T) {
	t.Parallel()
	front := behind(t, nil, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		_, _ = io.WriteString(w, r.Trailer.Get("X-Sum"))
	}))
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, front, io.MultiReader(strings.NewReader("body")))
	if err != nil {
		t.Fatal(err)
	}
	request.Trailer = http.Header{"X-Sum": {"42"}}
	resp, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	if body, _ := io.ReadAll(resp.Body); string(body) != "42" {
		t.Errorf("the trailer is %q, want 42", body)
	}
}
