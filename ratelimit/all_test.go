package ratelimit

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/uprung/uprung"
	"github.com/uprung/uprung/key"
)

func group(t testing.TB, limiters ...*Limiter) *Group {
	t.Helper()
	g, err := All(limiters...)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// named returns a limiter of a small table.
func named(t testing.TB, name string, limit Limit) *Limiter {
	t.Helper()
	return newLimiter(t, limit, &Options{Name: name, Capacity: 64, Key: key.Header("Api-Key")})
}

func TestAllIsAllOrNothing(t *testing.T) {
	t.Parallel()
	a, b, c := named(t, "a", PerHour(5)), named(t, "b", PerHour(3)), named(t, "c", PerHour(9))
	g := group(t, a, b, c)
	for i := range 10 {
		if got, want := g.Allow("k"), i < 3; got != want {
			t.Errorf("call %d: %v, want %v", i, got, want)
		}
	}
	for _, tt := range []struct {
		l    *Limiter
		want int64
	}{{a, 2}, {b, 0}, {c, 6}} {
		if got := remaining(t, tt.l, "k"); got != tt.want {
			t.Errorf("%s: %d remain, want %d", tt.l.name, got, tt.want)
		}
	}
	// What was undone is not counted as granted; the denial is counted where it was
	// made.
	if s := a.Stats(); s.Granted != 3 || s.Denied != 0 {
		t.Errorf("a: %+v, want 3 granted and none denied", s)
	}
	if s := b.Stats(); s.Granted != 3 || s.Denied != 7 {
		t.Errorf("b: %+v, want 3 granted and 7 denied", s)
	}
}

func TestAllTakeTellsTheTightest(t *testing.T) {
	t.Parallel()
	g := group(t, named(t, "a", PerMinute(2)), named(t, "b", PerHour(3)))
	for i, want := range []Result{
		{Allowed: true, Granted: 1, Limit: 2, Remaining: 1, ResetAfter: 20 * time.Minute},
		{Allowed: true, Granted: 1, Limit: 2, Remaining: 0, ResetAfter: 40 * time.Minute},
	} {
		res, err := g.Take(t.Context(), "k", 1)
		res.ResetAfter = res.ResetAfter.Round(time.Minute)
		if err != nil || res != want {
			t.Errorf("take %d: got %+v, %v; want %+v", i, res, err, want)
		}
	}
	if res, _ := g.Take(t.Context(), "k", 1); res.Allowed || res.RetryAfter.Round(time.Second) != 30*time.Second {
		t.Errorf("got %+v, want a denial for half a minute", res)
	}
	if res, err := g.Take(t.Context(), "k", 3); !errors.Is(err, ErrExceedsBurst) || res.RetryAfter != uprung.Never {
		t.Errorf("3 of 2: got %+v, %v; want ErrExceedsBurst", res, err)
	}
	if _, err := g.Take(t.Context(), "k", -1); err == nil {
		t.Error("a negative cost is accepted")
	}
	if g.AllowN("k", -1) || g.AllowN("k", 3) {
		t.Error("AllowN of too few or too many is granted")
	}
}

// A later limiter that fails costs the earlier ones nothing.
func TestAllGivesBackWhenALaterLimiterFails(t *testing.T) {
	t.Parallel()
	a := named(t, "a", PerHour(5))
	broken := newLimiter(t, PerHour(5), &Options{Name: "b", Capacity: 8, LimitFor: func(string) (Limit, bool) {
		return PerHour(-1), true
	}})
	g := group(t, a, broken)
	if _, err := g.Take(t.Context(), "k", 2); err == nil || !strings.Contains(err.Error(), "LimitFor") {
		t.Errorf("got %v, want the error of LimitFor", err)
	}
	if g.Allow("k") {
		t.Error("a limiter that fails grants")
	}
	if got := remaining(t, a, "k"); got != 5 {
		t.Errorf("%d remain at the first, want all 5", got)
	}
}

func TestAllUnderConcurrency(t *testing.T) {
	t.Parallel()
	a, b := named(t, "a", PerDay(1000)), named(t, "b", PerDay(300))
	g := group(t, a, b)
	var wg sync.WaitGroup
	var mu sync.Mutex
	granted := int64(0)
	for range 8 {
		wg.Go(func() {
			mine := int64(0)
			for range 500 {
				if g.Allow("k") {
					mine++
				}
			}
			mu.Lock()
			granted += mine
			mu.Unlock()
		})
	}
	wg.Wait()
	if granted > 300 {
		t.Errorf("%d granted of 300", granted)
	}
	if got, want := remaining(t, a, "k"), 1000-granted; got != want {
		t.Errorf("%d remain at a after %d grants, want %d: something was lost on refusal", got, granted, want)
	}
	if got, want := remaining(t, b, "k"), 300-granted; got != want {
		t.Errorf("%d remain at b after %d grants, want %d", got, granted, want)
	}
}

func TestAllHasModesAndUnlimited(t *testing.T) {
	t.Parallel()
	a, shadow, off := named(t, "a", PerHour(3)), named(t, "shadow", PerHour(1)), named(t, "off", PerHour(1))
	for l, mode := range map[*Limiter]uprung.Mode{shadow: uprung.Shadow, off: uprung.Off} {
		if err := l.SetMode(mode); err != nil {
			t.Fatal(err)
		}
	}
	g := group(t, shadow, off, named(t, "unlimited", Unlimited()), a)
	for i := range 5 {
		if got, want := g.Allow("k"), i < 3; got != want {
			t.Errorf("call %d: %v, want %v", i, got, want)
		}
	}
	if s := shadow.Stats(); s.ShadowDenied != 2 {
		t.Errorf("%+v, want 2 shadow denials: those that came to nothing are not counted", s)
	}
	if got := remaining(t, off, "k"); got != 1 {
		t.Errorf("%d remain at the limiter that is off, want 1", got)
	}
}

func TestAllIsChecked(t *testing.T) {
	t.Parallel()
	a := named(t, "a", PerHour(1))
	for _, tt := range []struct {
		limiters []*Limiter
		want     string
	}{
		{nil, "All has 0 limiters, want 1 to 8"},
		{make([]*Limiter, 9), "All has 9 limiters"},
		{[]*Limiter{a, nil}, "limiter 1 of All is nil"},
		{[]*Limiter{a, a}, `limiter 1 of All is named "a"`},
	} {
		if _, err := All(tt.limiters...); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("got %v, want %q", err, tt.want)
		}
	}
}

func TestAllDoesNotAllocate(t *testing.T) {
	for _, limit := range []Limit{PerSecond(1e9), PerDay(1)} {
		g := group(t, named(t, "a", PerSecond(1e9)), named(t, "b", limit))
		if n := testing.AllocsPerRun(1000, func() { g.Allow("k") }); n != 0 {
			t.Errorf("%v: %v allocations, want 0", limit, n)
		}
		if n := testing.AllocsPerRun(1000, func() { _, _ = g.Take(nil, "k", 1) }); n != 0 { //nolint:staticcheck // Take asks nothing of its context
			t.Errorf("%v: Take makes %v allocations, want 0", limit, n)
		}
	}
}

func TestAllMiddleware(t *testing.T) {
	t.Parallel()
	perKey := newLimiter(t, PerMinute(1), &Options{Name: "per-key", Key: key.Header("Api-Key"), MissingKey: key.MissingAdmitted})
	perClient := newLimiter(t, PerHour(3), &Options{Name: "per-client"})
	h := group(t, perKey, perClient).Middleware(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	serve := func(apiKey string) *httptest.ResponseRecorder {
		r := httptest.NewRequest("GET", "/", nil)
		if apiKey != "" {
			r.Header.Set("Api-Key", apiKey)
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w
	}
	w := serve("alice")
	if w.Code != 200 || len(w.Header().Values("RateLimit")) != 2 || len(w.Header().Values("RateLimit-Policy")) != 2 {
		t.Errorf("first: %d %v", w.Code, w.Header())
	}
	w = serve("alice")
	if w.Code != 429 || w.Header().Get("Retry-After") != "60" || !strings.Contains(w.Body.String(), `["per-key"]`) {
		t.Errorf("second: %d %v %s", w.Code, w.Header(), w.Body)
	}
	if got := w.Header().Values("RateLimit"); len(got) != 2 || got[1] != `"per-client";r=2;t=1200` {
		t.Errorf("second: RateLimit is %q, want the client not charged", got)
	}
	// Without an API key only the other limiter applies.
	for i, want := range []int{200, 200, 429} {
		w := serve("")
		if w.Code != want || len(w.Header().Values("RateLimit")) != 1 {
			t.Errorf("without a key, %d: %d %v, want %d", i, w.Code, w.Header(), want)
		}
	}
	// Both deny: the one that denies for longer answers.
	if w = serve("alice"); w.Code != 429 || w.Header().Get("Retry-After") != "1200" || !strings.Contains(w.Body.String(), `["per-client"]`) {
		t.Errorf("both deny: %d %v %s", w.Code, w.Header(), w.Body)
	}
	layers := uprung.Layers(h)
	if len(layers) != 1 || layers[0].Name != "per-key+per-client" || !layers[0].Has(uprung.ByClientAddress) {
		t.Errorf("layers are %v", layers)
	}
}

func BenchmarkAllOfTwo(b *testing.B) {
	g := group(b, named(b, "a", PerSecond(1e9)), named(b, "b", PerSecond(1e9)))
	b.ReportAllocs()
	for b.Loop() {
		g.Allow("user:0000123")
	}
}

func BenchmarkOne(b *testing.B) {
	l := named(b, "a", PerSecond(1e9))
	b.ReportAllocs()
	for b.Loop() {
		l.Allow("user:0000123")
	}
}

// The answer tells what is left after the refund of what came to nothing.
func TestAllTellsWhatIsLeftAfterARefusal(t *testing.T) {
	t.Parallel()
	window := newLimiter(t, PerHour(10), &Options{Name: "window", Capacity: 64, Algorithm: SlidingWindow, Key: key.Header("Api-Key")})
	h := group(t, window, named(t, "bucket", PerHour(1))).Middleware(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	r := httptest.NewRequest("GET", "/", nil)
	r.Header.Set("Api-Key", "alice")
	h.ServeHTTP(httptest.NewRecorder(), r)
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	if got := w.Header().Values("RateLimit")[0]; w.Code != 429 || !strings.HasPrefix(got, `"window";r=9`) {
		t.Errorf("got %d, %s; want 9 left", w.Code, got)
	}
	if got := remaining(t, window, "alice"); got != 9 {
		t.Errorf("%d remain, want 9", got)
	}
}

// The limiter that fails is the one that answers.
func TestAllMiddlewareErrorIsAnsweredByWhoFails(t *testing.T) {
	t.Parallel()
	teapot := newLimiter(t, PerHour(5), &Options{Name: "teapot", Capacity: 8, Key: key.Header("Api-Key"),
		Cost:    func(*http.Request) int64 { return -1 },
		Refused: func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusTeapot) },
	})
	first := named(t, "first", PerHour(5))
	h := group(t, first, teapot).Middleware(http.NotFoundHandler())
	r := httptest.NewRequest("GET", "/", nil)
	r.Header.Set("Api-Key", "alice")
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	if w.Code != http.StatusTeapot {
		t.Errorf("got %d, want the second limiter's 418", w.Code)
	}
	if got := remaining(t, first, "alice"); got != 5 {
		t.Errorf("%d remain at the first, want 5", got)
	}
	// Where nothing is enforced, nothing stops a request.
	if err := teapot.SetMode(uprung.Shadow); err != nil {
		t.Fatal(err)
	}
	w = httptest.NewRecorder()
	h.ServeHTTP(w, r)
	if w.Code != http.StatusNotFound {
		t.Errorf("in shadow: got %d, want 404", w.Code)
	}
}

func TestModeAndLayerOfAGroup(t *testing.T) {
	t.Parallel()
	half := uprung.Percent(50)
	for _, tt := range []struct{ first, second, want uprung.Mode }{
		{uprung.Off, uprung.Off, uprung.Off},
		{uprung.Off, uprung.Shadow, uprung.Shadow},
		{uprung.Shadow, half, uprung.Shadow},
		{half, uprung.Enforce, uprung.Enforce},
		{uprung.Enforce, half, uprung.Enforce},
	} {
		g := uprung.Must(All(
			uprung.Must(New(PerSecond(1), &Options{Name: "a", Mode: tt.first})),
			uprung.Must(New(PerSecond(1), &Options{Name: "b", Mode: tt.second})),
		))
		if got := g.Mode(); got != tt.want {
			t.Errorf("of %v and %v it is %v, want %v", tt.first, tt.second, got, tt.want)
		}
		if got := g.Layer(); got.Name != "a+b" || got.Kind != uprung.KindRateLimit {
			t.Errorf("the layer is %v, want a rate limit named a+b", got)
		}
	}
}
