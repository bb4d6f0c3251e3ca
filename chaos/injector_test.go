package chaos

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/uprung/uprung"
	"github.com/uprung/uprung/key"
)

func TestNewNamesEveryBadField(t *testing.T) {
	t.Parallel()
	_, err := New([]Fault{
		{Name: "a\n", Reset: true},
		{Name: "nothing"},
		{Name: "b", Share: 1.5, Status: 200, Code: 17, RetryAfter: -1, Body: Body{Rate: -1, Corrupt: -1}},
		{Name: "c", Status: 500, Reset: true},
		{Name: "c", Reset: true, Share: math.NaN()},
	}, &Options{Name: strings.Repeat("x", 65), MaxActive: -1, MaxArmed: -1, Mode: -9})
	for _, want := range []string{
		`chaos: faults[0].Name is "a\n", want 1 to 64 printable ASCII characters`,
		`chaos: faults[1].Delay, Status, Code, Err, Reset and Body are zero, want what is to be done`,
		`chaos: faults[2].Share is 1.5, want 0 for all, or more and at most 1`,
		`chaos: faults[2].Status is 200, want 0 for none, or 400 to 599`,
		`chaos: faults[2].Code is 17, want 0 to 16`,
		`chaos: faults[2].RetryAfter is -1ns, want >= 0`,
		`chaos: faults[2].Body.Rate is -1, want >= 0`,
		`chaos: faults[2].Body.Corrupt is -1, want >= 0`,
		`chaos: faults[2].Body is set, want it without Status, Err and Reset, which leave no body`,
		`chaos: faults[3].Status, Err and Reset are set together, want one of them at most`,
		`chaos: faults[4].Share is NaN, want 0 for all, or more and at most 1`,
		`chaos: faults[4].Name is "c", want one that no other fault has, and faults[3] has it`,
		`chaos: Name is "` + strings.Repeat("x", 65) + `", want 1 to 64 printable ASCII characters`,
		`chaos: MaxActive is -1, want >= 0`,
		`chaos: MaxArmed is -1ns, want >= 0`,
		`chaos: Mode: `,
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error lacks %q:\n%v", want, err)
		}
	}
}

func TestOffUnlessArmed(t *testing.T) {
	bubble(t, func(t *testing.T) {
		i, err := New([]Fault{{Name: "all", Reset: true}}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if n := count(calls(i, 100, Call{})); n != 0 {
			t.Errorf("%d of 100 calls meet a fault before it is armed", n)
		}
		for _, d := range []time.Duration{0, -1, time.Hour + 1} {
			if err := i.Arm(d); err == nil {
				t.Errorf("it can be armed for %v", d)
			}
		}
		if err := i.Arm(time.Minute); err != nil {
			t.Fatal(err)
		}
		if n := count(calls(i, 100, Call{})); n != 100 {
			t.Errorf("%d of 100 calls meet a fault that all should meet", n)
		}
		if left, ok := i.Armed(); !ok || left != time.Minute {
			t.Errorf("armed for %v, %t", left, ok)
		}
		i.Disarm()
		i.Disarm()
		if n := count(calls(i, 100, Call{})); n != 0 {
			t.Errorf("%d of 100 calls meet a fault after it is disarmed", n)
		}
	})
}

func TestExpiryEndsIt(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var lines strings.Builder
		i := must(t, &Options{Logger: slog.New(slog.NewTextHandler(&lines, nil))}, Fault{Name: "all", Reset: true})
		if err := i.Arm(time.Second); err != nil { // anew
			t.Fatal(err)
		}
		time.Sleep(time.Second - 1)
		if n := count(calls(i, 1, Call{})); n != 1 {
			t.Error("it has expired early")
		}
		time.Sleep(1)
		synctest.Wait()
		if n := count(calls(i, 1, Call{})); n != 0 {
			t.Error("it has not expired")
		}
		if _, ok := i.Armed(); ok {
			t.Error("it says that it is armed")
		}
		if got := lines.String(); strings.Count(got, "chaos is armed") != 2 || strings.Count(got, "chaos has expired") != 1 {
			t.Errorf("log is\n%s", got)
		}
		time.Sleep(time.Hour) // the timer of the first time must not end a third
		if err := i.Arm(time.Hour); err != nil {
			t.Fatal(err)
		}
	})
}

func TestKillSwitchFreesCallsThatAreHeld(t *testing.T) {
	bubble(t, func(t *testing.T) {
		i := must(t, nil, Fault{Name: "hang", Delay: Fixed(time.Hour), Status: 500})
		h := i.Middleware(saying("real"))
		begin := time.Now()
		var wg sync.WaitGroup
		for range 10 {
			wg.Go(func() {
				w := httptest.NewRecorder()
				h.ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
				if w.Code != 200 || w.Body.String() != "real" || w.Header().Get(MarkField) != "" {
					t.Errorf("answer is %d %q", w.Code, w.Body)
				}
			})
		}
		synctest.Wait()
		if got := i.Stats().Active; got != 10 {
			t.Errorf("%d active, want 10", got)
		}
		time.Sleep(time.Minute)
		i.Disarm()
		wg.Wait()
		if took := time.Since(begin); took != time.Minute {
			t.Errorf("calls took %v, want a minute", took)
		}
		if got := i.Stats().Active; got != 0 {
			t.Errorf("%d active, want 0", got)
		}
	})
}

func TestClientThatLeavesIsNotHeld(t *testing.T) {
	bubble(t, func(t *testing.T) {
		i := must(t, nil, Fault{Name: "hang", Delay: Fixed(time.Hour)})
		reached := false
		rt := i.Transport(roundTripper(func(*http.Request) (*http.Response, error) {
			reached = true
			return nil, errors.New("reached")
		}))
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		begin := time.Now()
		body := &closing{}
		_, err := rt.RoundTrip(httptest.NewRequest("POST", "/", body).WithContext(ctx))
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(begin) != time.Second || reached || !body.closed {
			t.Errorf("after %v: %v, reached %t, body closed %t", time.Since(begin), err, reached, body.closed)
		}
		if got := i.Stats().Active; got != 0 {
			t.Errorf("%d active, want 0", got)
		}
	})
}

type closing struct{ closed bool }

func (c *closing) Read([]byte) (int, error) { return 0, io.EOF }
func (c *closing) Close() error             { c.closed = true; return nil }

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestAtMostMaxActiveAtATime(t *testing.T) {
	t.Parallel()
	i := must(t, &Options{MaxActive: 3}, Fault{Name: "all", Reset: true})
	var held []Injection
	for range 10 {
		if n, ok := i.Next(Call{}); ok {
			held = append(held, n)
		}
	}
	if s := i.Stats(); len(held) != 3 || s.Active != 3 || s.Capped != 7 || s.Faults[0].Injected != 3 {
		t.Errorf("%d held, stats %+v", len(held), s)
	}
	for _, n := range held {
		n.End()
	}
	if n, ok := i.Next(Call{}); !ok {
		t.Error("none is injected after all have ended")
	} else {
		n.End()
	}
}

func TestSeedRepeatsTheChoice(t *testing.T) {
	t.Parallel()
	choice := func(seed uint64) []bool {
		return calls(must(t, &Options{Seed: seed}, Fault{Name: "some", Share: 0.25, Reset: true}), 10_000, Call{})
	}
	first := choice(7)
	if !slices.Equal(first, choice(7)) {
		t.Error("the same seed chooses other calls")
	}
	if slices.Equal(first, choice(8)) {
		t.Error("another seed chooses the same calls")
	}
	if n := count(first); n < 2400 || n > 2600 {
		t.Errorf("%d of 10000 calls meet a fault with a share of 0.25", n)
	}
}

func TestFaultsAreDrawnApart(t *testing.T) {
	t.Parallel()
	i := must(t, &Options{Seed: 1}, Fault{Name: "half", Share: 0.5, Reset: true}, Fault{Name: "other half", Share: 0.5, Status: 500})
	calls(i, 10_000, Call{})
	s := i.Stats().Faults
	if a, b := s[0].Injected, s[1].Injected; a < 4800 || a > 5200 || b < 2350 || b > 2650 || b+s[1].Spared != 10_000-a {
		t.Errorf("stats are %+v, want 5000 and half of the other 5000", s)
	}
}

func TestKeyMakesAPartialOutage(t *testing.T) {
	t.Parallel()
	fault := Fault{Name: "shard", Share: 0.3, Status: 500, Key: HTTPKey(key.Header("Tenant"))}
	one, two := must(t, nil, fault), must(t, nil, fault)
	met := 0
	for tenant := range 1000 {
		r := httptest.NewRequest("GET", "/", nil)
		r.Header.Set("Tenant", strconv.Itoa(tenant))
		n := count(append(calls(one, 3, Call{Request: r}), calls(two, 3, Call{Request: r})...))
		if n != 0 && n != 6 {
			t.Fatalf("tenant %d meets the fault %d of 6 times", tenant, n)
		}
		met += n / 6
	}
	if met < 260 || met > 340 {
		t.Errorf("%d of 1000 keys meet a fault with a share of 0.3", met)
	}
	if count(calls(one, 100, Call{Request: httptest.NewRequest("GET", "/", nil)})) != 0 || count(calls(one, 100, Call{Method: "/x/Y"})) != 0 {
		t.Error("calls without a key meet the fault")
	}
}

func TestMatch(t *testing.T) {
	t.Parallel()
	i := must(t, nil, Fault{Name: "writes", Err: io.ErrNoProgress, Match: func(c Call) bool { return c.Method == "exec" }})
	if count(calls(i, 10, Call{Method: "query"})) != 0 || count(calls(i, 10, Call{Method: "exec"})) != 10 {
		t.Errorf("stats are %+v", i.Stats())
	}
}

// Envoy's fault filter takes percentages from a header of anybody (envoy #10648).
func TestRequestsChooseFaultsOnlyIfTrusted(t *testing.T) {
	t.Parallel()
	asked := Fault{Name: "asked", Status: 503, Requested: true}
	plain := Fault{Name: "plain", Status: 500, Share: 1e-12}
	for _, tt := range []struct {
		name  string
		trust func(*http.Request) bool
		field []string
		want  int
	}{
		{"nobody is trusted", nil, []string{"asked"}, 200},
		{"not trusted", func(*http.Request) bool { return false }, []string{"asked"}, 200},
		{"trusted", everybody, []string{"asked"}, 503},
		{"one of several", everybody, []string{"other", "x, asked"}, 503},
		{"another", everybody, []string{"askedx"}, 200},
		{"none", everybody, nil, 200},
		{"one that cannot be asked for", everybody, []string{"plain"}, 200},
	} {
		h := must(t, &Options{Trust: tt.trust}, asked, plain).Middleware(saying("real"))
		r, w := httptest.NewRequest("GET", "/", nil), httptest.NewRecorder()
		if tt.field != nil {
			r.Header[RequestField] = tt.field
		}
		h.ServeHTTP(w, r)
		if w.Code != tt.want {
			t.Errorf("%s: %d, want %d", tt.name, w.Code, tt.want)
		}
	}
}

func TestModes(t *testing.T) {
	t.Parallel()
	i := must(t, nil, Fault{Name: "all", Reset: true, Key: func(c Call) (string, bool) { return c.Method, c.Method != "" }})
	for _, tt := range []struct {
		mode             uprung.Mode
		injected, shadow uint64
	}{{uprung.Off, 0, 0}, {uprung.Shadow, 0, 1000}, {uprung.Enforce, 1000, 0}} {
		if err := i.SetMode(tt.mode); err != nil {
			t.Fatal(err)
		}
		before := i.Stats().Faults[0]
		met := count(calls(i, 1000, Call{Method: "x"}))
		s := i.Stats().Faults[0]
		if s.Injected-before.Injected != tt.injected || s.Shadow-before.Shadow != tt.shadow || met != int(tt.injected) {
			t.Errorf("%v: %+v after %+v", tt.mode, s, before)
		}
	}
	if err := i.SetMode(uprung.Percent(50)); err != nil {
		t.Fatal(err)
	}
	met := 0
	for n := range 1000 {
		met += count(calls(i, 1, Call{Method: strconv.Itoa(n)}))
	}
	if met < 430 || met > 570 {
		t.Errorf("%d of 1000 keys meet the fault under 50 percent", met)
	}
	if err := i.SetMode(-9); err == nil {
		t.Error("a mode that is none is taken")
	}
}

func TestSkip(t *testing.T) {
	t.Parallel()
	i := must(t, &Options{Skip: func(r *http.Request) bool { return r.URL.Path == "/healthz" }}, Fault{Name: "all", Status: 500})
	for path, want := range map[string]int{"/healthz": 200, "/": 500} {
		w := httptest.NewRecorder()
		i.Middleware(saying("real")).ServeHTTP(w, httptest.NewRequest("GET", path, nil))
		if w.Code != want {
			t.Errorf("%s: %d, want %d", path, w.Code, want)
		}
	}
}

func TestSetFaultsKeepsFiguresAndIsBounded(t *testing.T) {
	t.Parallel()
	i := must(t, nil, Fault{Name: "a", Reset: true})
	calls(i, 5, Call{})
	if err := i.SetFaults([]Fault{{Name: "b", Reset: true}, {Name: "a", Status: 999}}); err == nil {
		t.Error("a fault that is not valid is taken")
	}
	if err := i.SetFaults([]Fault{{Name: "b", Reset: true, Share: 0.5}, {Name: "a", Status: 500}}); err != nil {
		t.Fatal(err)
	}
	calls(i, 100, Call{})
	if s := i.Stats().Faults; len(s) != 2 || s[0].Name != "a" || s[0].Injected+s[1].Injected != 105 {
		t.Errorf("stats are %+v", s)
	}
	var many []Fault
	for n := range maxFaults - 1 {
		many = append(many, Fault{Name: fmt.Sprint("fault ", n), Reset: true})
	}
	if err := i.SetFaults(many); err == nil || len(i.Faults()) != 2 {
		t.Errorf("%v, and there are %d faults", err, len(i.Faults()))
	}
}

func TestDelays(t *testing.T) {
	t.Parallel()
	const ms = time.Millisecond
	for _, tt := range []struct {
		name  string
		delay Delay
		want  []time.Duration // at 0, 0.5, 0.9 and the highest u
	}{
		{"fixed", Fixed(ms), []time.Duration{ms, ms, ms, ms}},
		{"uniform", Uniform(10*ms, 20*ms), []time.Duration{10 * ms, 15 * ms, 19 * ms, 20 * ms}},
		{"exponential", Exponential(10*ms, 100*ms), []time.Duration{0, 6931 * time.Microsecond, 23025 * time.Microsecond, 100 * ms}},
		{"pareto", Pareto(ms, time.Second, 1), []time.Duration{ms, 2 * ms, 10 * ms, time.Second}},
		{"unbounded tail", Exponential(math.MaxInt64, math.MaxInt64), []time.Duration{0, 6393154322601327616, math.MaxInt64, math.MaxInt64}},
	} {
		for at, u := range []float64{0, 0.5, 0.9, 1 - 1.0/(1<<53)} {
			if got := tt.delay(u); (got - tt.want[at]).Abs() > time.Microsecond+tt.want[at]/1_000_000 {
				t.Errorf("%s at %v: %v, want %v", tt.name, u, got, tt.want[at])
			}
		}
	}
	i := must(t, &Options{Seed: 3}, Fault{Name: "d", Delay: Uniform(0, time.Second)}, Fault{Name: "never", Delay: Fixed(-1)})
	sum := time.Duration(0)
	for range 1000 {
		n, _ := i.Next(Call{})
		sum += n.delay
		n.End()
	}
	if sum < 450*time.Second || sum > 550*time.Second {
		t.Errorf("1000 delays of half a second on average took %v", sum)
	}
}

func TestErrorIsToldApartAndMatchesWhatItPlays(t *testing.T) {
	t.Parallel()
	err := error(&Error{Fault: "down", Err: syscall.ECONNRESET})
	if !errors.Is(err, ErrInjected) || !errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) {
		t.Errorf("%v does not match as it should", err)
	}
	if got, want := err.Error(), `chaos: connection reset by peer (fault "down")`; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if uprung.ErrorOutcome(t.Context(), err, 0, 0) != uprung.Failure {
		t.Errorf("outcome is %v, want a failure", uprung.ErrorOutcome(t.Context(), err, 0, 0))
	}
	if (&Error{Err: syscall.ECONNRESET}).Timeout() || !(&Error{Err: context.DeadlineExceeded}).Timeout() {
		t.Error("timeouts are not told apart")
	}
}

func TestConcurrentUse(t *testing.T) {
	t.Parallel()
	i := must(t, nil, Fault{Name: "some", Share: 0.5, Delay: Fixed(time.Microsecond)})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for n := range 500 {
				switch n % 50 {
				case 0:
					_ = i.Arm(time.Minute)
				case 10:
					i.Disarm()
				case 20:
					_ = i.SetFaults([]Fault{{Name: "some", Share: 0.5, Delay: Fixed(time.Microsecond)}})
				}
				if in, ok := i.Next(Call{}); ok {
					_, _ = in.Hold(t.Context())
					in.End()
				}
				i.Stats()
			}
		})
	}
	wg.Wait()
	if s := i.Stats(); s.Active != 0 {
		t.Errorf("%d active, want none", s.Active)
	}
}
