package breaker

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/uprung/uprung"
)

func TestTransportOutcomes(t *testing.T) {
	t.Parallel()
	other := mustNew(t, nil)
	other.Force(ForceOpen)
	_, refusal := other.Allow()
	for name, tt := range map[string]struct {
		base  roundTripper
		leave bool // the caller, while the body is read
		want  Counts
	}{
		"200":                 {answering(200, "x"), false, Counts{Successes: 1}},
		"404":                 {answering(404, "x"), false, Counts{Successes: 1}},
		"no body":             {answering(204, ""), false, Counts{Successes: 1}},
		"500":                 {answering(500, "x"), false, Counts{Failures: 1}},
		"503":                 {answering(503, "x"), false, Counts{Failures: 1}},
		"429":                 {answering(429, "x"), false, Counts{Overloads: 1}},
		"503 and Retry-After": {with("Retry-After", answering(503, "x")), false, Counts{Overloads: 1}},
		"an error":            {failing(errBroken), false, Counts{Failures: 1}},
		"another's refusal":   {failing(refusal), false, Counts{Ignored: 1}},
		"cancelled":           {failing(context.Canceled), false, Counts{Ignored: 1}},
		"neither":             {func(*http.Request) (*http.Response, error) { return nil, nil }, false, Counts{Failures: 1}},
		"truncated":           {reading(func([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }), false, Counts{Failures: 1}},
		"left":                {reading(func([]byte) (int, error) { return 0, errBroken }), true, Counts{Ignored: 1}},
	} {
		b := mustNew(t, nil)
		ctx, cancel := context.WithCancel(t.Context())
		r := newRequest(t).WithContext(ctx)
		resp, err := b.Transport(tt.base).RoundTrip(r)
		if tt.leave {
			cancel()
		}
		if err == nil {
			_, _ = io.ReadAll(resp.Body)
			_ = resp.Body.Close()
		}
		cancel()
		if got := b.Stats().Counts; got != tt.want {
			t.Errorf("%s: counted %+v, want %+v", name, got, tt.want)
		}
	}
}

func with(field string, base roundTripper) roundTripper {
	return func(r *http.Request) (*http.Response, error) {
		resp, err := base(r)
		resp.Header.Set(field, "1")
		return resp, err
	}
}

func failing(err error) roundTripper {
	return func(*http.Request) (*http.Response, error) { return nil, err }
}

func reading(read readerFunc) roundTripper {
	return func(r *http.Request) (*http.Response, error) {
		resp, err := answering(200, "")(r)
		resp.Body, resp.ContentLength = io.NopCloser(read), 10
		return resp, err
	}
}

func TestTransportPanicGoesOn(t *testing.T) {
	t.Parallel()
	b := mustNew(t, nil)
	func() {
		defer func() {
			if v := recover(); v != "oops" {
				t.Errorf("recovered %v, want oops", v)
			}
		}()
		_, _ = b.Transport(roundTripper(func(*http.Request) (*http.Response, error) { panic("oops") })).RoundTrip(newRequest(t))
	}()
	if got := b.Stats().Failures; got != 1 {
		t.Errorf("%d failures, want 1", got)
	}
}

// What is slow is known at the headers: a body may take its time.
func TestSlowUpToTheHeaders(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := mustNew(t, &Options{SlowCall: time.Second})
		for _, takes := range []time.Duration{0, 2 * time.Second} {
			rt := b.Transport(roundTripper(func(r *http.Request) (*http.Response, error) {
				time.Sleep(takes)
				return answering(200, "text")(r)
			}))
			resp, err := rt.RoundTrip(newRequest(t))
			if err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Minute)
			_, _ = io.ReadAll(resp.Body)
			_ = resp.Body.Close()
		}
		if s := b.Stats(); s.Slow != 1 || s.Failures != 1 || s.Successes != 1 {
			t.Errorf("%+v, want one that is slow, and a failure", s)
		}
	})
}

// A connection that is taken over is a success by then.
func TestUpgradesCountAtTheHeaders(t *testing.T) {
	t.Parallel()
	b := mustNew(t, nil)
	resp, err := b.Transport(answering(101, "")).RoundTrip(newRequest(t))
	if err != nil || b.Stats().Successes != 1 {
		t.Errorf("%v, %+v, want a success", err, b.Stats())
	}
	_ = resp.Body.Close()
}

func TestFallbackOfATransport(t *testing.T) {
	t.Parallel()
	var reasons []error
	b := mustNew(t, &Options{Consecutive: 2, Fallback: func(r *http.Request, err error) (*http.Response, error) {
		reasons = append(reasons, err)
		if len(reasons) == 4 {
			return nil, err
		}
		return answering(200, "of old")(r)
	}})
	rt := b.Transport(failing(errBroken))
	for i := range 4 {
		resp, err := rt.RoundTrip(newRequest(t))
		if i == 3 {
			if !errors.Is(err, ErrOpen) {
				t.Errorf("error is %v, want what the fallback returns", err)
			}
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if text, _ := io.ReadAll(resp.Body); string(text) != "of old" {
			t.Errorf("body is %q, want the one of the fallback", text)
		}
	}
	if len(reasons) != 4 || !errors.Is(reasons[0], errBroken) || !errors.Is(reasons[2], ErrOpen) {
		t.Errorf("the fallback is given %v", reasons)
	}
}

func TestMiddlewareOutcomes(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		handler http.HandlerFunc
		want    Counts
	}{
		"nothing written": {func(http.ResponseWriter, *http.Request) {}, Counts{Successes: 1}},
		"404":             {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(404) }, Counts{Successes: 1}},
		"500":             {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) }, Counts{Failures: 1}},
		"429":             {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(429) }, Counts{Overloads: 1}},
		"503 and Retry-After": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "1")
			w.WriteHeader(503)
		}, Counts{Overloads: 1}},
		"a panic":                  {func(http.ResponseWriter, *http.Request) { panic("oops") }, Counts{Failures: 1}},
		"a panic after the header": {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(200); panic("oops") }, Counts{Failures: 1}},
	} {
		b := mustNew(t, nil)
		func() {
			defer func() { _ = recover() }()
			b.Middleware(tt.handler).ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil))
		}()
		if got := b.Stats().Counts; got != tt.want {
			t.Errorf("%s: counted %+v, want %+v", name, got, tt.want)
		}
	}
}

func TestRefusedAndSkip(t *testing.T) {
	t.Parallel()
	b := mustNew(t, &Options{
		Refused: func(w http.ResponseWriter, _ *http.Request, err error) {
			w.WriteHeader(http.StatusTeapot)
			_, _ = io.WriteString(w, err.Error())
		},
		Skip: func(r *http.Request) bool { return r.Method == "HEAD" },
	})
	b.Force(ForceOpen)
	h := b.Middleware(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	rt := b.Transport(answering(200, ""))
	for method, want := range map[string]int{"HEAD": 200, "GET": http.StatusTeapot} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(method, "/", nil))
		if w.Code != want || want != 200 && !strings.Contains(w.Body.String(), "breaker: open") {
			t.Errorf("%s: status is %d, body %q, want %d", method, w.Code, w.Body, want)
		}
		r := newRequest(t)
		r.Method = method
		if err := send(rt, r); (err == nil) != (want == 200) {
			t.Errorf("%s: error is %v", method, err)
		}
	}
}

// A breaker fits into a chain, and says what it is.
func TestLayers(t *testing.T) {
	t.Parallel()
	b := mustNew(t, &Options{Name: "orders", SlowCall: time.Second})
	if err := b.SetMode(uprung.Shadow); err != nil {
		t.Fatal(err)
	}
	group, _ := NewGroup[string](nil)
	throttle, _ := NewThrottle(nil)
	rt := b.Transport(group.Transport(throttle.Transport(nil)))
	layers := uprung.TransportLayers(rt)
	if len(layers) != 3 || layers[0].String() != `breaker "orders"` || layers[1].Kind != uprung.KindBreaker || layers[2].Kind != uprung.KindThrottle {
		t.Fatalf("layers are %v", layers)
	}
	settings := map[string]uprung.Setting{}
	for _, s := range layers[0].Settings {
		settings[s.Name] = s
	}
	if s := settings["Mode"]; s.Value != "shadow" || s.Default {
		t.Errorf("Mode is %+v, want shadow", s)
	}
	if s := settings["SlowCall"]; s.Value != "1s" || s.Default {
		t.Errorf("SlowCall is %+v, want 1s", s)
	}
	if s := settings["OpenMax"]; s.Value != "30s" || !s.Default {
		t.Errorf("OpenMax is %+v, want the default of 30s", s)
	}
	if err := uprung.VetTransport(rt).Err(); err != nil {
		t.Error(err)
	}
	if handlers := uprung.Layers(b.Middleware(group.Middleware(http.NotFoundHandler()))); len(handlers) != 2 {
		t.Errorf("layers are %v, want two", handlers)
	}
	closer := &idle{}
	b.Transport(group.Transport(throttle.Transport(closer))).(interface{ CloseIdleConnections() }).CloseIdleConnections()
	if closer.closed != 1 {
		t.Errorf("idle connections are closed %d times, want once", closer.closed)
	}
}

type idle struct {
	roundTripper
	closed int
}

func (i *idle) CloseIdleConnections() { i.closed++ }

func TestMetrics(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := opened(t, &Options{Name: "orders"})
		end(b, 5, uprung.Success)
		group, _ := NewGroup(&GroupOptions[string]{Breaker: Options{Name: "hosts"}})
		end(group.Breaker("a"), 20, uprung.Failure)
		end(group.Breaker("b"), 3, uprung.Success)
		throttle, _ := NewThrottle(nil)
		throttle.Done(uprung.Success)
		throttle.Done(uprung.Overload)
		for _, tt := range []struct {
			source uprung.Source
			series int
			want   map[string]float64
		}{
			{b, 13, map[string]float64{
				"uprung_breaker_state orders open": 1, "uprung_breaker_state orders closed": 0, "uprung_breaker_opened_total orders": 1,
				"uprung_breaker_results_total orders failure": 20, "uprung_breaker_refused_total orders refuse": 5,
			}},
			{group, 14, map[string]float64{
				"uprung_breaker_keys hosts open": 1, "uprung_breaker_keys hosts closed": 1, "uprung_breaker_results_total hosts success": 3,
				"uprung_breaker_results_total hosts failure": 20,
			}},
			{throttle, 6, map[string]float64{
				"uprung_breaker_throttle_results_total default accepted": 1, "uprung_breaker_throttle_results_total default overload": 1,
			}},
		} {
			got := map[string]float64{}
			for m := range tt.source.Metrics {
				var name strings.Builder
				name.WriteString(m.Name)
				for _, l := range m.Labels {
					name.WriteString(" " + l.Value)
				}
				got[name.String()] = m.Value
				if counter := strings.HasSuffix(m.Name, "_total"); counter != (m.Type == uprung.Counter) || m.Help == "" {
					t.Errorf("%s is of type %v, with help %q", m.Name, m.Type, m.Help)
				}
			}
			for name, want := range tt.want {
				if value, ok := got[name]; !ok || value != want {
					t.Errorf("%s is %v (%v), want %v", name, value, ok, want)
				}
			}
			if len(got) != tt.series {
				t.Errorf("%d series, want %d: %v", len(got), tt.series, got)
			}
			for stop := range tt.series {
				n := 0
				tt.source.Metrics(func(uprung.Metric) bool { n++; return n <= stop })
				if n != stop+1 {
					t.Errorf("%d series after it was told to stop after %d", n, stop+1)
				}
			}
		}
	})
}

// A bubble of a server that hangs, then one that works, seen through both faces.
func TestServerSide(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := mustNew(t, steady())
		broken := true
		h := b.Middleware(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			if broken {
				w.WriteHeader(http.StatusInternalServerError)
			}
		}))
		status := func() int {
			w := httptest.NewRecorder()
			h.ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
			return w.Code
		}
		for range 20 {
			status()
		}
		if got := status(); got != http.StatusServiceUnavailable {
			t.Errorf("status is %d, want 503", got)
		}
		broken = false
		time.Sleep(time.Second)
		synctest.Wait()
		for range 3 {
			if got := status(); got != http.StatusOK {
				t.Errorf("status is %d, want 200", got)
			}
		}
		check(t, b, Closed)
	})
}
