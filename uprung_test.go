package uprung_test

import (
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/uprung/uprung"
)

func TestOutcomeOfResponse(t *testing.T) {
	t.Parallel()
	retry := http.Header{"Retry-After": {"3"}}
	for _, tt := range []struct {
		status int
		header http.Header
		want   uprung.Outcome
	}{
		{200, nil, uprung.Success},
		{101, nil, uprung.Success},
		{304, nil, uprung.Success},
		{401, nil, uprung.Success},
		{404, retry, uprung.Success},
		{429, nil, uprung.Overload},
		{429, retry, uprung.Overload},
		{500, nil, uprung.Failure},
		{503, nil, uprung.Failure},
		{503, retry, uprung.Overload},
		{504, retry, uprung.Failure},
	} {
		if got := uprung.ResponseOutcome(tt.status, tt.header); got != tt.want {
			t.Errorf("ResponseOutcome(%d, %v) = %v, want %v", tt.status, tt.header, got, tt.want)
		}
	}
}

func TestOutcomeString(t *testing.T) {
	t.Parallel()
	var got []string
	for o := uprung.Success; o <= uprung.Ignored+1; o++ {
		got = append(got, o.String())
	}
	want := []string{"success", "failure", "overload", "ignored", "Outcome(4)"}
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestRejectionMatchesItsReason(t *testing.T) {
	t.Parallel()
	errFull := errors.New("queue: full")
	var err error = fmt.Errorf("call: %w", &uprung.Rejection{
		Kind: "queue", Name: "orders", Reason: errFull, RetryAfter: 2 * time.Second,
	})
	if !errors.Is(err, errFull) {
		t.Error("errors.Is does not find the reason")
	}
	if r, ok := errors.AsType[*uprung.Rejection](err); !ok || r.RetryAfter != 2*time.Second {
		t.Errorf("errors.AsType = %v, %v", r, ok)
	}
	for _, tt := range []struct {
		rejection uprung.Rejection
		want      string
	}{
		{uprung.Rejection{Reason: errFull, Name: "orders", RetryAfter: time.Second}, `queue: full (policy "orders"), retry after 1s`},
		{uprung.Rejection{Reason: errFull, RetryAfter: uprung.Never}, "queue: full"},
		{uprung.Rejection{}, "uprung: rejected"},
	} {
		if got := tt.rejection.Error(); got != tt.want {
			t.Errorf("got %q, want %q", got, tt.want)
		}
	}
}

func TestModeTextRoundTrip(t *testing.T) {
	t.Parallel()
	for _, m := range []uprung.Mode{
		uprung.Enforce, uprung.Shadow, uprung.Off, uprung.Percent(0), uprung.Percent(0.01), uprung.Percent(12.5), uprung.Percent(100),
	} {
		text, err := m.MarshalText()
		if err != nil {
			t.Fatalf("%v: %v", m, err)
		}
		var back uprung.Mode
		if err := back.UnmarshalText(text); err != nil || back != m {
			t.Errorf("%s came back as %v, %v", text, back, err)
		}
	}
	for _, p := range []float64{-1, 100.5, 0.001, 99.999, math.NaN(), math.Inf(1)} {
		m := uprung.Percent(p)
		if err := m.Validate(); err == nil || !strings.Contains(err.Error(), "Percent out of range, want one from 0 to 100") {
			t.Errorf("Percent(%v): %v, want an error that says what Percent takes", p, err)
		}
		if m.Enforces("a") {
			t.Errorf("Percent(%v) enforces", p)
		}
		if _, err := m.MarshalText(); err == nil {
			t.Errorf("Percent(%v) is written", p)
		}
	}
	for _, text := range []string{"", "on", "%", "101%", "-1%", "nan%", "50", "0.001%"} {
		m := uprung.Shadow
		if err := m.UnmarshalText([]byte(text)); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("%q", text)) {
			t.Errorf("%q gives %v, want an error that quotes it", text, err)
		}
		if m != uprung.Shadow {
			t.Errorf("%q changed the mode", text)
		}
	}
}

// The share is even, and whoever is enforced at a low percentage is enforced at
// every higher one.
func TestPercentIsStickyAndEven(t *testing.T) {
	t.Parallel()
	const keys = 100_000
	before := make([]bool, keys)
	for _, p := range []float64{0, 0.5, 1, 10, 50, 99, 100} {
		mode, enforced := uprung.Percent(p), 0
		for i := range keys {
			is := mode.Enforces(fmt.Sprintf("user:%d", i))
			if before[i] && !is {
				t.Fatalf("key %d is no longer enforced at %v%%", i, p)
			}
			before[i] = is
			if is {
				enforced++
			}
		}
		want := p / 100 * keys
		if diff := math.Abs(float64(enforced) - want); diff > 5*math.Sqrt(keys*p/100*(1-p/100)) {
			t.Errorf("%v%%: %d of %d keys enforced, want about %.0f", p, enforced, keys, want)
		}
	}
}

// Which keys a percentage enforces is part of the contract: the same ones in
// every process and release.
func TestPercentGolden(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		key  string
		from float64 // the least percentage at which it is enforced
	}{{"", 43.43}, {"alice", 72.37}, {"203.0.113.7", 4.63}} {
		if !uprung.Percent(tt.from).Enforces(tt.key) || uprung.Percent(tt.from-0.01).Enforces(tt.key) {
			t.Errorf("%q is not enforced from %v%% on", tt.key, tt.from)
		}
	}
}

func TestModeEnforcesDoesNotAllocate(t *testing.T) {
	m := uprung.Percent(50)
	if n := testing.AllocsPerRun(100, func() { m.Enforces("203.0.113.7") }); n != 0 {
		t.Errorf("%v allocations, want 0", n)
	}
}

func tag(name string) uprung.Middleware {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Add("Path", name)
			next.ServeHTTP(w, r)
		})
	}
}

func TestChainFirstIsOutermost(t *testing.T) {
	t.Parallel()
	app := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.Header().Add("Path", "app") })
	for _, tt := range []struct {
		chain uprung.Middleware
		want  []string
	}{
		{uprung.Chain(), []string{"app"}},
		{uprung.Chain(tag("a"), tag("b"), tag("c")), []string{"a", "b", "c", "app"}},
		{uprung.Chain(tag("a"), uprung.Chain(tag("b"), tag("c"))), []string{"a", "b", "c", "app"}},
	} {
		w := httptest.NewRecorder()
		tt.chain(app).ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
		if got := w.Header().Values("Path"); !slices.Equal(got, tt.want) {
			t.Errorf("got %v, want %v", got, tt.want)
		}
	}
}

func TestLayersEndsAtTheUnknown(t *testing.T) {
	t.Parallel()
	named := func(name string) uprung.Middleware {
		return uprung.Named(uprung.Layer{Kind: "test", Name: name}, tag(name))
	}
	app := http.NewServeMux()
	for _, tt := range []struct {
		handler http.Handler
		want    []string
	}{
		{nil, nil},
		{app, nil},
		{uprung.Chain(named("a"), named("b"))(app), []string{"a", "b"}},
		{uprung.Chain(named("a"), tag("foreign"), named("b"))(app), []string{"a"}},
	} {
		var got []string
		for _, layer := range uprung.Layers(tt.handler) {
			got = append(got, layer.Name)
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("got %v, want %v", got, tt.want)
		}
	}
	w := httptest.NewRecorder()
	named("a")(app).ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
	if got := w.Header().Get("Path"); got != "a" {
		t.Errorf("the named middleware did not run: Path is %q", got)
	}
}

func TestMust(t *testing.T) {
	t.Parallel()
	if got := uprung.Must(1, nil); got != 1 {
		t.Errorf("got %d, want 1", got)
	}
	want := errors.New("bad setting")
	defer func() {
		if got, ok := recover().(error); !ok || !errors.Is(got, want) {
			t.Errorf("panic is %v, want %v", got, want)
		}
	}()
	uprung.Must(1, want)
}
