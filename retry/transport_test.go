package retry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/uprung/uprung"
	"github.com/uprung/uprung/middlewaretest"
)

func TestNewErrors(t *testing.T) {
	t.Parallel()
	_, err := New(&Options{
		Name: "\t", Mode: 20_000, Attempts: -1, Backoff: -1, MaxBackoff: -1, MaxWait: -1, AttemptTimeout: -1, HedgeAt: 1,
		Budget: Budget{PerRequest: 2e6, PerSecond: 2e6, Cap: -1},
	})
	for _, want := range []string{
		`Name is "\t"`, "Mode: uprung: mode is 20000", "Attempts is -1, want 1 to 100", "Backoff is -1ns", "MaxBackoff is -1ns", "MaxWait is -1ns",
		"AttemptTimeout is -1ns", "HedgeAt is 1", "Budget.PerRequest is 2e+06", "Budget.PerSecond is 2e+06", "Budget.Cap is -1",
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error does not say %q:\n%v", want, err)
		}
	}
}

func TestLayer(t *testing.T) {
	t.Parallel()
	r := mustNew(t, &Options{Name: "orders", HedgeAt: 0.95})
	got := uprung.ExplainTransport(r.Transport(http.DefaultTransport))
	for _, want := range []string{`retry "orders"`, "Attempts        3 (default)", "0.1 per request + 0.2 per second, at most 10 (default)", "HedgeAt         0.95", "AttemptTimeout  none (default)", "*http.Transport"} {
		if !strings.Contains(got, want) {
			t.Errorf("explanation lacks %q:\n%s", want, got)
		}
	}
	if err := r.SetMode(uprung.Off); err != nil || r.SetMode(20_000) == nil || r.Mode() != uprung.Off {
		t.Errorf("mode is %v, want off", r.Mode())
	}
}

// What is repeated, and what is not.
func TestWhatIsRepeated(t *testing.T) {
	t.Parallel()
	unavailable := step{status: 503}
	overload := step{status: 503, header: http.Header{"Retry-After": {"1"}}}
	rejection := step{err: &uprung.Rejection{Kind: uprung.KindRateLimit, Reason: errBroken}}
	breaker := step{err: &uprung.Rejection{Kind: uprung.KindBreaker, Reason: errBroken}}
	for _, tt := range []struct {
		name     string
		method   string
		body     string
		header   string
		steps    []step
		status   int
		err      error
		attempts int
	}{
		{"success", "GET", "", "", []step{{status: 200}}, 200, nil, 1},
		{"404", "GET", "", "", []step{{status: 404}}, 404, nil, 1},
		{"503 once", "GET", "", "", []step{unavailable, {status: 200}}, 200, nil, 2},
		{"503 always: the last response", "GET", "", "", []step{unavailable, {status: 500}, {status: 502}}, 502, nil, 3},
		{"501", "GET", "", "", []step{{status: 501}}, 501, nil, 1},
		{"overload", "GET", "", "", []step{overload, {status: 200}}, 200, nil, 2},
		{"429 without a time", "GET", "", "", []step{{status: 429}, {status: 200}}, 200, nil, 2},
		{"reset", "GET", "", "", []step{{err: errReset}, {status: 200}}, 200, nil, 2},
		{"reset always", "GET", "", "", []step{{err: errReset}}, 0, errReset, 3},
		{"HEAD", "HEAD", "", "", []step{unavailable, {status: 200}}, 200, nil, 2},
		{"PUT", "PUT", "text", "", []step{unavailable, {status: 200}}, 503, nil, 1},
		{"POST", "POST", "text", "", []step{{err: errReset}, {status: 200}}, 0, errReset, 1},
		{"POST with a key", "POST", "text", "Idempotency-Key", []step{{err: errReset}, unavailable, {status: 201}}, 201, nil, 3},
		{"POST that reached nobody", "POST", "text", "", []step{{err: errRefused}, {status: 201}}, 201, nil, 2},
		{"refused always", "GET", "", "", []step{{err: errRefused}}, 0, errRefused, 3},
		{"local refusal", "GET", "", "", []step{rejection}, 0, errBroken, 1},
		{"a breaker without a choice of endpoints", "GET", "", "", []step{breaker}, 0, errBroken, 1},
	} {
		synctest.Test(t, func(t *testing.T) {
			s := &script{steps: tt.steps}
			r := mustNew(t, nil)
			request := newRequest(t, tt.method, tt.body)
			if tt.header != "" {
				request.Header.Set(tt.header, "x")
			}
			status, err := send(r.Transport(s), request)
			if status != tt.status || !errors.Is(err, tt.err) || s.attempts() != tt.attempts {
				t.Errorf("%s: got %d, %v after %d attempts, want %d, %v after %d", tt.name, status, err, s.attempts(), tt.status, tt.err, tt.attempts)
			}
			for i, sent := range s.sent {
				number := ""
				if i > 0 {
					number = fmt.Sprint(i + 1)
				}
				if sent.body != tt.body || sent.attempt != number {
					t.Errorf("%s: attempt %d was %+v, want the body and the number", tt.name, i+1, sent)
				}
			}
			if n := s.open(); n > 0 {
				t.Errorf("%s: %d bodies are open", tt.name, n)
			}
			if request.Header.Get(AttemptHeader) != "" {
				t.Errorf("%s: the caller's request was changed", tt.name)
			}
		})
	}
}

// failsafe-go repeated a POST, buffered its body, left those of responses open, and
// returned an error in place of the last response; go-retryablehttp and hedgedhttp
// repeat POST too.
func TestTrap09And10NoRetryOfWhatIsNotIdempotent(t *testing.T) {
	t.Parallel()
	s := answers(503)
	r := mustNew(t, &Options{HedgeAt: 0.95})
	read := false
	request := newRequest(t, "POST", "")
	request.Body = io.NopCloser(readerFunc(func([]byte) (int, error) { read = true; return 0, io.EOF }))
	lazy := roundTripper(func(r *http.Request) (*http.Response, error) {
		if read {
			t.Error("the body was read before the request was sent")
		}
		return s.RoundTrip(r)
	})
	if status, err := send(r.Transport(lazy), request); status != 503 || err != nil || s.attempts() != 1 {
		t.Errorf("got %d, %v after %d attempts, want 503 after 1", status, err, s.attempts())
	}
	// A body that cannot be had again, though the request could be repeated.
	get := newRequest(t, "GET", "")
	get.Body = io.NopCloser(strings.NewReader("once"))
	if status, _ := send(r.Transport(s), get); status != 503 || s.attempts() != 2 {
		t.Errorf("got %d after %d attempts, want 503 after 2", status, s.attempts())
	}
	if got := r.Stats().NotRepeatable; got != 2 {
		t.Errorf("%d were not repeatable, want 2", got)
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

func TestTrap09RetryAfter(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name     string
		field    func(now time.Time) string
		deadline time.Duration
		wait     time.Duration // least
		attempts int
	}{
		{"seconds", func(time.Time) string { return "3" }, time.Minute, 3 * time.Second, 2},
		{"a date", func(now time.Time) string { return now.Add(3 * time.Second).UTC().Format(http.TimeFormat) }, time.Minute, 2 * time.Second, 2},
		{"a date that is past", func(now time.Time) string { return now.Add(-time.Hour).UTC().Format(http.TimeFormat) }, time.Minute, 0, 2},
		{"rubbish", func(time.Time) string { return "soon" }, time.Minute, 0, 2},
		{"negative", func(time.Time) string { return "-5" }, time.Minute, 0, 2},
		{"after the deadline", func(time.Time) string { return "3" }, 2 * time.Second, 0, 1},
		{"longer than MaxWait", func(time.Time) string { return "11" }, time.Minute, 0, 1},
		{"absurd", func(time.Time) string { return "99999999999999999999" }, time.Hour, 0, 1},
	} {
		synctest.Test(t, func(t *testing.T) {
			s := &script{steps: []step{{status: 503, header: http.Header{"Retry-After": {tt.field(time.Now())}}}, {status: 200}}}
			ctx, cancel := context.WithTimeout(t.Context(), tt.deadline)
			defer cancel()
			start := time.Now()
			if _, err := send(mustNew(t, nil).Transport(s), newRequest(t, "GET", "").WithContext(ctx)); err != nil {
				t.Error(err)
			}
			if took := time.Since(start); s.attempts() != tt.attempts || took < tt.wait || took > tt.wait+time.Second+100*time.Millisecond {
				t.Errorf("%s: %d attempts in %v, want %d in about %v", tt.name, s.attempts(), took, tt.attempts, tt.wait)
			}
		})
	}
}

// Once a response has been returned, nothing is repeated, whatever its body does.
func TestNoRetryAfterTheHeaders(t *testing.T) {
	t.Parallel()
	s := answers(200)
	cut := roundTripper(func(r *http.Request) (*http.Response, error) {
		resp, err := s.RoundTrip(r)
		resp.Body = io.NopCloser(readerFunc(func([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }))
		return resp, err
	})
	if status, err := send(mustNew(t, nil).Transport(cut), newRequest(t, "GET", "")); status != 200 || !errors.Is(err, io.ErrUnexpectedEOF) || s.attempts() != 1 {
		t.Errorf("got %d, %v after %d attempts, want 200 and a body that breaks off after 1", status, err, s.attempts())
	}
}

func TestDeadlineAndCancellation(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &script{steps: []step{{status: 503, after: time.Second}}}
		r := mustNew(t, &Options{Backoff: time.Hour, MaxBackoff: time.Hour, Seed: 1})
		// The pause would be longer than what is left.
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		if status, err := send(r.Transport(s), newRequest(t, "GET", "").WithContext(ctx)); status != 503 || err != nil || r.Stats().TooLate != 1 {
			t.Errorf("got %d, %v, %+v, want 503 as it is too late", status, err, r.Stats())
		}
		// The caller leaves during the pause.
		ctx, cancel = context.WithCancel(t.Context())
		time.AfterFunc(3*time.Second, cancel)
		start := time.Now()
		if status, err := send(r.Transport(s), newRequest(t, "GET", "").WithContext(ctx)); status != 0 || !errors.Is(err, context.Canceled) || time.Since(start) != 3*time.Second {
			t.Errorf("got %d, %v after %v, want the cancellation after 3s", status, err, time.Since(start))
		}
		if s.attempts() != 2 || s.open() != 0 {
			t.Errorf("%d attempts, %d bodies open, want 2 and 0", s.attempts(), s.open())
		}
	})
}

// Full jitter: a pause is anything up to its bound.
func TestPauses(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := mustNew(t, &Options{Budget: Budget{PerRequest: 10, Cap: 1000}})
		longest := [2]time.Duration{}
		for range 200 {
			s := answers(503)
			if _, err := send(r.Transport(s), newRequest(t, "GET", "")); err != nil {
				t.Fatal(err)
			}
			for i := range longest {
				longest[i] = max(longest[i], s.sent[i+1].at.Sub(s.sent[i].at))
			}
		}
		for i, most := range []time.Duration{100 * time.Millisecond, 200 * time.Millisecond} {
			if longest[i] > most || longest[i] < most*9/10 {
				t.Errorf("the longest of 200 pauses before attempt %d was %v, want just below %v", i+2, longest[i], most)
			}
		}
	})
	for _, row := range []struct {
		attempt int
		want    time.Duration
	}{{1, 100}, {2, 200}, {5, 1600}, {6, 2000}, {63, 2000}, {1000, 2000}} {
		if got := backoff(row.attempt, 100, 2000, 1); got != row.want {
			t.Errorf("backoff of attempt %d is at most %d, want %d", row.attempt, got, row.want)
		}
	}
}

// Under total failure a tenth more is sent than asked, and what time brings.
func TestBudgetBoundsAmplification(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := answers(500)
		rt := mustNew(t, nil).Transport(s)
		if got := amplification(t, rt, s, 20*60); got < 1.1 || got > 1.12 {
			t.Errorf("%.3f attempts for each request, want about 1.11", got)
		}
	})
}

// Three layers of three attempts are not 27 requests.
func TestNestedRetriesDoNotMultiply(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := answers(500)
		var rt http.RoundTripper = s
		for range 3 {
			rt = mustNew(t, nil).Transport(rt)
		}
		if got := amplification(t, rt, s, 20*60); got > 1.4 {
			t.Errorf("%.3f attempts for each request, want at most 1.4", got)
		}
		// One request alone, with all budgets full, is not 27 either.
		s = answers(500)
		rt = s
		for range 3 {
			rt = mustNew(t, nil).Transport(rt)
		}
		if _, err := send(rt, newRequest(t, "GET", "")); err != nil || s.attempts() > 7 {
			t.Errorf("%d attempts for one request, %v, want at most 7", s.attempts(), err)
		}
	})
}

// From endpoints that cannot be reached it moves on at once, at no cost, until it has
// tried them all.
func TestMovesOn(t *testing.T) {
	t.Parallel()
	for _, method := range []string{"GET", "POST"} {
		for _, errOf := range []error{errRefused, &uprung.Rejection{Kind: uprung.KindBreaker, Reason: errBroken}} {
			synctest.Test(t, func(t *testing.T) {
				good := answers(200)
				b := &balanced{send: func(endpoint string, r *http.Request) (*http.Response, error) {
					if endpoint == "e19" {
						return good.RoundTrip(r)
					}
					return nil, errOf
				}}
				for i := range 20 {
					b.endpoints = append(b.endpoints, fmt.Sprint("e", i))
				}
				r := mustNew(t, nil)
				start := time.Now()
				if status, err := send(r.Transport(b), newRequest(t, method, "text")); status != 200 || err != nil || time.Since(start) != 0 {
					t.Errorf("%s, %v: got %d, %v after %v, want 200 at once", method, errOf, status, err, time.Since(start))
				}
				if s := r.Stats(); s.Moves != 19 || s.Retries != 0 || s.Tokens != 10 || good.sent[0].body != "text" {
					t.Errorf("%s, %v: stats are %+v, want 19 moves and the budget untouched", method, errOf, s)
				}
				// Nobody is there: the last error, after all endpoints and some patience.
				b.endpoints = b.endpoints[:5]
				if _, err := send(r.Transport(b), newRequest(t, method, "text")); !errors.Is(err, errOf) {
					t.Errorf("%s: got %v, want %v", method, err, errOf)
				}
			})
		}
	}
}

func TestAttemptTimeout(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &script{steps: []step{{status: 200, after: time.Hour}, {status: 200, after: time.Second, body: "slow to come"}}}
		var causes []error
		base := roundTripper(func(r *http.Request) (*http.Response, error) {
			resp, err := s.RoundTrip(r)
			causes = append(causes, context.Cause(r.Context()))
			return resp, err
		})
		r := mustNew(t, &Options{AttemptTimeout: 2 * time.Second})
		resp, err := r.Transport(base).RoundTrip(newRequest(t, "GET", ""))
		if err != nil || s.attempts() != 2 {
			t.Fatalf("got %v after %d attempts, want an answer after 2", err, s.attempts())
		}
		if !errors.Is(causes[0], uprung.ErrAttemptTimeout) || causes[1] != nil {
			t.Errorf("the causes are %v, want a timeout of the first attempt", causes)
		}
		// The body may take longer than an attempt.
		time.Sleep(time.Minute)
		if body, err := io.ReadAll(resp.Body); string(body) != "slow to come" || err != nil {
			t.Errorf("read %q, %v, want the body", body, err)
		}
		_ = resp.Body.Close()
		// All of them: an error that says so, as a timeout.
		s.steps = []step{{after: time.Hour}}
		_, err = r.Transport(base).RoundTrip(newRequest(t, "GET", ""))
		timeout, ok := errors.AsType[interface {
			error
			Timeout() bool
		}](err)
		if !errors.Is(err, context.DeadlineExceeded) || !ok || !timeout.Timeout() {
			t.Errorf("got %v, want a timeout", err)
		}
	})
}

func TestModes(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		mode     uprung.Mode
		attempts int
		shadowed uint64
		requests uint64
	}{{uprung.Enforce, 3, 0, 1}, {uprung.Shadow, 1, 1, 1}, {uprung.Off, 1, 0, 0}} {
		synctest.Test(t, func(t *testing.T) {
			for _, err := range []error{nil, errRefused} {
				s := &script{steps: []step{{status: 500, err: err}}}
				r := mustNew(t, &Options{Mode: tt.mode})
				_, _ = send(r.Transport(s), newRequest(t, "GET", ""))
				if got := r.Stats(); s.attempts() != tt.attempts || got.Shadowed != tt.shadowed || got.Requests != tt.requests {
					t.Errorf("%v, %v: %d attempts, %+v, want %d", tt.mode, err, s.attempts(), got, tt.attempts)
				}
			}
		})
	}
}

func TestSkipAndIdempotent(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := answers(500)
		r := mustNew(t, &Options{
			Skip:       func(r *http.Request) bool { return r.Method == "HEAD" },
			Idempotent: func(r *http.Request) bool { return r.Method == "PUT" },
		})
		for _, tt := range []struct {
			method   string
			attempts int
		}{{"HEAD", 1}, {"GET", 1}, {"PUT", 3}} {
			before := s.attempts()
			if _, err := send(r.Transport(s), newRequest(t, tt.method, "text")); err != nil || s.attempts()-before != tt.attempts {
				t.Errorf("%s: %d attempts, %v, want %d", tt.method, s.attempts()-before, err, tt.attempts)
			}
		}
	})
}

func TestPanicGoesOn(t *testing.T) {
	t.Parallel()
	for name, o := range map[string]*Options{"plain": nil, "timeout": {AttemptTimeout: time.Second}, "hedged": {HedgeAt: 0.9}} {
		var ctx context.Context
		rt := mustNew(t, o).Transport(roundTripper(func(r *http.Request) (*http.Response, error) {
			ctx = r.Context()
			panic("oops")
		}))
		func() {
			defer func() {
				if v := recover(); v != "oops" {
					t.Errorf("%s: recovered %v, want oops", name, v)
				}
			}()
			_, _ = rt.RoundTrip(newRequest(t, "GET", ""))
		}()
		if o != nil && ctx.Err() == nil {
			t.Errorf("%s: the context of the attempt has not ended", name)
		}
	}
}

func TestTransportAllocs(t *testing.T) {
	resp := &http.Response{StatusCode: 200, Body: http.NoBody}
	rt := mustNew(t, nil).Transport(roundTripper(func(*http.Request) (*http.Response, error) { return resp, nil }))
	request := newRequest(t, "GET", "")
	if got := testing.AllocsPerRun(1000, func() {
		if _, err := rt.RoundTrip(request); err != nil {
			t.Fatal(err)
		}
	}); got != 0 {
		t.Errorf("a request that succeeds allocates %v times, want 0", got)
	}
}

func TestTransportKeepsThePromisesOfHTTP(t *testing.T) {
	t.Parallel()
	for name, o := range map[string]*Options{
		"defaults": nil, "attempt timeout": {AttemptTimeout: time.Minute}, "hedged": {HedgeAt: 0.95}, "off": {Mode: uprung.Off},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			middlewaretest.RunTransport(t, mustNew(t, o).Transport, nil)
		})
	}
}
