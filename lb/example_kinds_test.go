package lb_test

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"time"

	"github.com/uprung/uprung"
	"github.com/uprung/uprung/health"
	"github.com/uprung/uprung/key"
	"github.com/uprung/uprung/lb"
	"github.com/uprung/uprung/retry"
)

// A reverse proxy in front of one server. Clients stay with the server that answered
// them first.
func ExampleBalancer_Proxy() {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%s for %s", r.URL.Path, r.Header.Get("X-Forwarded-For"))
	}))
	defer server.Close()
	balancer, err := lb.New(lb.Addrs(strings.TrimPrefix(server.URL, "http://")), nil)
	if err != nil {
		log.Fatal(err)
	}
	target, err := url.Parse("http://orders.internal/v1")
	if err != nil {
		log.Fatal(err)
	}
	proxy, err := balancer.Proxy(&lb.ProxyOptions{Target: target, Affinity: &lb.Affinity{}})
	if err != nil {
		log.Fatal(err)
	}

	w := httptest.NewRecorder()
	proxy.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/42", nil))
	fmt.Println(w.Code, w.Body, len(w.Result().Cookies()))
	// Output: 200 /v1/42 for 192.0.2.1 1
}

// A reverse proxy that tries again elsewhere what one of two servers cannot answer.
func ExampleBalancer_Proxy_retries() {
	broken := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) }))
	defer broken.Close()
	well := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "42") }))
	defer well.Close()
	balancer, err := lb.New(lb.Addrs(strings.TrimPrefix(broken.URL, "http://"), strings.TrimPrefix(well.URL, "http://")), nil)
	if err != nil {
		log.Fatal(err)
	}
	retries, err := retry.New(nil)
	if err != nil {
		log.Fatal(err)
	}
	proxy, err := balancer.Proxy(&lb.ProxyOptions{Wrap: retries.Transport})
	if err != nil {
		log.Fatal(err)
	}

	for range 3 {
		w := httptest.NewRecorder()
		proxy.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
		fmt.Println(w.Code, w.Body)
	}
	for _, layer := range uprung.Layers(proxy) {
		fmt.Println(layer)
	}
	// Output:
	// 200 42
	// 200 42
	// 200 42
	// proxy "default"
	// retry "default"
	// balance "default"
}

// The addresses of a name, asked for again every ten seconds, and probed.
func ExampleNewDNS() {
	resolver, err := lb.NewDNS("localhost:8080", nil)
	if err != nil {
		log.Fatal(err)
	}
	probe, err := health.NewHTTP(&health.HTTPOptions{Path: "/readyz"})
	if err != nil {
		log.Fatal(err)
	}
	balancer, err := lb.New(resolver, &lb.Options{Refresh: 10 * time.Second, Probe: probe})
	if err != nil {
		log.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- balancer.Run(ctx) }()
	// The program serves, with balancer.Transport(nil).
	stop()
	fmt.Println(<-ended)
	// Output: <nil>
}

func ExampleNewSRV() {
	resolver, err := lb.NewSRV("_http._tcp.orders.example", nil)
	if err != nil {
		log.Fatal(err)
	}
	if _, err := lb.New(resolver, nil); err != nil {
		log.Fatal(err)
	}
	fmt.Println("resolved by the first request")
	// Output: resolved by the first request
}

// A third of many clients: client 2 has connections to 3 of 9 endpoints.
func ExampleNewSubset() {
	var all lb.Static
	for i := range 9 {
		all = append(all, lb.Endpoint{Addr: fmt.Sprintf("10.0.0.%d:80", i+1)})
	}
	some, err := lb.NewSubset(all, 2, 3)
	if err != nil {
		log.Fatal(err)
	}
	endpoints, err := some.Resolve(context.Background())
	if err != nil {
		log.Fatal(err)
	}
	for _, e := range endpoints {
		fmt.Println(e.Addr)
	}
	// Unordered output:
	// 10.0.0.2:80
	// 10.0.0.8:80
	// 10.0.0.9:80
}

// Requests of one user go to one cache server.
func ExampleByKey() {
	policy := lb.ByKey(nil)
	policy.Bound = 1.25 // no server has more than 1.25 times the average
	balancer, err := lb.New(lb.Addrs("10.0.0.1:80", "10.0.0.2:80"), &lb.Options{
		Policy: policy,
		Key:    key.Header("X-User"),
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(balancer.Layer().Settings[0].Value)
	// Output: pick.Hashed
}
