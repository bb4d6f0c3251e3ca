package httpcache

import (
	"net/http"
	"testing"
	"time"

	"github.com/uprung/uprung"
	"github.com/uprung/uprung/middlewaretest"
)

func TestMiddlewareKeepsThePromisesOfHTTP(t *testing.T) {
	t.Parallel()
	for _, o := range []Options{{}, {Profile: RFC9111}, {Mode: uprung.Shadow}} {
		t.Run(o.Profile.String()+" "+o.Mode.String(), func(t *testing.T) {
			t.Parallel()
			middlewaretest.Run(t, uprung.Must(New(nil, &o)).Middleware, nil)
		})
	}
}

func TestTransportKeepsThePromisesOfHTTP(t *testing.T) {
	t.Parallel()
	for _, o := range []Options{{}, {Profile: RFC9111, StaleOnError: 1}, {Mode: uprung.Shadow}} {
		t.Run(o.Profile.String()+" "+o.Mode.String(), func(t *testing.T) {
			t.Parallel()
			middlewaretest.RunTransport(t, uprung.Must(New(nil, &o)).Transport, nil)
		})
	}
}

func TestFreshResponseAnswersWithoutTheOrigin(t *testing.T) {
	faces(t, Options{}, func(t *testing.T, s *site) {
		s.answers(200, "hello", "Cache-Control", "max-age=60", "Etag", `"1"`, "X-Own", "a", "X-Own", "b")
		first := s.get("/")
		time.Sleep(10 * time.Second)
		second := s.get("/")
		s.wants(1, "a fresh response")
		if second.text != "hello" || second.StatusCode != 200 || second.Header.Get("Age") != "10" || len(second.Header["X-Own"]) != 2 {
			t.Errorf("%d %q %v", second.StatusCode, second.text, second.Header)
		}
		if got, want := first.Header.Get(cacheStatus), "uprung; fwd=uri-miss; ttl=60; stored"; got != want {
			t.Errorf("first: %q, want %q", got, want)
		}
		if got, want := second.Header.Get(cacheStatus), "uprung; hit; ttl=50"; got != want {
			t.Errorf("second: %q, want %q", got, want)
		}
		time.Sleep(51 * time.Second)
		s.handle(func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("If-None-Match") != `"1"` {
				t.Errorf("condition is %q", r.Header.Get("If-None-Match"))
			}
			w.Header().Set("Cache-Control", "max-age=30")
			w.Header().Set("Etag", `"1"`)
			w.WriteHeader(304)
		})
		third := s.get("/")
		s.wants(2, "a stale one")
		if third.text != "hello" || third.StatusCode != 200 || third.Header.Get("Cache-Control") != "max-age=30" {
			t.Errorf("%d %q %v", third.StatusCode, third.text, third.Header)
		}
		if got, want := third.Header.Get(cacheStatus), "uprung; fwd=stale; fwd-status=304; ttl=30; stored"; got != want {
			t.Errorf("third: %q, want %q", got, want)
		}
		time.Sleep(20 * time.Second)
		s.get("/")
		s.wants(2, "a freshened one")
	})
}
