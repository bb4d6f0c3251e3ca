package key_test

import (
	"context"
	"net/http"
	"strings"
	"testing"

	"github.com/uprung/uprung/key"
)

// constant is a Func of somebody else's, which may break its promise.
func constant(value string, ok bool) key.Func {
	return func(*http.Request) (string, bool) { return value, ok }
}

func TestJoin(t *testing.T) {
	t.Parallel()
	a, empty, none := constant("a", true), constant("", true), constant("x", false)
	long := constant(strings.Repeat("l", key.MaxLength), true)
	r := arriving("203.0.113.7:1")
	for _, tt := range []struct {
		funcs []key.Func
		want  string
	}{
		{[]key.Func{a}, "1:a"},
		{[]key.Func{a, constant("bc", true)}, "1:a2:bc"},
		{[]key.Func{constant("ab", true), constant("c", true)}, "2:ab1:c"},
		{[]key.Func{a, key.Join(a, a)}, "1:a6:1:a1:a"},
		{[]key.Func{key.Join(a, a), a}, "6:1:a1:a1:a"},
		{[]key.Func{a, none}, ""},
		{[]key.Func{none, a}, ""},
		{[]key.Func{a, empty}, ""},
	} {
		expect(t, key.Join(tt.funcs...), r, tt.want)
	}
	got, ok := key.Join(long, long)(r)
	if !ok || !strings.HasPrefix(got, "sha256:") {
		t.Errorf("two long parts give %q, %v", got, ok)
	}
	panics(t, "key: Join has no arguments", func() { key.Join() })
	panics(t, "key: Join argument 1 is nil", func() { key.Join(a, nil) })
}

func TestFirst(t *testing.T) {
	t.Parallel()
	user, address := key.Header("User"), key.Direct(nil)
	f := key.First(user, address)
	expect(t, f, arriving("203.0.113.7:1", "User: alice"), "0:alice")
	expect(t, f, arriving("203.0.113.7:1"), "1:203.0.113.7")
	expect(t, f, arriving("203.0.113.7:1", "User: "), "1:203.0.113.7")
	expect(t, f, arriving("@"), "")
	expect(t, key.First(constant("", true), user), arriving("@", "User: alice"), "1:alice")
	// Nobody uses up the budget of an address by calling themselves like it.
	expect(t, f, arriving("192.0.2.1:1", "User: 203.0.113.7"), "0:203.0.113.7")
	got, ok := f(arriving("@", "User: "+strings.Repeat("u", key.MaxLength)))
	if !ok || len(got) > key.MaxLength {
		t.Errorf("a long key becomes one of %d bytes, %v", len(got), ok)
	}
	panics(t, "key: First has no arguments", func() { key.First() })
	panics(t, "key: First argument 0 is nil", func() { key.First(nil, user) })
}

func TestArgumentsAreCopied(t *testing.T) {
	t.Parallel()
	funcs := []key.Func{constant("a", true)}
	join, first := key.Join(funcs...), key.First(funcs...)
	funcs[0] = constant("b", true)
	expect(t, join, arriving("@"), "1:a")
	expect(t, first, arriving("@"), "0:a")
}

func TestJoinAllocations(t *testing.T) {
	f := key.Join(key.Header("Tenant"), key.Header("User"))
	r := arriving("203.0.113.7:1", "Tenant: acme", "User: alice")
	if got := testing.AllocsPerRun(100, func() { f(r) }); got > 1 {
		t.Errorf("%v allocations, want at most 1", got)
	}
}

// FuzzJoin checks that two pairs have one key only if they are one pair, also
// when they are too long to be written out.
func FuzzJoin(f *testing.F) {
	f.Add("a", "bc", "ab", "c", uint16(0))
	f.Add("1:a", "x", "", "1:a1:x", uint16(0))
	f.Add("sha256:", "a", "sha256:a", "", uint16(300))
	type pair struct{ a, b string }
	type parts struct{}
	part := func(pick func(pair) string) key.Func {
		return func(r *http.Request) (string, bool) {
			part := pick(r.Context().Value(parts{}).(pair))
			return part, part != ""
		}
	}
	join := key.Join(part(func(p pair) string { return p.a }), part(func(p pair) string { return p.b }))
	of := func(ctx context.Context, p pair) (string, bool) {
		return join(arriving("@").WithContext(context.WithValue(ctx, parts{}, p)))
	}
	f.Fuzz(func(t *testing.T, a, b, c, d string, padding uint16) {
		pad := strings.Repeat("p", int(padding%1024))
		one, two := pair{a + pad, b}, pair{c + pad, d}
		key1, ok1 := of(t.Context(), one)
		key2, ok2 := of(t.Context(), two)
		if ok1 != (one.a != "" && one.b != "") || ok1 != (key1 != "") || len(key1) > key.MaxLength {
			t.Errorf("%q has key %q, %v", one, key1, ok1)
		}
		if ok1 && ok2 && (key1 == key2) != (one == two) {
			t.Errorf("%q has key %q, %q has %q", one, key1, two, key2)
		}
	})
}
