package httpx

import (
	"encoding/json"
	"maps"
	"math"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"
)

// mustProblem returns a problem that is known to be valid.
func mustProblem(t testing.TB, status int, opts *ProblemOptions) *Problem {
	t.Helper()
	p, err := NewProblem(status, opts)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestProblemBody(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		status int
		opts   *ProblemOptions
		want   string
	}{
		{"defaults", 503, nil, `{"title":"Service Unavailable","status":503}`},
		{"unknown status", 599, nil, `{"status":599}`},
		{"all members", 429, &ProblemOptions{
			Type:       "https://example.com/problems/quota",
			Title:      "Quota exceeded",
			Detail:     `Wait a little, "please".`,
			Extensions: map[string]any{"violated-policies": []string{"free"}, "balance": 30},
		}, `{"type":"https://example.com/problems/quota","title":"Quota exceeded","status":429,` +
			`"detail":"Wait a little, \"please\".","balance":30,"violated-policies":["free"]}`},
		{"no extensions", 400, &ProblemOptions{Extensions: map[string]any{}}, `{"title":"Bad Request","status":400}`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			body := mustProblem(t, tt.status, tt.opts).body
			if got, want := string(body), tt.want+"\n"; got != want {
				t.Errorf("body is %s, want %s", got, want)
			}
			if !json.Valid(body) {
				t.Error("body is not valid JSON")
			}
		})
	}
}

func TestNewProblemErrors(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		status int
		opts   *ProblemOptions
		want   []string // each in a line of its own
	}{
		{"success", 200, nil, []string{"httpx: status is 200, want 400 to 599"}},
		{"beyond", 600, nil, []string{"httpx: status is 600, want 400 to 599"}},
		{"type", 429, &ProblemOptions{Type: "https://exa mple.com/%"}, []string{`httpx: Type is "https://exa mple.com/%", want a URI reference`}},
		{"everything", 0, &ProblemOptions{Type: "%", Extensions: map[string]any{"status": 1, "x y": 2, "chan": make(chan int)}}, []string{
			"httpx: status is 0", "httpx: Type is", `httpx: Extensions has "status"`, `httpx: Extensions has "x y"`, "httpx: Extensions does not encode",
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p, err := NewProblem(tt.status, tt.opts)
			if err == nil || p != nil {
				t.Fatalf("NewProblem = %v, %v, want an error", p, err)
			}
			lines := strings.Split(err.Error(), "\n")
			if !slices.EqualFunc(lines, tt.want, strings.HasPrefix) {
				t.Errorf("error is\n%v\nwant lines that begin\n%s", err, strings.Join(tt.want, "\n"))
			}
		})
	}
}

func TestValidExtension(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]bool{
		"abc": true, "a_1": true, "a-c": true, "Balance": true, "zzz": true, "ZAZ": true,
		"": false, "ab": false, "1bc": false, "_bc": false, "-bc": false, "a c": false, "äbc": false, "ab{": false, "ab@": false,
		"type": false, "title": false, "status": false, "detail": false, "instance": false,
	} {
		if got := validExtension(name); got != want {
			t.Errorf("validExtension(%q) = %t, want %t", name, got, want)
		}
	}
}

func TestProblemWrite(t *testing.T) {
	t.Parallel()
	p := mustProblem(t, 429, nil)
	const body = `{"title":"Too Many Requests","status":429}` + "\n"
	plain := map[string]string{
		"Content-Type":           "application/problem+json",
		"X-Content-Type-Options": "nosniff",
		"Cache-Control":          "no-store",
		"Content-Length":         "43",
	}
	with := func(pairs ...string) map[string]string {
		m := maps.Clone(plain)
		for i := 0; i < len(pairs); i += 2 {
			m[pairs[i]] = pairs[i+1]
			if pairs[i+1] == "" {
				delete(m, pairs[i])
			}
		}
		return m
	}
	for _, tt := range []struct {
		name       string
		method     string
		before     map[string]string
		retryAfter time.Duration
		want       map[string]string
	}{
		{"plain", "GET", nil, 0, plain},
		{"never", "GET", nil, -1, plain},
		{"HEAD", "HEAD", nil, 0, plain},
		{"a nanosecond", "GET", nil, 1, with("Retry-After", "1")},
		{"a second", "GET", nil, time.Second, with("Retry-After", "1")},
		{"a bit more", "GET", nil, time.Second + 1, with("Retry-After", "2")},
		{"an hour", "POST", nil, time.Hour, with("Retry-After", "3600")},
		{"for ever", "GET", nil, math.MaxInt64, with("Retry-After", "9223372037")},
		{"headers of other content", "GET", map[string]string{
			"Content-Length": "5", "Content-Range": "bytes 0-4/9", "Etag": `"a"`, "Last-Modified": "x",
			"Retry-After": "7", "Content-Type": "text/html", "Cache-Control": "max-age=60",
		}, 0, plain},
		{"headers to keep", "GET", map[string]string{"Vary": "Origin", "Set-Cookie": "a=b", "Ratelimit": `"free";r=0;t=3`}, 0,
			with("Vary", "Origin", "Set-Cookie", "a=b", "Ratelimit", `"free";r=0;t=3`)},
		{"compressed further out", "GET", map[string]string{"Content-Encoding": "gzip", "Content-Length": "5"}, time.Second,
			with("Content-Encoding", "gzip", "Content-Length", "", "Retry-After", "1")},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			rec := httptest.NewRecorder()
			for name, value := range tt.before {
				rec.Header().Set(name, value)
			}
			p.Write(rec, httptest.NewRequest(tt.method, "/", nil), tt.retryAfter)
			if rec.Code != 429 {
				t.Errorf("status is %d, want 429", rec.Code)
			}
			got := make(map[string]string)
			for name, values := range rec.Header() {
				got[name] = strings.Join(values, "|")
			}
			if !maps.Equal(got, tt.want) {
				t.Errorf("headers are %v, want %v", got, tt.want)
			}
			wantBody := body
			if tt.method == "HEAD" {
				wantBody = ""
			}
			if rec.Body.String() != wantBody {
				t.Errorf("body is %q, want %q", rec.Body.String(), wantBody)
			}
		})
	}
}

// The header values of one response are nobody else's.
func TestProblemWriteSharesNothing(t *testing.T) {
	t.Parallel()
	p := mustProblem(t, 429, nil)
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	first := httptest.NewRecorder()
	p.Write(first, r, time.Second)
	for name, values := range first.Header() {
		values[0] = "broken"
		first.Header().Add(name, "more")
	}
	for name, values := range first.Header() {
		if !slices.Equal(values, []string{"broken", "more"}) {
			t.Errorf("%s is %v, want a value of its own and another", name, values)
		}
	}
	second := httptest.NewRecorder()
	p.Write(second, r, time.Second)
	for name, values := range second.Header() {
		if len(values) != 1 || values[0] == "broken" {
			t.Errorf("%s is %v, changed through another response", name, values)
		}
	}
}

func TestRealProblem(t *testing.T) {
	protocols(t, func(t *testing.T, http2 bool) {
		p := mustProblem(t, http.StatusServiceUnavailable, &ProblemOptions{Detail: "The circuit is open."})
		server := serve(t, http2, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			p.Write(w, r, 1500*time.Millisecond)
		}))
		for method, want := range map[string]string{
			"GET":  `{"title":"Service Unavailable","status":503,"detail":"The circuit is open."}` + "\n",
			"HEAD": "",
		} {
			client, err := fetch(t, server, method)
			if err != nil {
				t.Fatal(err)
			}
			if client.status != 503 || client.body != want {
				t.Errorf("%s: got %d and %q, want 503 and %q", method, client.status, client.body, want)
			}
			if got := client.header.Get("Retry-After"); got != "2" {
				t.Errorf("%s: Retry-After is %q, want 2", method, got)
			}
			if client.length != int64(len(p.body)) {
				t.Errorf("%s: Content-Length is %d, want %d", method, client.length, len(p.body))
			}
		}
	})
}

func TestProblemWriteAllocations(t *testing.T) {
	p := mustProblem(t, 429, nil)
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	w := &quiet{ResponseWriter: newFake()}
	for retryAfter, want := range map[time.Duration]float64{0: 1, 5 * time.Second: 1, time.Hour: 2} {
		got := testing.AllocsPerRun(100, func() { p.Write(w, r, retryAfter) })
		if got > want {
			t.Errorf("Write with Retry-After %v makes %v allocations, want at most %v", retryAfter, got, want)
		}
	}
}

func BenchmarkProblemWrite(b *testing.B) {
	p := mustProblem(b, 429, nil)
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	w := &quiet{ResponseWriter: newFake()}
	b.ReportAllocs()
	for b.Loop() {
		p.Write(w, r, 5*time.Second)
	}
}
