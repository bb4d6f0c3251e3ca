package lb_test

import (
	"context"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"

	"github.com/uprung/uprung/lb"
)

// Endpoints in a file, which are in use within a second of when they are written
// there, while Run runs.
func ExampleNewFile() {
	dir, err := os.MkdirTemp("", "")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "orders.json")
	err = os.WriteFile(path, []byte(`[
		{"addr": "10.0.0.1:8080", "weight": 2, "zone": "north"},
		{"addr": "10.0.0.2:8080", "priority": 1}
	]`), 0o600)
	if err != nil {
		log.Fatal(err)
	}

	resolver, err := lb.NewFile(path, nil)
	if err != nil {
		log.Fatal(err)
	}
	balancer, err := lb.New(resolver, nil)
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

// The ready pods of a service. In a pod, where all options have the right defaults,
// this is
//
//	resolver, err := lb.NewKubernetes("orders", nil)
//
// and here there is a server that knows one pod, and its certificate.
func ExampleNewKubernetes() {
	api := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, `{"metadata": {"resourceVersion": "1"}, "items": [{
			"metadata": {"name": "orders-abc"},
			"addressType": "IPv4",
			"ports": [{"name": "http", "port": 8080}],
			"endpoints": [{"addresses": ["10.1.2.3"], "zone": "north", "targetRef": {"namespace": "shop", "name": "orders-0"}}]
		}]}`)
	}))
	defer api.Close()

	resolver, err := lb.NewKubernetes("orders", &lb.KubernetesOptions{
		Namespace: "shop",
		Port:      "http",
		URL:       api.URL,
		Token:     func(context.Context) (string, error) { return "token", nil },
		Transport: api.Client().Transport,
	})
	if err != nil {
		log.Fatal(err)
	}
	endpoints, err := resolver.Resolve(context.Background())
	if err != nil {
		log.Fatal(err)
	}
	for _, e := range endpoints {
		fmt.Println(e.ID, e.Addr, e.Zone)
	}
	// Output: shop/orders-0 10.1.2.3:8080 north
}

// registry is a resolver of one's own that tells of changes.
type registry struct {
	lb.Static
	changes chan []lb.Endpoint
}

func (r *registry) Watch(ctx context.Context, update func([]lb.Endpoint, error)) error {
	update(r.Resolve(ctx))
	for {
		select {
		case endpoints := <-r.changes:
			update(endpoints, nil)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func ExampleWatcher() {
	r := &registry{Static: lb.Addrs("10.0.0.1:80"), changes: make(chan []lb.Endpoint)}
	balancer, err := lb.New(r, nil)
	if err != nil {
		log.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- balancer.Run(ctx) }()
	r.changes <- lb.Addrs("10.0.0.2:80", "10.0.0.3:80")
	r.changes <- nil // an empty answer changes nothing
	stop()
	<-ended
	for _, e := range balancer.Stats().Endpoints {
		fmt.Println(e.Addr)
	}
	// Output:
	// 10.0.0.2:80
	// 10.0.0.3:80
}
