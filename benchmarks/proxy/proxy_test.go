package proxy

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestMain(m *testing.M) {
	Child(nil)
	os.Exit(m.Run())
}

// starters returns how each proxy that is there is started.
func starters(t *testing.T) map[string]func(backends []string) (*process, error) {
	all := map[string]func([]string) (*process, error){}
	for _, one := range handlers {
		all[one.Name] = func(backends []string) (*process, error) { return startSelf(suiteName+"/"+one.Name, backends...) }
	}
	for _, d := range daemons {
		path, err := d.path()
		if err != nil {
			t.Logf("%s is left out (apt-get install %s)", d.Name, d.Name)
			continue
		}
		all[d.Name] = func(backends []string) (*process, error) { return d.start(path, backends) }
	}
	return all
}

// seen is what a backend has seen.
type seen struct {
	mu              sync.Mutex
	requests, conns int
	header          http.Header
	host            string
}

// newSeen starts a backend that answers as those of the suite do.
func newSeen(t *testing.T) (*seen, string) {
	t.Helper()
	s := &seen{}
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		s.requests++
		s.header, s.host = r.Header, r.Host
		s.mu.Unlock()
		w.Header().Set("Content-Length", strconv.Itoa(len(body)))
		_, _ = w.Write(body)
	}))
	server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			s.mu.Lock()
			s.conns++
			s.mu.Unlock()
		}
	}
	server.Start()
	t.Cleanup(server.Close)
	return s, server.Listener.Addr().String()
}

// All proxies do the same work.
func TestProxiesAreAlike(t *testing.T) {
	t.Parallel()
	for name, start := range starters(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a, addrA := newSeen(t)
			b, addrB := newSeen(t)
			p, err := start([]string{addrA, addrB})
			if err != nil {
				t.Fatal(err)
			}
			defer p.Close()
			l, err := newLoad(p.addrs[0], 2)
			if err != nil {
				t.Fatal(err)
			}
			defer l.close()
			from := time.Now()
			took, err := l.run(from, from.Add(200*time.Millisecond))()
			if err != nil || len(took) == 0 {
				t.Fatalf("%d answers, %v", len(took), err)
			}
			for _, s := range []*seen{a, b} {
				s.mu.Lock()
				if s.requests < 2 || s.conns > 16 {
					t.Errorf("one backend gets %d of about %d requests, over %d connections", s.requests, len(took), s.conns)
				}
				for field, want := range map[string]string{"X-Forwarded-For": "127.0.0.1", "X-Forwarded-Host": "shop.example", "X-Forwarded-Proto": "http"} {
					if got := s.header.Get(field); got != want {
						t.Errorf("%s is %q, want %q", field, got, want)
					}
				}
				if s.host != "shop.example" {
					t.Errorf("Host is %q, want shop.example", s.host)
				}
				s.mu.Unlock()
			}
			if used, ok := p.cpuTime(); ok && used == 0 && len(took) > 1000 {
				t.Errorf("no CPU time for %d requests", len(took))
			}
		})
	}
}

// A wrong answer ends a round with an error.
func TestLoadChecksAnswers(t *testing.T) {
	t.Parallel()
	right := string(answer())
	header, _, _ := strings.Cut(right, "\r\n\r\n")
	for _, tt := range []struct{ name, answer, want string }{
		{"right", right, ""},
		{"status", strings.Replace(right, "200 OK", "502 Bad Gateway", 1), `answer is "HTTP/1.1 502 Bad Gateway", want 200`},
		{"length", strings.Replace(right, "Content-Length: 4096", "Content-Length: 4095", 1), "want 4096"},
		{"no length", strings.Replace(right, "Content-Length", "X-Length", 1), "has no length"},
		{"body", header + "\r\n\r\n" + strings.Repeat("x", bodyLen), "others than the backends sent"},
		{"longer", right + "x", "a body is of 4097 bytes"},
		{"endless header", "HTTP/1.1 200 OK\r\n" + strings.Repeat("X: y\r\n", 2000), "a header does not end"},
		{"not all", right[:len(right)-1], "4095 bytes of a body"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			near, far := net.Pipe()
			go func() { // ends with the pipe
				_, _ = far.Read(make([]byte, 4096))
				_, _ = far.Write([]byte(tt.answer))
				_ = far.Close()
			}()
			c := client{conn: near}
			err := c.exchange()
			_ = near.Close()
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("error is %v, want %q", err, tt.want)
			}
		})
	}
}

func TestStartFails(t *testing.T) {
	t.Parallel()
	if _, err := startSelf("no such proxy"); err == nil || !strings.Contains(err.Error(), "want the name of a proxy") {
		t.Errorf("an unknown role gives %v", err)
	}
	for _, d := range daemons {
		path, err := d.path()
		if err != nil {
			continue
		}
		d.Config = func(string, string, []string) string { return "nonsense" }
		if _, err := d.start(path, nil); err == nil || !strings.Contains(err.Error(), "does not start") {
			t.Errorf("%s with a wrong configuration gives %v", d.Name, err)
		}
	}
}

func TestQuantile(t *testing.T) {
	t.Parallel()
	values := make([]time.Duration, 100)
	for i := range values {
		values[i] = time.Duration(i + 1)
	}
	for q, want := range map[float64]time.Duration{0: 1, 0.5: 51, 0.99: 100, 1: 100} {
		if got := quantile(values, q); got != want {
			t.Errorf("quantile(%v) is %d, want %d", q, got, want)
		}
	}
	if got := fmt.Sprint(milliseconds(1500 * time.Microsecond)); got != "1.5" {
		t.Errorf("1500 us are %s ms", got)
	}
}
