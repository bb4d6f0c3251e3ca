package peers

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
	"time"

	"github.com/didip/tollbooth/v8"
	"github.com/didip/tollbooth/v8/limiter"
	"github.com/failsafe-go/failsafe-go/circuitbreaker"
	"github.com/failsafe-go/failsafe-go/failsafehttp"
	"github.com/failsafe-go/failsafe-go/ratelimiter"
	"github.com/failsafe-go/failsafe-go/timeout"
	"github.com/go-chi/httprate"

	"github.com/uprung/uprung"
	"github.com/uprung/uprung/middlewaretest"
	"github.com/uprung/uprung/ratelimit"
)

// used applies a middleware once and lets one request pass, which takes the only
// event that it grants.
func used(middleware func(http.Handler) http.Handler) func(http.Handler) http.Handler {
	spent := middleware(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	r := httptest.NewRequest("GET", "/", nil)
	r.RemoteAddr = "127.0.0.1:1"
	spent.ServeHTTP(httptest.NewRecorder(), r)
	return middleware
}

// one is the key of everybody, so that what one request has taken no other gets.
func one(*http.Request) (string, error) { return "one", nil }

func TestPeers(t *testing.T) {
	t.Parallel()
	tollboothWith := func(burst int) func(http.Handler) http.Handler {
		lmt := tollbooth.NewLimiter(1e6, nil).SetBurst(burst)
		lmt.SetIPLookup(limiter.IPLookup{Name: "RemoteAddr"})
		return func(next http.Handler) http.Handler { return tollbooth.HTTPMiddleware(lmt)(next) }
	}
	failsafeWith := func(limit ratelimiter.RateLimiter[*http.Response]) func(http.Handler) http.Handler {
		return func(next http.Handler) http.Handler { return failsafehttp.NewHandler(next, limit) }
	}
	for _, tt := range []struct {
		name       string
		middleware func(http.Handler) http.Handler
		options    middlewaretest.Options
		want       []string
	}{
		{
			name:       "uprung ratelimit",
			middleware: uprung.Must(ratelimit.New(ratelimit.PerSecond(1e6), nil)).Middleware,
			options: middlewaretest.Options{
				Refusing: used(uprung.Must(ratelimit.New(ratelimit.PerHour(1), nil)).Middleware),
			},
		},
		{
			name:       "failsafe-go rate limiter",
			middleware: failsafeWith(ratelimiter.NewBursty[*http.Response](1e6, time.Second)),
			options: middlewaretest.Options{
				Refusing: used(failsafeWith(ratelimiter.NewBursty[*http.Response](1, time.Hour))),
			},
			want: []string{"refusal-retry-after", "refusal-problem"},
		},
		{
			name: "failsafe-go timeout",
			middleware: func(next http.Handler) http.Handler {
				return failsafehttp.NewHandler(next, timeout.New[*http.Response](time.Second))
			},
			options: middlewaretest.Options{Timeout: time.Second},
			want:    []string{"timeout"},
		},
		{
			name:       "httprate",
			middleware: httprate.Limit(1e6, time.Second),
			options: middlewaretest.Options{
				Refusing: used(httprate.Limit(1, time.Hour, httprate.WithKeyFuncs(one))),
			},
			want: []string{"refusal-problem"},
		},
		{
			name:       "tollbooth",
			middleware: tollboothWith(1e6),
			options:    middlewaretest.Options{Refusing: tollboothWith(0)},
			want:       []string{"refusal-retry-after", "refusal-problem"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var got []string
			for _, failure := range middlewaretest.Check(tt.middleware, &tt.options) {
				t.Log(failure)
				got = append(got, failure.Check)
			}
			if got = slices.Compact(got); !slices.Equal(got, tt.want) {
				t.Errorf("fails %q, want %q", got, tt.want)
			}
		})
	}
}

// A breaker round a handler that always answers 500 never opens: the status is
// not given to the policies.
func TestFailsafeBreakerDoesNotSeeStatus(t *testing.T) {
	t.Parallel()
	breaker := circuitbreaker.NewBuilder[*http.Response]().
		HandleIf(func(r *http.Response, _ error) bool { return r != nil && r.StatusCode >= 500 }).
		WithFailureThreshold(3).
		Build()
	calls := 0
	h := failsafehttp.NewHandler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		calls++
		w.WriteHeader(http.StatusInternalServerError)
	}), breaker)
	for range 100 {
		h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil))
	}
	if calls != 100 || !breaker.IsClosed() {
		t.Errorf("%d of 100 calls reached the handler, closed: %v; the README says all and true", calls, breaker.IsClosed())
	}
}
