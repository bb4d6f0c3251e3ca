package httpcache

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync/atomic"
	"testing"

	"github.com/uprung/uprung/benchmarks/internal/bench"
)

// All caches are asked for the same, and do not ask their origin again.
func TestHitsAreHits(t *testing.T) {
	t.Parallel()
	for _, impl := range hits().Impls {
		hit, err := impl.Open(&bench.Env{})
		if err != nil {
			t.Fatal(err)
		}
		for range 3 {
			if n, err := hit(); n != bodyLen || err != nil {
				t.Errorf("%s: %d bytes, %v", impl.Name, n, err)
			}
		}
	}
}

func TestProxiesAnswerFromTheirCaches(t *testing.T) {
	t.Parallel()
	for _, one := range Handlers() {
		t.Run(one.Name, func(t *testing.T) {
			t.Parallel()
			var calls atomic.Int32
			backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				calls.Add(1)
				dated(w, r)
			}))
			defer backend.Close()
			h, err := one.Make([]string{backend.Listener.Addr().String()})
			if err != nil {
				t.Fatal(err)
			}
			server := httptest.NewServer(h)
			defer server.Close()
			for range 3 {
				resp, err := http.Get(server.URL + "/items/42")
				if err != nil {
					t.Fatal(err)
				}
				text, err := io.ReadAll(resp.Body)
				_ = resp.Body.Close()
				if len(text) != bodyLen || err != nil {
					t.Errorf("%d bytes, %v", len(text), err)
				}
			}
			if n := calls.Load(); n > 1 {
				t.Errorf("the backend has been asked %d times", n)
			}
		})
	}
}

func TestConfigurationsNameTheBackend(t *testing.T) {
	t.Parallel()
	addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(4242))
	for _, d := range daemons {
		if text := d.Config(t.TempDir(), "127.0.0.1:1", []string{addr}); len(text) < 50 {
			t.Errorf("%s: %q", d.Name, text)
		}
	}
}
