package health

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/uprung/uprung/internal/memnet"
)

// serve serves HTTP in the bubble and returns what dials it.
func serve(t *testing.T, h http.HandlerFunc) *memnet.Listener {
	t.Helper()
	listener := memnet.Listen()
	server := &http.Server{Handler: h}
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(func() {
		_ = server.Close()
		synctest.Wait()
	})
	return listener
}

// overListener is the client that NewHTTP makes by default, dialling a listener.
func overListener(p Prober, l *memnet.Listener) Prober {
	p.(*httpProber).o.Client.Transport.(*http.Transport).DialContext = l.DialContext
	return p
}

func TestNewHTTPNamesEverythingWrong(t *testing.T) {
	t.Parallel()
	_, err := NewHTTP(&HTTPOptions{Path: "http://elsewhere/", Scheme: "gopher", MinStatus: 399, MaxStatus: 199, BodyLimit: -1})
	want := []string{
		`HTTPOptions.Path is "http://elsewhere/", want a path that begins with a slash`,
		`HTTPOptions.Scheme is "gopher", want http or https`,
		"HTTPOptions.MaxStatus is 199, want 200 to 399",
		"HTTPOptions.MinStatus is 399, want at most MaxStatus, 199",
		"HTTPOptions.BodyLimit is -1, want 0 to 1073741824",
	}
	if got := "health: " + strings.Join(want, "\nhealth: "); err == nil || err.Error() != got {
		t.Errorf("error\n%v\nwant\n%s", err, got)
	}
}

func TestHTTPProbeJudgesTheStatus(t *testing.T) {
	for _, tt := range []struct {
		o      HTTPOptions
		status int
		want   string
	}{
		{HTTPOptions{}, 200, ""},
		{HTTPOptions{}, 204, ""},
		{HTTPOptions{}, 302, "health: status is 302, want 200 to 299"},
		{HTTPOptions{}, 404, "health: status is 404, want 200 to 299"},
		{HTTPOptions{}, 503, "health: status is 503, want 200 to 299"},
		{HTTPOptions{MaxStatus: 399}, 302, ""},
		{HTTPOptions{MinStatus: 204, MaxStatus: 204}, 200, "health: status is 200, want 204 to 204"},
	} {
		t.Run(fmt.Sprint(tt.status, " ", tt.o.MinStatus, "-", tt.o.MaxStatus), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				requests := 0
				l := serve(t, func(w http.ResponseWriter, r *http.Request) {
					requests++
					w.Header().Set("Location", "/elsewhere")
					w.WriteHeader(tt.status)
				})
				p, err := NewHTTP(&tt.o)
				if err != nil {
					t.Fatal(err)
				}
				got := ""
				if err := overListener(p, l).Probe(t.Context(), "example.com"); err != nil {
					got = err.Error()
				}
				if got != tt.want || requests != 1 {
					t.Errorf("%q after %d requests, want %q after 1", got, requests, tt.want)
				}
			})
		})
	}
}

func TestHTTPProbeSendsWhatIsAskedFor(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var got string
		l := serve(t, func(_ http.ResponseWriter, r *http.Request) {
			got = fmt.Sprint(r.Method, " ", r.Host, r.URL, " ", r.UserAgent())
		})
		p, err := NewHTTP(&HTTPOptions{Path: "/readyz?deep=1", Host: "app.example"})
		if err != nil {
			t.Fatal(err)
		}
		if err := overListener(p, l).Probe(t.Context(), "10.0.0.1:80"); err != nil {
			t.Fatal(err)
		}
		if want := "GET app.example/readyz?deep=1 uprung-health"; got != want {
			t.Errorf("the request is %q, want %q", got, want)
		}
		// An address is no way to ask for something else.
		if err := p.Probe(t.Context(), "10.0.0.1/other?"); err == nil && strings.Contains(got, "other") {
			t.Errorf("the request is %q", got)
		}
	})
}

func TestHTTPProbeFails(t *testing.T) {
	for name, tt := range map[string]struct {
		serve http.HandlerFunc
		want  error
	}{
		"truncated": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			_, _ = io.WriteString(w, "short")
		}, io.ErrUnexpectedEOF},
		"hangs before the headers": {func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, context.DeadlineExceeded},
		"hangs in the body": {func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.WriteString(w, "x")
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
		}, context.DeadlineExceeded},
		"aborted": {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, io.EOF},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				l := serve(t, tt.serve)
				p, err := NewHTTP(nil)
				if err != nil {
					t.Fatal(err)
				}
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				if err := overListener(p, l).Probe(ctx, "example.com"); !errors.Is(err, tt.want) {
					t.Errorf("error %v, want %v", err, tt.want)
				}
			})
		})
	}
}

// Each probe opens a connection, and none stays.
func TestHTTPProbeLeavesNoConnection(t *testing.T) {
	bubble(t, func(t *testing.T) {
		open := 0
		listener := memnet.Listen()
		server := &http.Server{
			Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}),
			ConnState: func(_ net.Conn, s http.ConnState) {
				switch s {
				case http.StateNew:
					open++
				case http.StateClosed:
					open--
				}
			},
		}
		go func() { _ = server.Serve(listener) }()
		defer server.Close()
		p, err := NewHTTP(nil)
		if err != nil {
			t.Fatal(err)
		}
		for range 3 {
			if err := overListener(p, listener).Probe(t.Context(), "example.com"); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			if open != 0 {
				t.Errorf("%d connections are open after a probe", open)
			}
		}
	})
}

func TestTCPProbe(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := memnet.Listen()
		p := TCP{Dial: l.DialContext}
		if err := p.Probe(t.Context(), "example.com:80"); err != nil {
			t.Error(err)
		}
		conn, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
			t.Errorf("the probe's connection reads %v, want EOF: it is closed", err)
		}
		_ = l.Close()
		if err := p.Probe(t.Context(), "example.com:80"); err == nil || !strings.HasPrefix(err.Error(), "health: dial tcp") {
			t.Errorf("error %v, want that nobody listens", err)
		}
	})
}

func TestTCPProbeOverTheLoopback(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := (TCP{}).Probe(t.Context(), l.Addr().String()); err != nil {
		t.Error(err)
	}
	_ = l.Close()
	if err := (TCP{}).Probe(t.Context(), l.Addr().String()); err == nil {
		t.Error("no error though nobody listens")
	}
}

// A server is spoken to over TLS by the name that it has in HTTP. Its certificate is not
// trusted here, which is known after it was asked for.
func TestHTTPProbeAsksForItsHostOverTLS(t *testing.T) {
	t.Parallel()
	for host, want := range map[string]string{"orders.example": "orders.example", "orders.example:8443": "orders.example", "": "", "[2001:db8::1]:443": ""} {
		asked := make(chan string, 1)
		server := httptest.NewUnstartedServer(http.NotFoundHandler())
		server.Config.ErrorLog = log.New(io.Discard, "", 0)
		server.TLS = &tls.Config{GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			asked <- hello.ServerName
			return nil, nil
		}}
		server.StartTLS()
		p, err := NewHTTP(&HTTPOptions{Scheme: "https", Host: host})
		if err != nil {
			t.Fatal(err)
		}
		if err := p.Probe(t.Context(), server.Listener.Addr().String()); err == nil {
			t.Errorf("host %q: a certificate that nobody signed is trusted", host)
		}
		if got := <-asked; got != want {
			t.Errorf("host %q: TLS asked for %q, want %q", host, got, want)
		}
		server.Close()
	}
}
