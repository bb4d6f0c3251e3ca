package key_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/uprung/uprung/key"
)

func TestHeader(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		lines []string
		want  string
	}{
		{nil, ""},
		{[]string{"Api-Key: alice"}, "alice"},
		{[]string{"Api-Key:   alice \t"}, "alice"},
		{[]string{"Api-Key: "}, ""},
		{[]string{"Api-Key:  \t "}, ""},
		{[]string{"Api-Key: alice", "Api-Key: bob"}, ""},
		{[]string{"Api-Key: alice", "Api-Key: alice"}, ""},
		{[]string{"Api-Key: alice", "Api-Key: "}, ""},
		{[]string{"Other: alice"}, ""},
	} {
		for _, name := range []string{"Api-Key", "api-key", "API-KEY"} {
			expect(t, key.Header(name), arriving("203.0.113.7:1", tt.lines...), tt.want)
		}
	}
	r := httptest.NewRequest(http.MethodGet, "http://tenant.example/", nil)
	expect(t, key.Header("host"), r, "tenant.example")
	for _, name := range []string{"", "Api Key", "Api-Key:", "Schlüssel", "a\x00"} {
		panics(t, "key: Header name is ", func() { key.Header(name) })
	}
}

func TestCookie(t *testing.T) {
	t.Parallel()
	f := key.Cookie("session")
	for _, tt := range []struct {
		lines []string
		want  string
	}{
		{nil, ""},
		{[]string{"Cookie: a=1; session=s1; b=2"}, "s1"},
		{[]string{`Cookie: session="s1"`}, "s1"},
		{[]string{"Cookie: session="}, ""},
		{[]string{"Cookie: Session=s1"}, ""},
		{[]string{"Cookie: session=s1; session=s2"}, ""},
		{[]string{"Cookie: session=s1", "Cookie: session=s2"}, ""},
	} {
		expect(t, f, arriving("203.0.113.7:1", tt.lines...), tt.want)
	}
	panics(t, "key: Cookie name is ", func() { key.Cookie("a=b") })
}

func TestPathValueAndRouteAreKnownInsideTheMux(t *testing.T) {
	t.Parallel()
	tenant, other, route := key.PathValue("tenant"), key.PathValue("other"), key.Route()
	served := 0
	mux := http.NewServeMux()
	mux.HandleFunc("GET /t/{tenant}/{rest...}", func(_ http.ResponseWriter, r *http.Request) {
		served++
		expect(t, tenant, r, "acme/1")
		expect(t, other, r, "")
		expect(t, route, r, "GET /t/{tenant}/{rest...}")
	})
	r := httptest.NewRequest(http.MethodGet, "/t/acme%2F1/x/y", nil)
	expect(t, tenant, r, "")
	expect(t, route, r, "")
	mux.ServeHTTP(httptest.NewRecorder(), r)
	if served != 1 {
		t.Errorf("served %d times, want once", served)
	}
	panics(t, "key: PathValue name is empty", func() { key.PathValue("") })
}

func TestContext(t *testing.T) {
	t.Parallel()
	type account struct{}
	f := key.Context(func(ctx context.Context) (string, bool) {
		name, ok := ctx.Value(account{}).(string)
		return name, ok
	})
	for _, name := range []string{"alice", ""} {
		r := arriving("203.0.113.7:1").WithContext(context.WithValue(t.Context(), account{}, name))
		expect(t, f, r, name)
	}
	expect(t, f, arriving("203.0.113.7:1"), "")
	panics(t, "key: Context function is nil", func() { key.Context(nil) })
}

// A long value neither escapes a limit nor meets somebody else's key, and
// nobody can spell the hash that stands for it.
func TestLongValuesAreBoundedAndDistinct(t *testing.T) {
	t.Parallel()
	f := key.Header("Api-Key")
	of := func(value string) string {
		got, ok := f(arriving("203.0.113.7:1", "Api-Key: "+value))
		if !ok || got == "" || len(got) > key.MaxLength {
			t.Fatalf("a value of %d bytes has a key of %d, %v", len(value), len(got), ok)
		}
		return got
	}
	longest := strings.Repeat("a", key.MaxLength)
	if got := of(longest); got != longest {
		t.Errorf("a value of MaxLength is %q", got)
	}
	long := longest + "b"
	values := []string{longest, long, longest + "c", "b" + longest, strings.Repeat("a", 100_000), of(long), of(of(long))}
	seen := map[string]string{}
	for _, value := range values {
		got := of(value)
		if before, twice := seen[got]; twice {
			t.Errorf("values of %d and %d bytes are one key, %q", len(before), len(value), got)
		}
		seen[got] = value
	}
	// SHA-256 of 257 letters a, by Python's hashlib.
	if got, want := of(longest+"a"), "sha256:6NlcwrS8GYxUtAvSFN-Vivtl9ec9LC6v4Fk89cY1wfA"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
