package retry

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"github.com/uprung/uprung"
	"github.com/uprung/uprung/middlewaretest"
)

// chained are three services of three attempts that call one another, and the client of
// the first; the last one's backend is base.
func chained(tb testing.TB, base http.RoundTripper) http.RoundTripper {
	tb.Helper()
	rt := mustNew(tb, nil).Transport(base)
	for range 2 {
		rt = mustNew(tb, nil).Transport(serving(Middleware(asking(rt))))
	}
	return rt
}

// Three services of three attempts, each with requests of its own, do not multiply,
// however few requests there are.
func TestTrapNestedServicesWithMiddlewareDoNotMultiply(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		every    time.Duration
		requests int
		most     float64
	}{
		{50 * time.Millisecond, 20 * 120, 1.12},
		{time.Second, 600, 1.32},
		{time.Minute, 1, 3}, // as many as one service alone makes
	} {
		synctest.Test(t, func(t *testing.T) {
			s := answers(500)
			rt := chained(t, s)
			for range tt.requests {
				go func() {
					if status, err := send(rt, newRequest(t, "GET", "")); status != 500 || err != nil {
						t.Errorf("got %d, %v, want 500", status, err)
					}
				}()
				time.Sleep(tt.every)
			}
			time.Sleep(10 * time.Second)
			if got := float64(s.attempts()) / float64(tt.requests); got <= 1 || got > tt.most {
				t.Errorf("a request every %v: %.3f attempts for each, want more than 1 and at most %v", tt.every, got, tt.most)
			}
		})
	}
}

// What can be cured is, next to where it fails, and nobody further up has to do anything.
func TestNestedServicesStillRetry(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := answers(500, 500, 200)
		if status, err := send(chained(t, s), newRequest(t, "GET", "")); status != 200 || err != nil || s.attempts() != 3 {
			t.Errorf("got %d, %v after %d attempts, want 200 after 3", status, err, s.attempts())
		}
	})
	// A service that fails by itself is tried again, and its own requests are attempts then.
	synctest.Test(t, func(t *testing.T) {
		below := answers(500)
		rt := mustNew(t, nil).Transport(below)
		calls := 0
		flaky := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if calls++; calls == 1 {
				w.WriteHeader(http.StatusInternalServerError)
				return
			}
			asking(rt).ServeHTTP(w, r)
		})
		status, err := send(mustNew(t, nil).Transport(serving(Middleware(flaky))), newRequest(t, "GET", ""))
		if status != 500 || err != nil || calls != 3 {
			t.Errorf("got %d, %v after %d calls, want 500 after 3", status, err, calls)
		}
		for i, sent := range below.sent {
			if want := []string{"2", "3"}[i]; sent.attempt != want {
				t.Errorf("request %d below is attempt %q, want %q", i, sent.attempt, want)
			}
		}
		if len(below.sent) != 2 {
			t.Errorf("%d requests below, want one for each attempt", len(below.sent))
		}
	})
}

// The worst that a client does by the header is that nobody tries again for it, and what it
// writes goes no further.
func TestClientsThatSetTheHeader(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ says, want string }{
		{"2", "2"}, {"3", "3"}, {"100", "100"}, {"101", "2"}, {"1", "2"}, {"0", "2"}, {"-5", "2"}, {"", "2"}, {"last", "2"}, {"9999999999999999999999", "2"},
	} {
		s := answers(500)
		h := Middleware(asking(mustNew(t, nil).Transport(s)))
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Header.Set(AttemptHeader, tt.says)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != 500 || s.attempts() != 1 || s.sent[0].attempt != tt.want {
			t.Errorf("%q: %d after %+v, want 500 after one attempt that says %s", tt.says, w.Code, s.sent, tt.want)
		}
		if got := w.Header().Get(AttemptHeader); got != "" {
			t.Errorf("%q: the response says %q, and nobody has given up", tt.says, got)
		}
	}
}

// Only a failure is marked for which a retrier has done what it could, or may not.
func TestWhatIsMarkedAsTheLast(t *testing.T) {
	t.Parallel()
	none := Budget{PerRequest: -1, PerSecond: -1, Cap: 1}
	for name, tt := range map[string]struct {
		o      Options
		method string
		s      *script
		answer int // of the service; zero is what it got
		want   string
	}{
		"exhausted":       {Options{}, "GET", answers(500), 0, LastAttempt},
		"overload":        {Options{}, "GET", answers(500), http.StatusTooManyRequests, LastAttempt},
		"degraded":        {Options{}, "GET", answers(500), http.StatusOK, ""},
		"not found":       {Options{}, "GET", answers(500), http.StatusNotFound, ""},
		"cured":           {Options{}, "GET", answers(500, 200), 0, ""},
		"cured, and not":  {Options{}, "GET", answers(500, 200), http.StatusInternalServerError, ""},
		"unbudgeted":      {Options{Budget: none}, "GET", answers(500), 0, LastAttempt},
		"told so":         {Options{}, "GET", &script{steps: []step{{status: 503, header: http.Header{AttemptHeader: {LastAttempt}}}}}, 0, LastAttempt},
		"not idempotent":  {Options{}, "POST", answers(500), 0, ""},
		"moves only":      {Options{Attempts: 1}, "GET", answers(500), 0, ""},
		"shadow":          {Options{Mode: uprung.Shadow}, "GET", answers(500), 0, ""},
		"shadow, no more": {Options{Mode: uprung.Shadow, Budget: none}, "GET", answers(500), 0, ""},
		"off":             {Options{Mode: uprung.Off}, "GET", answers(500), 0, ""},
	} {
		synctest.Test(t, func(t *testing.T) {
			rt := mustNew(t, &tt.o).Transport(tt.s)
			h := Middleware(http.HandlerFunc(func(w http.ResponseWriter, in *http.Request) {
				status, err := send(rt, newRequest(t, tt.method, "").WithContext(in.Context()))
				if err != nil {
					t.Error(err)
				}
				if tt.answer != 0 {
					status = tt.answer
				}
				w.WriteHeader(status)
			}))
			w := httptest.NewRecorder()
			h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
			if got := w.Header().Get(AttemptHeader); got != tt.want {
				t.Errorf("%s: the response of %d says %q, want %q", name, w.Code, got, tt.want)
			}
		})
	}
}

// Functions and loops of other protocols heed an origin as well.
func TestDoUnderAnOrigin(t *testing.T) {
	t.Parallel()
	for _, attempt := range [][]string{nil, {"2"}} {
		synctest.Test(t, func(t *testing.T) {
			ctx, origin := WithOrigin(t.Context(), attempt)
			r := mustNew(t, nil)
			calls, want := 0, 3
			if attempt != nil {
				want = 1
			}
			_, err := Do(ctx, r, func(context.Context) (int, error) { calls++; return 0, errReset })
			if !errors.Is(err, errReset) || calls != want || origin.Spent() != (attempt == nil) {
				t.Errorf("attempt %v: %v after %d calls, spent: %t; want %d", attempt, err, calls, origin.Spent(), want)
			}
			loop := r.Begin("a")
			if got := loop.Again(ctx, 0); got != (attempt == nil) {
				t.Errorf("attempt %v: a loop goes on: %t", attempt, got)
			}
		})
	}
	var nobody *Origin
	nobody.Spend()
	if OriginOf(t.Context()) != nil || nobody.Attempt() != 0 || nobody.Spent() {
		t.Error("nobody has an origin")
	}
}

func TestMiddlewareConforms(t *testing.T) {
	t.Parallel()
	middlewaretest.Run(t, Middleware, nil)
}
