package ratelimit

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/uprung/uprung"
	"github.com/uprung/uprung/key"
)

// from returns a request from a peer, with X-Forwarded-For lines.
func from(peer string, forwarded ...string) *http.Request {
	r := request("")
	r.RemoteAddr = peer
	if len(forwarded) > 0 {
		r.Header["X-Forwarded-For"] = forwarded
	}
	return r
}

// twice returns a request with a field of several lines.
func twice(name string, values ...string) *http.Request {
	r := request("")
	r.Header[name] = values
	return r
}

// spend sends n requests and returns how many passed.
func spend(h http.Handler, n int, next func(i int) *http.Request) (passed int) {
	for i := range n {
		if send(h, next(i)).Code == http.StatusOK {
			passed++
		}
	}
	return passed
}

func TestRotatingForwardedForDoesNotBypass(t *testing.T) {
	t.Parallel()
	behind, err := key.Proxied([]string{"10.0.0.0/8"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		key  key.Func
		next func(i int) *http.Request
	}{
		{"no key given", nil, func(i int) *http.Request { return from("203.0.113.7:1234", fmt.Sprintf("198.51.100.%d", i)) }},
		{"Direct", key.Direct(nil), func(i int) *http.Request {
			r := from(fmt.Sprint("203.0.113.7:", 1000+i), fmt.Sprintf("198.51.100.%d", i))
			r.Header.Set("X-Real-IP", fmt.Sprintf("198.51.100.%d", i))
			r.Header.Set("Forwarded", fmt.Sprintf("for=198.51.100.%d", i))
			r.Header.Set("True-Client-IP", fmt.Sprintf("198.51.100.%d", i))
			return r
		}},
		{"Proxied, leftmost", behind, func(i int) *http.Request {
			return from("10.0.0.1:80", fmt.Sprintf("198.51.100.%d, 203.0.113.7", i))
		}},
		{"Proxied, several lines", behind, func(i int) *http.Request {
			return from("10.0.0.1:80", fmt.Sprintf("198.51.100.%d", i), "203.0.113.7, 10.0.0.2")
		}},
		{"Proxied, garbage where the client stands", behind, func(i int) *http.Request {
			return from("10.0.0.1:80", fmt.Sprintf("198.51.100.%d, %s", i, []string{"garbage", "", `"unknown"`, "203.0.113.7.8", "[::1"}[i%5]))
		}},
		{"Proxied, not through the proxy", behind, func(i int) *http.Request {
			return from("203.0.113.7:1", fmt.Sprintf("198.51.100.%d", i))
		}},
	} {
		l := newLimiter(t, PerDay(5), &Options{Capacity: 256, Key: tt.key})
		if got := spend(l.Middleware(accept), 100, tt.next); got != 5 {
			t.Errorf("%s: %d requests passed, want 5", tt.name, got)
		}
		if got := l.Stats().Keys; got != 1 {
			t.Errorf("%s: %d keys, want 1", tt.name, got)
		}
	}
}

func TestOneCustomersAddressesAreOneKey(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		next func(i int) *http.Request
	}{
		{"ports", func(i int) *http.Request { return from(fmt.Sprint("203.0.113.7:", 1+i)) }},
		{"one /64", func(i int) *http.Request { return from(fmt.Sprintf("[2001:db8:1:2:%x::%x]:443", i, i*7)) }},
		{"spellings of one /64", func(i int) *http.Request {
			return from([]string{"[2001:db8::1]:1", "[2001:DB8:0:0::2]:1", "[2001:0db8:0000:0000:ffff:ffff:ffff:ffff]:1"}[i%3])
		}},
		{"mapped IPv4", func(i int) *http.Request {
			return from([]string{"203.0.113.7:1", "[::ffff:203.0.113.7]:1", "[::ffff:cb00:7107]:1"}[i%3])
		}},
		{"zones", func(i int) *http.Request { return from(fmt.Sprintf("[fe80::1%%eth%d]:1", i)) }},
	} {
		l := newLimiter(t, PerDay(5), nil)
		if got := spend(l.Middleware(accept), 60, tt.next); got != 5 {
			t.Errorf("%s: %d requests passed, want 5", tt.name, got)
		}
	}
	l := newLimiter(t, PerDay(1), nil)
	h := l.Middleware(accept)
	for _, peer := range []string{"203.0.113.7:1", "203.0.113.8:1", "[2001:db8:0:1::1]:1", "[2001:db8:0:2::1]:1"} {
		if w := send(h, from(peer)); w.Code != http.StatusOK {
			t.Errorf("%s shares a key with another", peer)
		}
	}
}

func TestMissingKeysAreNotShared(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name    string
		key     key.Func
		request *http.Request
	}{
		{"no field", key.Header("Api-Key"), request("")},
		{"an empty peer", nil, from("")},
		{"a Unix socket", nil, from("@")},
		{"a peer that is no address", nil, from("localhost:80")},
		{"an empty field", key.Header("Api-Key"), twice("Api-Key", "")},
		{"a field that occurs twice", key.Header("Api-Key"), twice("Api-Key", "alice", "bob")},
	} {
		l := newLimiter(t, PerDay(5), &Options{Capacity: 256, Key: tt.key})
		h := l.Middleware(accept)
		for range 3 {
			w := send(h, tt.request)
			if w.Code != http.StatusBadRequest || w.Header().Get("Retry-After") != "" || w.Header().Get("RateLimit") != "" {
				t.Errorf("%s: %d %v, want 400", tt.name, w.Code, w.Header())
			}
			readProblem(t, w)
		}
		if s := l.Stats(); s.Keyless != 3 || s.Keys != 0 || s.Granted+s.Denied != 0 {
			t.Errorf("%s: %+v, want three without a key and no decision", tt.name, s)
		}
	}
}

func TestMissingKeyPolicies(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		missing key.Missing
		mode    uprung.Mode
		codes   [4]int
		keyless uint64
	}{
		{key.MissingRefused, uprung.Enforce, [4]int{400, 400, 400, 400}, 4},
		{key.MissingRefused, uprung.Shadow, [4]int{200, 200, 200, 200}, 0},
		{key.MissingRefused, uprung.Off, [4]int{200, 200, 200, 200}, 0},
		{key.MissingAdmitted, uprung.Enforce, [4]int{200, 200, 200, 200}, 0},
		{key.MissingShared, uprung.Enforce, [4]int{200, 200, 429, 429}, 0},
		{key.MissingShared, uprung.Shadow, [4]int{200, 200, 200, 200}, 0},
	} {
		o := byKey("")
		o.MissingKey, o.Mode = tt.missing, tt.mode
		// Its own limit is for keys, and no key is not one.
		o.LimitFor = func(k string) (Limit, bool) { return PerDay(9), k == "" }
		l := newLimiter(t, PerDay(2), o)
		h := l.Middleware(accept)
		for i, want := range tt.codes {
			if w := send(h, request("")); w.Code != want {
				t.Errorf("%v, %v: request %d: %d, want %d", tt.missing, tt.mode, i, w.Code, want)
			}
		}
		if got := l.Stats().Keyless; got != tt.keyless {
			t.Errorf("%v, %v: %d refused for want of a key, want %d", tt.missing, tt.mode, got, tt.keyless)
		}
		if w := send(h, request("k")); w.Code != http.StatusOK {
			t.Errorf("%v, %v: a request with a key: %d, want 200", tt.missing, tt.mode, w.Code)
		}
	}
}
