package ratelimit

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/uprung/uprung"
	"github.com/uprung/uprung/key"
)

// byKey are options for a limiter whose key is in Api-Key.
func byKey(name string) *Options {
	return &Options{Name: name, Capacity: 256, Key: key.Header("Api-Key")}
}

// problem is the body of a refusal.
type problem struct {
	Type     string   `json:"type"`
	Title    string   `json:"title"`
	Status   int      `json:"status"`
	Violated []string `json:"violated-policies"`
}

func readProblem(t *testing.T, w *httptest.ResponseRecorder) problem {
	t.Helper()
	if got := w.Header().Get("Content-Type"); got != "application/problem+json" {
		t.Errorf("Content-Type is %q, want application/problem+json", got)
	}
	var p problem
	if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil {
		t.Fatalf("%q: %v", w.Body, err)
	}
	if p.Status != w.Code {
		t.Errorf("the problem says %d, the answer %d", p.Status, w.Code)
	}
	return p
}

func TestMiddlewareGrantsAndRefuses(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		served := 0
		l := newLimiter(t, PerMinute(2), byKey(`per "client"`))
		h := l.Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			served++
			fmt.Fprint(w, "hello")
		}))
		for i, want := range []struct {
			code          int
			status, retry string
		}{
			{200, `"per \"client\"";r=1;t=30`, ""},
			{200, `"per \"client\"";r=0;t=60`, ""},
			{429, `"per \"client\"";r=0;t=30`, "30"},
			{429, `"per \"client\"";r=0;t=30`, "30"},
		} {
			w := send(h, request("alice"))
			head := w.Header()
			if w.Code != want.code || head.Get("RateLimit") != want.status || head.Get("Retry-After") != want.retry ||
				head.Get("RateLimit-Policy") != `"per \"client\"";q=2;w=60` {
				t.Errorf("request %d: %d %v, want %+v", i, w.Code, head, want)
			}
			if w.Code == 200 {
				if w.Body.String() != "hello" {
					t.Errorf("the body is %q", w.Body)
				}
				continue
			}
			p := readProblem(t, w)
			if p.Type != "https://iana.org/assignments/http-problem-types#quota-exceeded" || !slices.Equal(p.Violated, []string{`per "client"`}) || p.Title == "" {
				t.Errorf("the problem is %+v", p)
			}
			if head.Get("Cache-Control") != "no-store" {
				t.Errorf("a refusal may be stored: %v", head)
			}
		}
		if w := send(h, request("bob")); w.Code != 200 {
			t.Errorf("another key: %d, want 200", w.Code)
		}
		time.Sleep(30 * time.Second)
		if w := send(h, request("alice")); w.Code != 200 {
			t.Errorf("after Retry-After: %d, want 200", w.Code)
		}
		if served != 4 {
			t.Errorf("%d requests were served, want 4", served)
		}
		r := request("alice")
		r.Method = http.MethodHead
		if w := send(h, r); w.Code != 429 || w.Body.Len() != 0 || w.Header().Get("Retry-After") != "30" || w.Header().Get("Content-Length") == "" {
			t.Errorf("HEAD: %d %v with %d bytes, want 429 without a body", w.Code, w.Header(), w.Body.Len())
		}
	})
}

func TestRetryAfterIsWholeSecondsRoundedUp(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		limit Limit
		want  string
	}{
		{PerSecond(1000), "1"},
		{PerSecond(1), "1"},
		{Limit{Events: 2, Period: 3 * time.Second, Burst: 1}, "2"}, // 1.5s
		{Limit{Events: 1, Period: time.Second + 1}, "2"},
		{Limit{Events: 1, Period: 10 * time.Second}, "10"},
		{PerDay(1), "86400"},
		{PerDay(1).WithBurst(730), "86400"},
		{Limit{Events: 1, Period: 2 * 365 * day}, "63072000"},
	} {
		synctest.Test(t, func(t *testing.T) {
			h := newLimiter(t, tt.limit, byKey("")).Middleware(accept)
			w := send(h, request("k"))
			for w.Code == 200 {
				w = send(h, request("k"))
			}
			retry := w.Header().Get("Retry-After")
			if w.Code != 429 || retry != tt.want {
				t.Errorf("%v: %d with Retry-After %q, want %q", tt.limit, w.Code, retry, tt.want)
			}
			seconds, err := strconv.Atoi(retry)
			if err != nil {
				t.Fatal(err)
			}
			_, statuses := checkFields(t, w.Header().Values("RateLimit-Policy"), w.Header().Values("RateLimit"), "default")
			if after := statuses[0].integer(t, "t"); int64(seconds) < after {
				t.Errorf("%v: Retry-After is %d, before t, which is %d", tt.limit, seconds, after)
			}
			time.Sleep(time.Duration(seconds) * time.Second)
			if w := send(h, request("k")); w.Code != 200 {
				t.Errorf("%v: %d after Retry-After, want 200", tt.limit, w.Code)
			}
		})
	}
}

func TestCostOfRequests(t *testing.T) {
	t.Parallel()
	for _, mode := range []uprung.Mode{uprung.Enforce, uprung.Shadow} {
		o := byKey("")
		o.Mode = mode
		o.Cost = func(r *http.Request) int64 {
			n, _ := strconv.ParseInt(r.Header.Get("Cost"), 10, 64)
			return n
		}
		l := newLimiter(t, PerDay(10), o)
		h := l.Middleware(accept)
		for i, tt := range []struct {
			cost      string
			code      int
			remaining int64
			fields    bool
			retry     bool
		}{
			{"7", 200, 3, true, false},
			{"0", 200, 3, false, false},
			{"4", 429, 3, true, true},
			{"11", 429, 3, true, false},
			{"9223372036854775807", 429, 3, true, false},
			{"-1", 500, 3, false, false},
			{"-9223372036854775808", 500, 3, false, false},
			{"3", 200, 0, true, false},
			{"0", 200, 0, false, false},
			{"1", 429, 0, true, true},
		} {
			r := request("k")
			r.Header.Set("Cost", tt.cost)
			w := send(h, r)
			if mode == uprung.Shadow { // watches, whatever it sees
				tt.code, tt.fields, tt.retry = 200, false, false
			}
			if w.Code != tt.code || (w.Header().Get("RateLimit") != "") != tt.fields || (w.Header().Get("Retry-After") != "") != tt.retry {
				t.Errorf("%v: request %d of cost %s: %d %v, want %+v", mode, i, tt.cost, w.Code, w.Header(), tt)
			}
			if w.Code >= 400 {
				readProblem(t, w)
			}
			if got := remaining(t, l, "k"); got != tt.remaining {
				t.Errorf("%v: %d remain after request %d, want %d", mode, got, i, tt.remaining)
			}
		}
	}
}

func TestInvalidLimitOfAKeyIsAnInternalError(t *testing.T) {
	t.Parallel()
	o := byKey("")
	o.LimitFor = func(string) (Limit, bool) { return Limit{Events: -1}, true }
	l := newLimiter(t, PerDay(10), o)
	h := l.Middleware(accept)
	if w := send(h, request("k")); w.Code != 500 || strings.Contains(w.Body.String(), "Events") {
		t.Errorf("%d %s, want 500 and nothing of the reason", w.Code, w.Body)
	}
	if err := l.SetMode(uprung.Shadow); err != nil {
		t.Fatal(err)
	}
	if w := send(h, request("k")); w.Code != 200 {
		t.Errorf("%d under Shadow, want 200", w.Code)
	}
}

func TestSkipExempts(t *testing.T) {
	t.Parallel()
	o := byKey("")
	o.Skip = func(r *http.Request) bool { return r.URL.Path == "/health" }
	l := newLimiter(t, Limit{}, o)
	h := l.Middleware(accept)
	for range 3 {
		if w := send(h, httptest.NewRequest(http.MethodGet, "/health", nil)); w.Code != 200 || len(w.Header()) != 0 {
			t.Errorf("%d %v, want 200 without a header", w.Code, w.Header())
		}
	}
	if w := send(h, request("k")); w.Code != 429 || w.Header().Get("Retry-After") != "" {
		t.Errorf("%d %v, want 429 without Retry-After from the zero limit", w.Code, w.Header())
	}
	if s := l.Stats(); s.Denied != 1 || s.Granted != 0 || s.Keyless != 0 {
		t.Errorf("%+v, want one denied", s)
	}
}

func TestRefusedAnswers(t *testing.T) {
	t.Parallel()
	var got error
	o := byKey("api")
	o.Cost = func(r *http.Request) int64 { return r.ContentLength }
	o.Refused = func(w http.ResponseWriter, r *http.Request, err error) {
		got = err
		w.WriteHeader(http.StatusTeapot)
	}
	l := newLimiter(t, PerHour(10), o)
	h := l.Middleware(accept)
	sized := func(key string, n int64) *http.Request {
		r := request(key)
		r.ContentLength = n
		return r
	}
	if w := send(h, sized("k", 10)); w.Code != 200 || got != nil {
		t.Fatalf("%d, %v", w.Code, got)
	}
	for _, tt := range []struct {
		request *http.Request
		want    error
		retry   string
		never   bool
	}{
		{sized("k", 1), ErrLimited, "360", false},
		{sized("k", 11), ErrExceedsBurst, "", true},
		{sized("", 1), ErrMissingKey, "", false},
	} {
		got = nil
		w := send(h, tt.request)
		if w.Code != http.StatusTeapot || !errors.Is(got, tt.want) || w.Header().Get("Retry-After") != tt.retry {
			t.Errorf("%d %v with %v, want %v and Retry-After %q", w.Code, w.Header(), got, tt.want, tt.retry)
		}
		rejection, ok := errors.AsType[*uprung.Rejection](got)
		if ok != !errors.Is(tt.want, ErrMissingKey) {
			t.Errorf("%v is a rejection: %v", got, ok)
		}
		if ok && (rejection.Kind != uprung.KindRateLimit || rejection.Name != "api" || (rejection.RetryAfter == uprung.Never) != tt.never) {
			t.Errorf("the rejection is %+v", rejection)
		}
		wrapped := fmt.Errorf("handling: %w", got)
		if !errors.Is(wrapped, tt.want) {
			t.Errorf("%v does not match %v once wrapped", wrapped, tt.want)
		}
	}
	if w := send(h, sized("k", -1)); w.Code != http.StatusTeapot || got == nil || !strings.Contains(got.Error(), "cost is -1 events") {
		t.Errorf("%d with %v, want the error of the cost", w.Code, got)
	}
}

func TestModesOfMiddleware(t *testing.T) {
	t.Parallel()
	o := byKey("")
	o.Mode = uprung.Shadow
	l := newLimiter(t, PerDay(1), o)
	h := l.Middleware(accept)
	quiet := func(key string) {
		t.Helper()
		if w := send(h, request(key)); w.Code != 200 || len(w.Header()) != 0 {
			t.Errorf("%v: %d %v, want 200 without a header", l.Mode(), w.Code, w.Header())
		}
	}
	for range 3 {
		quiet("k")
	}
	quiet("") // nothing is refused for want of a key either
	if s := l.Stats(); s.Granted != 1 || s.ShadowDenied != 2 || s.Denied+s.Keyless != 0 {
		t.Errorf("%+v, want 1 granted and 2 shadow denied", s)
	}
	if err := l.SetMode(uprung.Off); err != nil {
		t.Fatal(err)
	}
	before := l.Stats()
	quiet("k")
	quiet("")
	if after := l.Stats(); after != before {
		t.Errorf("Off counts: %+v, want %+v", after, before)
	}
	mode := uprung.Percent(50)
	if err := l.SetMode(mode); err != nil {
		t.Fatal(err)
	}
	refused := 0
	for i := range 200 {
		name := fmt.Sprint("user", i)
		first, second := send(h, request(name)), send(h, request(name))
		enforced := mode.Enforces(name)
		if first.Code != 200 || (second.Code == 429) != enforced || (first.Header().Get("RateLimit") != "") != enforced || (second.Header().Get("RateLimit-Policy") != "") != enforced {
			t.Errorf("%q: %d %v then %d %v, enforced %v", name, first.Code, first.Header(), second.Code, second.Header(), enforced)
		}
		if enforced {
			refused++
		}
	}
	if s := l.Stats(); s.Denied != uint64(refused) || s.ShadowDenied != 2+200-uint64(refused) || refused < 60 || refused > 140 {
		t.Errorf("%+v with %d of 200 refused", s, refused)
	}
	if err := l.SetMode(uprung.Enforce); err != nil {
		t.Fatal(err)
	}
	if w := send(h, request("k")); w.Code != 429 {
		t.Errorf("%d, want 429: what was spent in the shadow counts", w.Code)
	}
}

func TestHeadersNoneSendsOnlyRetryAfter(t *testing.T) {
	t.Parallel()
	o := byKey("")
	o.Headers = HeadersNone
	h := newLimiter(t, PerHour(1), o).Middleware(accept)
	if w := send(h, request("k")); w.Code != 200 || len(w.Header()) != 0 {
		t.Errorf("%d %v, want 200 without a header", w.Code, w.Header())
	}
	w := send(h, request("k"))
	if w.Code != 429 || w.Header().Get("Retry-After") != "3600" || w.Header().Get("RateLimit") != "" || w.Header().Get("RateLimit-Policy") != "" {
		t.Errorf("%d %v, want 429 with Retry-After only", w.Code, w.Header())
	}
}

func TestUnlimitedSendsNoFields(t *testing.T) {
	t.Parallel()
	o := byKey("")
	o.LimitFor = func(k string) (Limit, bool) { return PerDay(3), k == "small" }
	h := newLimiter(t, Unlimited(), o).Middleware(accept)
	if w := send(h, request("k")); w.Code != 200 || len(w.Header()) != 0 {
		t.Errorf("%d %v, want 200 without a header", w.Code, w.Header())
	}
	if w := send(h, request("small")); w.Header().Get("RateLimit-Policy") != `"default";q=3;w=86400` || w.Header().Get("RateLimit") != `"default";r=2;t=28800` {
		t.Errorf("%v, want the fields of the key's own limit", w.Header())
	}
}

func TestTwoLimitersMakeOneList(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		outer, inner := newLimiter(t, PerMinute(3), byKey("outer")), newLimiter(t, PerDay(1), byKey("inner"))
		h := uprung.Chain(outer.Middleware, inner.Middleware)(accept)
		for i, want := range []struct {
			code             int
			retry            string
			outer, inner     int64
			outerT, innerT   int64
			violated, policy []string
		}{
			{code: 200, outer: 2, inner: 0, outerT: 20, innerT: 86400, policy: []string{"outer", "inner"}},
			{code: 429, retry: "86400", outer: 1, inner: 0, outerT: 40, innerT: 86400, violated: []string{"inner"}, policy: []string{"outer", "inner"}},
			{code: 429, retry: "86400", outer: 0, inner: 0, outerT: 60, innerT: 86400, violated: []string{"inner"}, policy: []string{"outer", "inner"}},
			{code: 429, retry: "20", outer: 0, outerT: 20, violated: []string{"outer"}, policy: []string{"outer"}},
		} {
			w := send(h, request("k"))
			if w.Code != want.code || w.Header().Get("Retry-After") != want.retry {
				t.Errorf("request %d: %d %v, want %+v", i, w.Code, w.Header(), want)
			}
			_, statuses := checkFields(t, w.Header().Values("RateLimit-Policy"), w.Header().Values("RateLimit"), want.policy...)
			if got := []int64{statuses[0].integer(t, "r"), statuses[0].integer(t, "t")}; !slices.Equal(got, []int64{want.outer, want.outerT}) {
				t.Errorf("request %d: outer is %v, want %d and %d", i, got, want.outer, want.outerT)
			}
			if len(statuses) > 1 {
				if got := []int64{statuses[1].integer(t, "r"), statuses[1].integer(t, "t")}; !slices.Equal(got, []int64{want.inner, want.innerT}) {
					t.Errorf("request %d: inner is %v, want %d and %d", i, got, want.inner, want.innerT)
				}
			}
			if w.Code == 429 {
				if p := readProblem(t, w); !slices.Equal(p.Violated, want.violated) {
					t.Errorf("request %d: %v violated, want %v", i, p.Violated, want.violated)
				}
			}
		}
	})
}

// What a handler does to the header of its response stays there.
func TestFieldsOfOneResponseAreItsOwn(t *testing.T) {
	t.Parallel()
	spoil := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Add("RateLimit-Policy", `"mine";q=1`)
		w.Header().Add("RateLimit", `"mine";r=1`)
		w.WriteHeader(http.StatusOK)
	})
	h := newLimiter(t, PerDay(100), byKey("")).Middleware(spoil)
	for range 3 {
		w := send(h, request("k"))
		if got := w.Header().Values("RateLimit-Policy"); !slices.Equal(got, []string{`"default";q=100;w=86400`, `"mine";q=1`}) {
			t.Errorf("RateLimit-Policy is %q", got)
		}
	}
}

func TestLayerOfHandler(t *testing.T) {
	t.Parallel()
	o := byKey("mine")
	o.Capacity = 0
	l := newLimiter(t, PerSecond(5).WithBurst(9), o)
	h := l.Middleware(accept)
	if wrapper, ok := h.(interface{ Unwrap() http.Handler }); !ok || wrapper.Unwrap() == nil {
		t.Error("the handler does not unwrap")
	}
	read := func() map[string]uprung.Setting {
		layers := uprung.Layers(h)
		if len(layers) != 1 || layers[0].Kind != uprung.KindRateLimit || layers[0].Name != "mine" {
			t.Fatalf("the layers are %+v", layers)
		}
		settings := map[string]uprung.Setting{}
		for _, s := range layers[0].Settings {
			settings[s.Name] = s
		}
		return settings
	}
	for name, want := range map[string]uprung.Setting{
		"Limit":    {Name: "Limit", Value: "5 per 1s, burst 9"},
		"Mode":     {Name: "Mode", Value: "enforce", Default: true},
		"Capacity": {Name: "Capacity", Value: "65536", Default: true},
		"Key":      {Name: "Key", Value: "a function"},
		"Skip":     {Name: "Skip", Value: "none", Default: true},
	} {
		if got := read()[name]; got != want {
			t.Errorf("%s is %+v, want %+v", name, got, want)
		}
	}
	set(t, l, PerDay(1))
	if err := l.SetMode(uprung.Shadow); err != nil {
		t.Fatal(err)
	}
	if got := read(); got["Limit"].Value != "1 per 24h0m0s, burst 1" || got["Mode"].Value != "shadow" || got["Mode"].Default {
		t.Errorf("the settings are not those of now: %+v", got)
	}
}

// A request that was let through in the shadow has taken nothing, and so there
// is nothing to give back when its response does not count.
func TestOnlyWhatWasTakenIsGivenBack(t *testing.T) {
	t.Parallel()
	o := byKey("")
	o.Mode = uprung.Shadow
	o.Count = Failures
	l := newLimiter(t, PerDay(2), o)
	code := http.StatusUnauthorized
	h := l.Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(code) }))
	for i, tt := range []struct {
		code int
		want int64
	}{{401, 1}, {200, 1}, {401, 0}, {200, 0}, {200, 0}, {401, 0}} {
		code = tt.code
		send(h, request("k"))
		if got := remaining(t, l, "k"); got != tt.want {
			t.Errorf("%d remain after response %d, want %d", got, i, tt.want)
		}
	}
}

// discard is a response of which only the header is kept.
type discard struct{ header http.Header }

func (d *discard) Header() http.Header         { return d.header }
func (d *discard) Write(p []byte) (int, error) { return len(p), nil }
func (d *discard) WriteHeader(int)             {}

func TestMiddlewareAllocations(t *testing.T) {
	quiet := http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})
	for _, tt := range []struct {
		headers Headers
		want    float64
	}{{HeadersNone, 0}, {HeadersIETF, 2}} {
		o := byKey("policy")
		o.Headers = tt.headers
		h := newLimiter(t, PerSecond(1e6), o).Middleware(quiet)
		w, r := &discard{make(http.Header)}, request("k")
		h.ServeHTTP(w, r)
		if got := testing.AllocsPerRun(500, func() {
			clear(w.header)
			h.ServeHTTP(w, r)
		}); got > tt.want {
			t.Errorf("%v: %v allocations, want at most %v", tt.headers, got, tt.want)
		}
	}
}
