package lb

import (
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
)

func TestSmoke(t *testing.T) {
	a, c := serve(t, named("a")), serve(t, named("c"))
	b := mustNew(t, Addrs(a, c), nil)
	cl := client(t, b.Transport(nil))
	counts := map[string]int{}
	for range 100 {
		_, body := get(t, cl, "http://orders/")
		counts[body]++
	}
	t.Log(counts)
	p, err := b.Proxy(&ProxyOptions{Affinity: &Affinity{Insecure: true}})
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewServer(p)
	defer s.Close()
	resp, err := http.Get(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(resp.Body)
	t.Log(resp.Header, string(body), b.Stats())
}
