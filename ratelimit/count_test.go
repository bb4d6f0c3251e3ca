package ratelimit

import (
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/uprung/uprung/key"
)

// A login that limits wrong passwords and not logins.
func loginHandler(t *testing.T, mutate func(*Options)) (http.Handler, *Limiter) {
	t.Helper()
	o := &Options{Name: "login", Capacity: 64, Key: key.Header("User"), Count: Failures}
	if mutate != nil {
		mutate(o)
	}
	l := newLimiter(t, PerHour(3), o)
	return l.Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.Header.Get("Password") {
		case "right":
		case "panic":
			panic(http.ErrAbortHandler)
		default:
			w.WriteHeader(http.StatusUnauthorized)
		}
	})), l
}

func login(h http.Handler, password string) (status int) {
	r := httptest.NewRequest("POST", "/login", nil)
	r.Header.Set("User", "alice")
	r.Header.Set("Password", password)
	w := httptest.NewRecorder()
	defer func() {
		if recover() != nil {
			status = 0
		}
	}()
	h.ServeHTTP(w, r)
	return w.Code
}

func TestCountOnlyFailuresStopsBruteForce(t *testing.T) {
	t.Parallel()
	h, l := loginHandler(t, nil)
	for range 10 {
		if got := login(h, "right"); got != 200 {
			t.Fatalf("a right login: %d", got)
		}
	}
	if got := remaining(t, l, "alice"); got != 3 {
		t.Errorf("%d remain after right logins, want 3", got)
	}
	for i, want := range []int{401, 401, 401, 429, 429} {
		if got := login(h, "wrong"); got != want {
			t.Errorf("wrong login %d: %d, want %d", i, got, want)
		}
	}
	if got := login(h, "right"); got != 429 {
		t.Errorf("the right password after too many wrong ones: %d, want 429", got)
	}
}

func TestCountCountsPanics(t *testing.T) {
	t.Parallel()
	h, l := loginHandler(t, nil)
	login(h, "panic")
	if got := remaining(t, l, "alice"); got != 2 {
		t.Errorf("%d remain after a panic, want 2", got)
	}
}

func TestCountByStatus(t *testing.T) {
	t.Parallel()
	h, l := loginHandler(t, func(o *Options) {
		o.Count = func(status int) bool { return status == 200 }
	})
	login(h, "wrong")
	login(h, "right")
	if got := remaining(t, l, "alice"); got != 2 {
		t.Errorf("%d remain, want 2: only the 200 counts", got)
	}
}

func TestCountInAGroup(t *testing.T) {
	t.Parallel()
	failures := newLimiter(t, PerHour(3), &Options{Name: "failures", Capacity: 64, Key: key.Header("User"), Count: Failures})
	all := newLimiter(t, PerHour(9), &Options{Name: "all", Capacity: 64, Key: key.Header("User")})
	h := group(t, failures, all).Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Password") != "right" {
			w.WriteHeader(http.StatusUnauthorized)
		}
	}))
	login(h, "right")
	login(h, "right")
	login(h, "wrong")
	if got := remaining(t, failures, "alice"); got != 2 {
		t.Errorf("%d failures remain, want 2", got)
	}
	if got := remaining(t, all, "alice"); got != 6 {
		t.Errorf("%d requests remain, want 6", got)
	}
}

// While they are under way, requests count: guessing in parallel wins nothing.
func TestCountOnlyFailuresInParallel(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	var entered sync.WaitGroup
	entered.Add(3)
	l := newLimiter(t, PerHour(3), &Options{Capacity: 64, Key: key.Header("User"), Count: Failures})
	h := l.Middleware(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		entered.Done()
		<-release
		w.WriteHeader(http.StatusUnauthorized)
	}))
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() { login(h, "wrong") })
	}
	entered.Wait()
	if got := login(h, "wrong"); got != 429 {
		t.Errorf("a fourth at the same time: %d, want 429", got)
	}
	close(release)
	wg.Wait()
}

func TestLegacyHeadersTellTheTightest(t *testing.T) {
	t.Parallel()
	options := func(name string) *Options {
		return &Options{Name: name, Capacity: 64, Key: key.Header("User"), Headers: HeadersLegacy}
	}
	inner, outer := newLimiter(t, PerMinute(5), options("inner")), newLimiter(t, PerMinute(2), options("outer"))
	for _, chain := range []http.Handler{
		outer.Middleware(inner.Middleware(http.NotFoundHandler())),
		inner.Middleware(outer.Middleware(http.NotFoundHandler())),
	} {
		inner.Reset("alice")
		outer.Reset("alice")
		r := httptest.NewRequest("GET", "/", nil)
		r.Header.Set("User", "alice")
		w := httptest.NewRecorder()
		chain.ServeHTTP(w, r)
		for name, want := range map[string]string{"X-RateLimit-Limit": "2", "X-RateLimit-Remaining": "1", "X-RateLimit-Reset": "30", "RateLimit": ""} {
			if got := w.Header().Get(name); got != want {
				t.Errorf("%s is %q, want %q", name, got, want)
			}
		}
	}
}

// What time has refilled already is not given back once more: successes that take
// long cannot be saved up and turned into failures at once.
func TestCountGivesNothingBackTwice(t *testing.T) {
	t.Parallel()
	for name, algorithm := range map[string]Algorithm{"token bucket": TokenBucket, "sliding window": SlidingWindow} {
		synctest.Test(t, func(t *testing.T) {
			l := newLimiter(t, PerMinute(5), &Options{Capacity: 64, Key: key.Header("User"), Count: Failures, Algorithm: algorithm})
			release := make(chan struct{})
			h := l.Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Header.Get("Password") == "right" {
					<-release
					return
				}
				w.WriteHeader(http.StatusUnauthorized)
			}))
			for range 20 {
				for range 5 {
					go login(h, "right")
				}
				time.Sleep(2 * time.Minute)
			}
			failures := 0
			for range 100 {
				if login(h, "wrong") == http.StatusUnauthorized {
					failures++
				}
				select {
				case release <- struct{}{}:
				default:
				}
				synctest.Wait()
			}
			if failures > 5 {
				t.Errorf("%s: %d wrong logins at one instant, want at most 5", name, failures)
			}
			close(release)
		})
	}
}
