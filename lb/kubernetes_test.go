package lb

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/uprung/uprung/internal/memnet"
	"github.com/uprung/uprung/lb/pick"
)

func TestKubernetesErrors(t *testing.T) {
	t.Setenv("KUBERNETES_SERVICE_HOST", "")
	_, err := NewKubernetes("Orders", &KubernetesOptions{Namespace: "a/b", Port: "70000", Network: "tcp", WatchTimeout: -1})
	for _, want := range []string{
		`service is "Orders"`, `Namespace is "a/b"`, `Port is "70000", want a name or 1 to 65535`, `Network is "tcp"`,
		"URL is empty, want one outside of a pod", "WatchTimeout is -1ns, want >= 1s",
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v does not say %q", err, want)
		}
	}
	for _, url := range []string{"http://10.0.0.1", "10.0.0.1:443", "https://", "https://me:hunter2@10.0.0.1", "https://10.0.0.1?a=b", "https://10.0.0.1/#a", "https://a b"} {
		_, err := NewKubernetes("orders", &KubernetesOptions{URL: url})
		if err == nil || !strings.Contains(err.Error(), "URL is not valid") || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("error of %s is %v, want one of the URL", url, err)
		}
	}
	for _, name := range []string{"", "-a", "a-", "a.b", "a_b", strings.Repeat("a", 64)} {
		if _, err := NewKubernetes(name, &KubernetesOptions{URL: "https://10.0.0.1"}); err == nil {
			t.Errorf("%q is taken for the name of a service", name)
		}
	}
}

// A slice as the documentation of Kubernetes shows it (Concepts: EndpointSlices), and
// others in the same form.
func TestKubernetesEndpoints(t *testing.T) {
	t.Parallel()
	const documented = `{
		"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
		"metadata": {"name": "example-abc", "labels": {"kubernetes.io/service-name": "example"}},
		"addressType": "IPv4",
		"ports": [{"name": "http", "protocol": "TCP", "port": 80}],
		"endpoints": [{"addresses": ["10.1.2.3"], "conditions": {"ready": true}, "hostname": "pod-1", "nodeName": "node-1", "zone": "us-west2-a"}]
	}`
	a, b := pod{name: "a", ip: "10.0.0.1", zone: "north"}, pod{name: "b", ip: "10.0.0.2"}
	a6, b6 := pod{name: "a", ip: "2001:db8::1"}, pod{name: "b", ip: "2001:db8::2"}
	as := func(p pod, state string) pod {
		p.state = state
		return p
	}
	of := func(name, addressType string, ports []any, pods ...pod) string {
		return object("orders", name, addressType, 1, ports, pods...)
	}
	v4 := func(name string, pods ...pod) string { return of(name, "IPv4", http8080, pods...) }
	v6 := func(name string, pods ...pod) string { return of(name, "IPv6", http8080, pods...) }
	both := []any{port("http", "TCP", 8080), port("metrics", "TCP", 9090), port("dns", "UDP", 53)}

	for _, tt := range []struct {
		name   string
		o      KubernetesOptions
		slices []string
		want   string
		err    string
	}{
		{name: "documented", slices: []string{documented}, want: "10.1.2.3:80=10.1.2.3:80@us-west2-a"},
		{name: "none", want: ""},
		{name: "no pods", slices: []string{of("x", "IPv4", nil)}, want: ""},
		{name: "two slices", slices: []string{v4("x", b), v4("y", a)}, want: "shop/a=10.0.0.1:8080@north shop/b=10.0.0.2:8080@"},
		{name: "a pod in two slices", slices: []string{v4("x", a, b), v4("y", as(a, "unready"), b)}, want: "shop/a=10.0.0.1:8080@north shop/b=10.0.0.2:8080@"},
		{name: "an address in two slices", slices: []string{v4("x", pod{ip: "10.0.0.1"}), v4("y", pod{ip: "10.0.0.1"})}, want: "10.0.0.1:8080=10.0.0.1:8080@"},

		{name: "nothing said is ready", slices: []string{v4("x", as(a, "unknown"), as(b, "unready"))}, want: "shop/a=10.0.0.1:8080@north"},
		{name: "one shuts down", slices: []string{v4("x", as(a, "terminating"), b)}, want: "shop/b=10.0.0.2:8080@"},
		{name: "all shut down", slices: []string{v4("x", as(a, "terminating"), as(b, "stopped"))}, want: "shop/a=10.0.0.1:8080@north"},
		{name: "none ready", slices: []string{v4("x", as(a, "unready"), as(b, "stopped"))}, want: ""},

		{name: "two families", slices: []string{v6("x", a6, b6), v4("y", a, b)}, want: "shop/a=10.0.0.1:8080@north shop/b=10.0.0.2:8080@"},
		{name: "IPv6 alone", slices: []string{v6("x", a6)}, want: "shop/a=[2001:db8::1]:8080@"},
		{name: "IPv6 wanted", o: KubernetesOptions{Network: "ip6"}, slices: []string{v6("x", a6), v4("y", a)}, want: "shop/a=[2001:db8::1]:8080@"},
		{name: "IPv4 wanted", o: KubernetesOptions{Network: "ip4"}, slices: []string{v6("x", a6)}, want: ""},
		{name: "IPv6 ready, IPv4 shuts down", slices: []string{v6("x", a6), v4("y", as(b, "terminating"))}, want: "shop/a=[2001:db8::1]:8080@"},
		{name: "host names", slices: []string{of("x", "FQDN", http8080, pod{ip: "a.example"})}, want: ""},
		{name: "no address", slices: []string{v4("x", pod{ip: "everywhere"}, pod{ip: ""}, b)}, want: "shop/b=10.0.0.2:8080@"},

		{name: "port by name", o: KubernetesOptions{Port: "metrics"}, slices: []string{of("x", "IPv4", both, b)}, want: "shop/b=10.0.0.2:9090@"},
		{name: "port by number", o: KubernetesOptions{Port: "8080"}, slices: []string{of("x", "IPv4", both, b)}, want: "shop/b=10.0.0.2:8080@"},
		{name: "port not named", o: KubernetesOptions{}, slices: []string{of("x", "IPv4", both, b)}, err: `Port is empty, want one of the ports of orders: "http", "metrics"`},
		{name: "ports not named in two slices", slices: []string{v4("x", a), of("y", "IPv4", []any{port("metrics", "TCP", 9090)}, b)}, err: `"http", "metrics"`},
		{name: "no such port", o: KubernetesOptions{Port: "grpc"}, slices: []string{of("x", "IPv4", both, b)}, err: `Port is "grpc", want one of the ports of orders: "http", "metrics"`},
		{name: "not a port of TCP", o: KubernetesOptions{Port: "dns"}, slices: []string{of("x", "IPv4", both, b)}, err: `Port is "dns"`},
		{name: "a port that some lack", o: KubernetesOptions{Port: "metrics"}, slices: []string{v4("x", a), of("y", "IPv4", both, b)}, want: "shop/b=10.0.0.2:9090@"},
		{name: "a port of different numbers", slices: []string{v4("x", a), of("y", "IPv4", []any{port("http", "", 8081)}, b)}, want: "shop/a=10.0.0.1:8080@north shop/b=10.0.0.2:8081@"},
		{name: "a port without a name", slices: []string{of("x", "IPv4", []any{port("", "", 8080)}, b)}, want: "shop/b=10.0.0.2:8080@"},
		{name: "a port without a number", slices: []string{of("x", "IPv4", []any{map[string]any{"name": "http"}}, b)}, want: ""},
	} {
		k := &kubernetes{service: "orders", o: tt.o}
		set := &sliceSet{slices: map[string]*endpointSlice{}}
		for _, doc := range tt.slices {
			s := &endpointSlice{}
			if err := json.Unmarshal([]byte(doc), s); err != nil {
				t.Fatal(err)
			}
			set.slices[s.Metadata.Name] = s
		}
		endpoints, err := k.endpoints(set)
		if got := list(endpoints); got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
		if (err != nil) != (tt.err != "") || err != nil && !strings.Contains(err.Error(), tt.err) {
			t.Errorf("%s: error is %v, want %q", tt.name, err, tt.err)
		}
	}
}

// list describes endpoints as id=addr@zone.
func list(endpoints []Endpoint) string {
	var all []string
	for _, e := range endpoints {
		all = append(all, fmt.Sprintf("%s=%s@%s", e.ID, e.Addr, e.Zone))
	}
	return strings.Join(all, " ")
}

// told records what a watch tells.
type told struct {
	mu   sync.Mutex
	news []string
}

func (n *told) update(endpoints []Endpoint, err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	var ids []string
	for _, e := range endpoints {
		ids = append(ids, strings.TrimPrefix(e.ID, "shop/"))
	}
	what := strings.Join(ids, " ")
	if err != nil {
		what = "error: " + err.Error()
	}
	n.news = append(n.news, what)
}

// since returns what was told since it was called before.
func (n *told) since() string {
	synctest.Wait()
	n.mu.Lock()
	defer n.mu.Unlock()
	news := strings.Join(n.news, ", ")
	n.news = nil
	return news
}

// watching watches until the test ends or the returned function is called, which
// returns why it ended.
func watching(t *testing.T, r Resolver, n *told) (end func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	var err error
	go func() {
		defer close(ended)
		err = r.(Watcher).Watch(ctx, n.update)
	}()
	end = func() error {
		<-ended
		return err
	}
	t.Cleanup(func() {
		cancel()
		_ = end()
	})
	return end
}

// expect compares a string, and what was asked meanwhile.
func (c *cluster) expect(t *testing.T, got, want, asked string) {
	t.Helper()
	if got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := c.asked(); got != asked {
		t.Errorf("the server was asked %q, want %q", got, asked)
	}
}

func pods(from, n int) []pod {
	var some []pod
	for i := from; i < from+n; i++ {
		some = append(some, pod{name: fmt.Sprintf("pod-%03d", i), ip: fmt.Sprintf("10.0.%d.%d", i/256, i%256)})
	}
	return some
}

func TestKubernetesResolve(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, nil)
		for i := range 250 {
			c.set("orders", fmt.Sprintf("orders-%03d", i), pods(i, 2)...) // each pod is in two slices
		}
		c.set("users", "users-x", pod{name: "u", ip: "10.1.0.1"})
		r := c.resolver(t, "orders")
		endpoints, err := r.Resolve(t.Context())
		if err != nil || len(endpoints) != 251 || endpoints[250].ID != "shop/pod-250" {
			t.Errorf("got %d endpoints, %v, want 251", len(endpoints), err)
		}
		c.expect(t, "", "", "list, list on, list on")

		// A page whose list is forgotten: the list begins again, once.
		forgetful := func(w http.ResponseWriter, r *http.Request) {
			c.list(w, r, "orders")
			c.set("users", "users-x")
			c.forget(true)
		}
		c.fail("list", forgetful)
		endpoints, err = r.Resolve(t.Context())
		if err != nil || len(endpoints) != 251 {
			t.Errorf("got %d endpoints, %v, want 251", len(endpoints), err)
		}
		c.expect(t, "", "", "list, list on, list, list on, list on")
		c.fail("list", forgetful)
		c.fail("list", func(w http.ResponseWriter, _ *http.Request) { refuse(w, 410, "Expired", "too old") })
		c.fail("list", func(w http.ResponseWriter, _ *http.Request) { refuse(w, 410, "Expired", "too old") })
		if _, err = r.Resolve(t.Context()); !errors.Is(err, errGone) {
			t.Errorf("error is %v, want %v", err, errGone)
		}
	})
}

// What a watch tells, and how little it asks for it.
func TestKubernetesWatch(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, nil)
		a, b := pod{name: "a", ip: "10.0.0.1"}, pod{name: "b", ip: "10.0.0.2"}
		c.set("orders", "x", a)
		var n told
		watching(t, c.resolver(t, "orders"), &n)
		c.expect(t, n.since(), "a", "list, watch 101")
		c.set("orders", "x", a, b)
		c.expect(t, n.since(), "a b", "")
		c.set("orders", "x", a, b) // another annotation
		c.set("users", "u", pod{name: "u", ip: "10.1.0.1"})
		c.expect(t, n.since(), "", "")
		b.state = "unready"
		c.set("orders", "x", a, b)
		c.expect(t, n.since(), "a", "")
		c.set("orders", "y", pod{name: "c", ip: "10.0.0.3"})
		c.expect(t, n.since(), "a c", "")
		c.remove("x")
		c.expect(t, n.since(), "c", "")
		c.set("orders", "y")
		c.expect(t, n.since(), "", "") // told, and no endpoints
		c.setPorts("orders", "y", "IPv4", []any{port("a", "TCP", 1), port("b", "TCP", 2)}, a)
		if got := n.since(); !strings.HasPrefix(got, "error: lb: KubernetesOptions.Port is empty") {
			t.Errorf("told %q, want an error of the port", got)
		}
		c.set("orders", "y", a)
		c.expect(t, n.since(), "a", "")
	})
}

// However a connection ends, the watch goes on where it was, and nothing is listed
// twice.
func TestKubernetesResumes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, nil)
		a, b := pod{name: "a", ip: "10.0.0.1"}, pod{name: "b", ip: "10.0.0.2"}
		c.set("orders", "x", a)
		r := c.resolver(t, "orders")
		var n told
		end := watching(t, r, &n)
		c.expect(t, n.since(), "a", "list, watch 101")

		// The server ends it in good order, after 3m45s to 5m.
		time.Sleep(5 * time.Minute)
		c.expect(t, n.since(), "", "watch 101")
		c.set("orders", "x", a, b)
		c.expect(t, n.since(), "a b", "")

		// It cuts it off.
		c.interrupt()
		if err := end(); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("the watch ended with %v, want %v", err, io.ErrUnexpectedEOF)
		}
		c.set("orders", "y", pod{name: "c", ip: "10.0.0.3"})
		c.remove("x")
		end = watching(t, r, &n)
		c.expect(t, n.since(), "a b, a b c, c", "watch 102")

		// A bookmark tells a version that is remembered longer.
		c.bookmark()
		c.forget(true)
		synctest.Wait()
		c.interrupt()
		_ = end()
		c.set("orders", "x", a)
		end = watching(t, r, &n)
		c.expect(t, n.since(), "c, a c", "watch 115")

		// In the middle of an event, which is sent again.
		for _, half := range []string{`{"type":"MODIFIED","object":{"metadata":{"name":"x","resourceVersion":"999"},"addr`, `{"type":"MOD`, "{"} {
			c.interrupt()
			_ = end()
			c.fail("watch", func(w http.ResponseWriter, _ *http.Request) {
				begin(w)
				_, _ = io.WriteString(w, half)
			})
			if err := watching(t, r, &n)(); !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Errorf("a watch of half an event ended with %v, want %v", err, io.ErrUnexpectedEOF)
			}
			end = watching(t, r, &n)
			c.expect(t, n.since(), "a c, a c", "watch 116, watch 116")
		}

		// Byte by byte.
		c.interrupt()
		_ = end()
		c.set("orders", "x", a, b)
		c.fail("watch", func(w http.ResponseWriter, r *http.Request) {
			begin(w)
			for _, char := range fmt.Appendf(nil, `{"type":"MODIFIED","object":%s}`, object("orders", "x", "IPv4", 117, http8080, a, b)) {
				_, _ = w.Write([]byte{char})
				_ = http.NewResponseController(w).Flush()
				time.Sleep(time.Millisecond)
			}
		})
		watching(t, r, &n)
		time.Sleep(10 * time.Second)
		c.expect(t, n.since(), "a c, a b c", "watch 116, watch 117")
	})
}

// A version that the server has forgotten is listed anew, at once.
func TestKubernetesGone(t *testing.T) {
	t.Parallel()
	for name, byStatus := range map[string]bool{"as a status": true, "as an event": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				c := newCluster(t, nil)
				c.set("orders", "x", pod{name: "a", ip: "10.0.0.1"})
				c.set("orders", "y", pod{name: "b", ip: "10.0.0.2"})
				r := c.resolver(t, "orders")
				var n told
				end := watching(t, r, &n)
				c.expect(t, n.since(), "a b", "list, watch 102")
				c.interrupt()
				_ = end()
				c.remove("x")
				c.forget(byStatus)
				end = watching(t, r, &n)
				want := "a b, b"
				if byStatus {
					want = "b"
				}
				c.expect(t, n.since(), want, "watch 102, list, watch 103")

				// Even what was just listed: it is not tried without a pause.
				c.interrupt()
				_ = end()
				c.bookmark()
				c.forget(byStatus)
				c.fail("watch", func(w http.ResponseWriter, _ *http.Request) { refuse(w, 410, "Expired", "too old") })
				c.fail("watch", func(w http.ResponseWriter, _ *http.Request) { refuse(w, 410, "Expired", "too old") })
				if err := watching(t, r, &n)(); !errors.Is(err, errGone) {
					t.Errorf("the watch ended with %v, want %v", err, errGone)
				}
				c.expect(t, n.since(), "b", "watch 103, list, watch 114")
				watching(t, r, &n)
				c.expect(t, n.since(), "b", "list, watch 114")
			})
		})
	}
}

// Which errors a watch goes on after, and after which it begins with a list.
func TestKubernetesRefused(t *testing.T) {
	t.Parallel()
	event := func(event, doc string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			begin(w)
			send(w, event, doc)
		}
	}
	answer := func(code int, reason string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { refuse(w, code, reason, "no "+reason) }
	}
	const again, anew = "watch 101", "list, watch 101"
	for _, tt := range []struct {
		name  string
		fault http.HandlerFunc
		err   string
		then  string
	}{
		{"400", answer(400, "BadRequest"), `lb: Kubernetes answers 400: "no BadRequest"`, anew},
		{"401", answer(401, "Unauthorized"), "401", anew},
		{"403", answer(403, "Forbidden"), "403", anew},
		{"404", answer(404, "NotFound"), "404", anew},
		{"429", answer(429, "TooManyRequests"), "429", again},
		{"500", answer(500, "InternalError"), "500", anew},
		{"503", answer(503, "ServiceUnavailable"), "503", again},
		{"504, a version of the future", answer(504, "Timeout"), "504", anew},
		{"502 of a proxy", func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, "<html>bad gateway", http.StatusBadGateway)
		}, "lb: Kubernetes answers 502", anew},
		{"a redirect", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "https://elsewhere.example/", http.StatusFound)
		}, "answers 302", anew},
		{"event of 500", event("ERROR", statusDoc(500, "InternalError", "etcd is gone")), `answers 500: "etcd is gone"`, anew},
		{"event of 429", event("ERROR", statusDoc(429, "TooManyRequests", "wait")), "429", again},
		{"event of an unknown type", event("RENAMED", object("orders", "x", "IPv4", 102, nil)), `an event of type "RENAMED"`, anew},
		{"event without a version", event("BOOKMARK", `{"metadata":{}}`), "an event BOOKMARK without a version", anew},
		{"event without a name", event("ADDED", `{"metadata":{"resourceVersion":"102"}}`), "an event ADDED of a slice without a name", anew},
		{"event of nothing", event("ADDED", `null`), "without a name", anew},
		{"event of another form", event("ADDED", `{"endpoints":[{"addresses":"10.0.0.1"}]}`), "cannot unmarshal string", anew},
		{"no JSON", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "<html>hello</html>") }, "invalid character '<'", anew},
		{"too large", func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, `{"type":"ADDED","object":{"metadata":{"name":"`)
			for range maxEvent >> 16 {
				_, _ = io.WriteString(w, strings.Repeat("x", 1<<16))
			}
		}, "more than there can be", anew},
		{"ends at once", func(w http.ResponseWriter, _ *http.Request) { begin(w) }, "ended a watch within 1s", again},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				c := newCluster(t, nil)
				c.set("orders", "x", pod{name: "a", ip: "10.0.0.1"})
				c.fail("watch", tt.fault)
				r := c.resolver(t, "orders")
				var n told
				err := watching(t, r, &n)()
				if err == nil || !strings.Contains(err.Error(), tt.err) || strings.Count(err.Error(), "lb: ") != 1 {
					t.Errorf("the watch ended with %v, want %s", err, tt.err)
				}
				c.expect(t, n.since(), "a", "list, watch 101")
				watching(t, r, &n)
				c.expect(t, n.since(), "a", tt.then)
			})
		})
	}
}

// The same of lists, which are all that Resolve asks for.
func TestKubernetesListRefused(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		fault http.HandlerFunc
		err   string
	}{
		{"403", func(w http.ResponseWriter, _ *http.Request) { refuse(w, 403, "Forbidden", "User cannot list") }, `lb: Kubernetes answers 403: "User cannot list"`},
		{"long", func(w http.ResponseWriter, _ *http.Request) {
			refuse(w, 500, "InternalError", strings.Repeat("long ", 1000))
		}, "answers 500"},
		{"with the token", func(w http.ResponseWriter, r *http.Request) {
			refuse(w, 400, "BadRequest", r.Header.Get("Authorization"))
		}, `"Bearer (token)"`},
		{"cut off", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "1000")
			_, _ = io.WriteString(w, `{"items":[`)
		}, "unexpected EOF"},
		{"no version", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, `{"items":[]}`) }, "a list without a version"},
		{"no JSON", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, `{}{}`) }, "invalid character '{'"},
		{"too large", func(w http.ResponseWriter, _ *http.Request) {
			page := bytes.Repeat([]byte(" "), 1<<20)
			for range maxList>>20 + 1 {
				_, _ = w.Write(page)
			}
		}, "more than there can be"},
		{"silence", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, "no answer within 30s"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				c := newCluster(t, nil)
				c.fail("list", tt.fault)
				_, err := c.resolver(t, "orders").Resolve(t.Context())
				if err == nil || !strings.Contains(err.Error(), tt.err) || strings.Count(err.Error(), "lb: ") != 1 || len(err.Error()) > 1000 {
					t.Errorf("error is %v, want %s", err, tt.err)
				}
				if strings.Contains(fmt.Sprint(err), "secret") {
					t.Errorf("error %v tells the token", err)
				}
			})
		})
	}
}

// A server that says nothing: before it answers, or when it should end the watch.
func TestKubernetesSilence(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, nil)
		c.set("orders", "x", pod{name: "a", ip: "10.0.0.1"})
		r := c.resolver(t, "orders")
		var n told
		c.fail("watch", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
		began := time.Now()
		err := watching(t, r, &n)()
		if took := time.Since(began); !errors.Is(err, errNoAnswer) || took != answerWithin {
			t.Errorf("the watch ended after %v with %v, want %v after %v", took, err, errNoAnswer, answerWithin)
		}
		c.fail("watch", func(w http.ResponseWriter, r *http.Request) {
			begin(w)
			<-r.Context().Done()
		})
		began = time.Now()
		err = watching(t, r, &n)()
		if took := time.Since(began); !errors.Is(err, errSilent) || took > 5*time.Minute+endWithin || took < 3*time.Minute {
			t.Errorf("the watch ended after %v with %v, want %v", took, err, errSilent)
		}
		c.expect(t, n.since(), "a, a", "list, watch 101, watch 101")

		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := r.(Watcher).Watch(ctx, n.update); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("the watch ended with %v, want %v", err, context.DeadlineExceeded)
		}
	})
}

// Two balancers may have one resolver: one of them takes up what is known, the other
// lists.
func TestKubernetesTwoWatches(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, nil)
		c.set("orders", "x", pod{name: "a", ip: "10.0.0.1"})
		r := c.resolver(t, "orders")
		var n, m told
		end := watching(t, r, &n)
		c.expect(t, n.since(), "a", "list, watch 101")
		c.interrupt()
		_ = end()
		watching(t, r, &n)
		synctest.Wait()
		watching(t, r, &m)
		c.expect(t, n.since()+m.since(), "aa", "watch 101, list, watch 101")
		c.set("orders", "x", pods(1, 1)...)
		c.expect(t, n.since()+m.since(), "pod-001pod-001", "")
	})
}

// fabric is where pods listen, each by its address.
type fabric struct {
	mu   sync.Mutex
	pods map[string]*memnet.Listener
}

// pod starts a server that answers with a name.
func (f *fabric) pod(t *testing.T, addr, name string) {
	l := memnet.Listen()
	server := &http.Server{Handler: named(name)}
	go func() { _ = server.Serve(l) }() // ends with Close
	t.Cleanup(func() { _ = server.Close() })
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.pods == nil {
		f.pods = map[string]*memnet.Listener{}
	}
	f.pods[addr] = l
}

func (f *fabric) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	f.mu.Lock()
	l := f.pods[addr]
	f.mu.Unlock()
	if l == nil {
		return nil, fmt.Errorf("no route to %s", addr)
	}
	return l.DialContext(ctx, network, addr)
}

// Requests go to the pods of a service as they come and go, and to the last that were
// known while the API server is away.
func TestKubernetesEndToEnd(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var f fabric
		for i, name := range []string{"a", "b", "c"} {
			f.pod(t, fmt.Sprintf("10.0.0.%d:8080", i+1), name)
		}
		a, b, c3 := pod{name: "a", ip: "10.0.0.1", zone: "north"}, pod{name: "b", ip: "10.0.0.2"}, pod{name: "c", ip: "10.0.0.3"}
		api := newCluster(t, nil)
		api.set("orders", "orders-1", a)
		var logs lockedBuffer
		b1 := mustNew(t, api.resolver(t, "orders"), &Options{Policy: pick.RoundRobin{}, SlowStart: -1, Logger: slog.New(slog.NewTextHandler(&logs, nil))})
		c := client(t, b1.Transport(&http.Transport{DialContext: f.dial}))
		answers := func() string {
			synctest.Wait()
			seen := map[string]bool{}
			for range 12 {
				_, body := get(t, c, "http://orders/")
				seen[body] = true
			}
			return joined(seen)
		}

		api.expect(t, answers(), "a", "list") // without Run
		api.set("orders", "orders-1", a, b)
		api.expect(t, answers(), "a", "")

		start(t, b1)
		api.expect(t, answers(), "a b", "list, watch 102")
		if got := b1.Stats().of(t, "shop/a"); got.Zone != "north" || got.Addr != "10.0.0.1:8080" {
			t.Errorf("the endpoint is %+v, want one of the zone north", got)
		}
		b.state = "unready"
		api.set("orders", "orders-1", a, b)
		api.expect(t, answers(), "a", "")
		api.set("orders", "orders-2", c3)
		api.expect(t, answers(), "a c", "")
		api.remove("orders-1")
		api.expect(t, answers(), "c", "")
		c3.state = "terminating"
		api.set("orders", "orders-2", c3)
		api.expect(t, answers(), "c", "")
		api.set("orders", "orders-2") // of no pods at all: the last are kept
		api.expect(t, answers(), "c", "")

		// Away for an hour, and tried 30 seconds apart at most.
		api.away(true)
		time.Sleep(time.Hour)
		api.expect(t, answers(), "c", "")
		failed := b1.Stats().Unresolved
		if failed < 120 || failed > 260 {
			t.Errorf("%d resolutions failed, want one in 15 to 30 seconds", failed)
		}
		api.set("orders", "orders-2", a)
		api.away(false)
		time.Sleep(31 * time.Second)
		api.expect(t, answers(), "a", "watch 107")

		// The server accepts another token only; the kubelet writes it later.
		api.rotate("secret-2")
		api.interrupt()
		api.set("orders", "orders-2", a, c3)
		time.Sleep(time.Minute)
		if got := answers(); got != "a" {
			t.Errorf("answers are of %s, want a", got)
		}
		api.write(t, "token", "secret-2")
		c3.state = ""
		api.set("orders", "orders-2", c3)
		time.Sleep(31 * time.Second)
		if got := answers(); got != "c" {
			t.Errorf("answers are of %s, want c", got)
		}
		if got := logs.String(); strings.Contains(got, "secret") || !strings.Contains(got, "answers 401") {
			t.Errorf("the log should tell of 401, and no token:\n%s", got)
		}
	})
}

// joined returns the keys of a set in order.
func joined(set map[string]bool) string {
	var all []string
	for s := range set {
		all = append(all, s)
	}
	slices.Sort(all)
	return strings.Join(all, " ")
}

// lockedBuffer is a buffer for several goroutines.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// Without the right to watch, a list each Options.Refresh tells of changes.
func TestKubernetesListsWithoutWatch(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, nil)
		c.set("orders", "x", pod{name: "a", ip: "10.0.0.1"})
		for range 1000 {
			c.fail("watch", func(w http.ResponseWriter, _ *http.Request) { refuse(w, 403, "Forbidden", "cannot watch") })
		}
		b := mustNew(t, c.resolver(t, "orders"), &Options{Refresh: 10 * time.Second})
		start(t, b)
		time.Sleep(10 * time.Minute)
		if lists := strings.Count(c.asked(), "list"); lists < 60 || lists > 125 {
			t.Errorf("%d lists in ten minutes, want one in 5 to 10 seconds", lists)
		}
		c.set("orders", "x", pod{name: "b", ip: "10.0.0.2"})
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if s := b.Stats(); len(s.Endpoints) != 1 || s.Endpoints[0].ID != "shop/b" {
			t.Errorf("endpoints are %+v, want b", s.Endpoints)
		}
	})
}

// In a pod: by the environment, over TLS, with the files of the service account. It
// is in no bubble: connections are real.
func TestKubernetesPod(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := newCluster(t, l)
	c.set("orders", "x", pod{name: "a", ip: "10.0.0.1"})
	host, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("KUBERNETES_SERVICE_HOST", host)
	t.Setenv("KUBERNETES_SERVICE_PORT", port)
	r, err := NewKubernetes("orders", &KubernetesOptions{ServiceAccount: c.account})
	if err != nil {
		t.Fatal(err)
	}
	resolve := func(want string) {
		t.Helper()
		if endpoints, err := r.Resolve(t.Context()); err != nil || list(endpoints) != want {
			t.Errorf("got %s, %v, want %s", list(endpoints), err, want)
		}
	}
	resolve("shop/a=10.0.0.1:8080@")

	ctx, cancel := context.WithCancel(t.Context())
	news, ended := make(chan string), make(chan error)
	go func() {
		ended <- r.(Watcher).Watch(ctx, func(endpoints []Endpoint, _ error) { news <- list(endpoints) })
	}()
	<-news
	c.set("orders", "x", pod{name: "b", ip: "10.0.0.2"})
	if got := <-news; got != "shop/b=10.0.0.2:8080@" {
		t.Errorf("told %s, want b", got)
	}
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("the watch ended with %v, want %v", err, context.Canceled)
	}

	// Another authority is not trusted, until it is the one of the service account.
	other, _ := authority(t)
	for _, tt := range []struct{ file, content, err string }{
		{"ca.crt", string(other), "certificate signed by unknown authority"},
		{"ca.crt", "nothing", "ca.crt of the service account has no certificate"},
		{"token", "secret\x00", "token of the service account is not of printable ASCII"},
		{"token", "", "token of the service account is not of printable ASCII"},
		{"token", strings.Repeat("x", maxAccountFile+1), "more than"},
		{"namespace", "../secrets", "namespace of the service account has none"},
	} {
		c.write(t, tt.file, tt.content)
		_, err := r.Resolve(t.Context())
		if err == nil || !strings.Contains(err.Error(), tt.err) || strings.Contains(err.Error(), "secret\x00") {
			t.Errorf("error with %s is %v, want %s", tt.file, err, tt.err)
		}
		c.write(t, "ca.crt", string(other)+string(c.ca))
		c.write(t, "token", "secret-1\n")
		c.write(t, "namespace", "shop\n")
		resolve("shop/b=10.0.0.2:8080@")
	}
	c.write(t, "namespace", "bazaar")
	if _, err := r.Resolve(t.Context()); err == nil || !strings.Contains(err.Error(), "answers 403") {
		t.Errorf("error in another namespace is %v, want 403", err)
	}
}

// A token need not be that of the service account.
func TestKubernetesToken(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, nil)
		c.set("orders", "x", pod{name: "a", ip: "10.0.0.1"})
		broken := errors.New("broken")
		for _, tt := range []struct {
			token string
			err   error
			want  string
		}{
			{"secret-1", nil, ""}, {"", nil, "answers 401"}, {"secret\n", nil, "is not of printable"}, {"", broken, "lb: Kubernetes: broken"},
		} {
			o := c.options()
			o.Namespace, o.ServiceAccount = "shop", "/nowhere"
			o.Token = func(context.Context) (string, error) { return tt.token, tt.err }
			r, err := NewKubernetes("orders", o)
			if err != nil {
				t.Fatal(err)
			}
			if _, err = r.Resolve(t.Context()); (err != nil) != (tt.want != "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error with the token %q is %v, want %s", tt.token, err, tt.want)
			}
		}
	})
}

// FuzzKubernetesEvents checks that whatever a server sends leads to endpoints that can
// be used, or to an error.
func FuzzKubernetesEvents(f *testing.F) {
	event := func(event, doc string) string { return fmt.Sprintf(`{"type":%q,"object":%s}`, event, doc) + "\n" }
	x := object("orders", "x", "IPv4", 2, http8080, pods(0, 3)...)
	f.Add(event("ADDED", x))
	f.Add(event("ADDED", x) + event("MODIFIED", object("orders", "x", "IPv6", 3, http8080, pod{ip: "2001:db8::1"})) + event("DELETED", x))
	f.Add(event("BOOKMARK", `{"metadata":{"resourceVersion":"7"}}`) + event("ERROR", statusDoc(410, "Expired", "too old")))
	f.Add(event("ADDED", x)[:100])
	f.Fuzz(func(t *testing.T, stream string) {
		k := &kubernetes{service: "orders"}
		set := &sliceSet{slices: map[string]*endpointSlice{}, version: "1"}
		err := set.follow(strings.NewReader(stream), func() {
			endpoints, err := k.endpoints(set)
			if err != nil || len(endpoints) == 0 {
				return
			}
			if got, err := checked(endpoints); err != nil || !slices.Equal(got, endpoints) {
				t.Errorf("the endpoints %+v are not valid or not in order: %v", endpoints, err)
			}
			if set.version == "" {
				t.Error("there are endpoints and no version")
			}
		})
		if len(set.slices) > 0 && set.version == "1" {
			t.Errorf("there are slices of no version, after %v", err)
		}
	})
}
