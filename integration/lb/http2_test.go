package lb

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"golang.org/x/net/http2"

	"github.com/uprung/uprung/lb"
	"github.com/uprung/uprung/lb/pick"
)

// A transport that golang.org/x/net/http2 has set up keeps the connections of all
// endpoints in one pool, by the name of the service: the balancer has net/http do HTTP/2
// instead, so that each endpoint gets its requests, over HTTP/2, and the settings of
// x/net are lost.
func TestConfiguredByXNet(t *testing.T) {
	t.Parallel()
	const servers, requests = 3, 30
	base := &http.Transport{}
	var addrs []string
	for i := range servers {
		s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = fmt.Fprintf(w, "%d %s %s", i, r.Proto, r.Host)
		}))
		s.EnableHTTP2 = true
		s.StartTLS()
		t.Cleanup(s.Close)
		addrs = append(addrs, s.Listener.Addr().String())
		// All of them have the certificate of example.com.
		base.TLSClientConfig = s.Client().Transport.(*http.Transport).TLSClientConfig.Clone()
	}
	settings, err := http2.ConfigureTransports(base)
	if err != nil {
		t.Fatal(err)
	}
	settings.MaxHeaderListSize = 1 // no answer would do: it shows that this is not used
	b, err := lb.New(lb.Addrs(addrs...), &lb.Options{Policy: pick.RoundRobin{}})
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: b.Transport(base)}
	t.Cleanup(client.CloseIdleConnections)
	got := map[string]int{}
	for range requests {
		resp, err := client.Get("https://example.com/")
		if err != nil {
			t.Fatal(err)
		}
		answer, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close() // it has been read
		if err != nil {
			t.Fatal(err)
		}
		got[string(answer)]++
	}
	for i := range servers {
		want := fmt.Sprintf("%d HTTP/2.0 example.com", i)
		if got[want] != requests/servers {
			t.Errorf("%d of %d answers are %q, want a third; all are %v", got[want], requests, want, got)
		}
	}
}
