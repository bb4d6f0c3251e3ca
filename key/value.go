package key

import (
	"context"
	"fmt"
	"net/http"
	"strings"
)

// Header is the value of a header field, such as an API key or a tenant that a
// gateway sets. The name is canonicalised once; "Host" is [http.Request.Host].
//
// An empty value is no key, and neither is a field that occurs twice: whether
// the client's or the gateway's comes first depends on the gateway, and to
// choose either would let some client choose its key. The value is the client's
// word unless something in front of the consumer has checked it: a client that
// may invent values has as many keys as it wants.
//
// Header panics if the name is not a field name.
func Header(name string) Func {
	mustBeToken("Header", name)
	name = http.CanonicalHeaderKey(name)
	if name == "Host" { // net/http keeps it out of the header
		return func(r *http.Request) (string, bool) { return bounded(r.Host) }
	}
	return func(r *http.Request) (string, bool) {
		values := r.Header[name]
		if len(values) != 1 {
			return "", false
		}
		return bounded(trimSpace(values[0]))
	}
}

// Cookie is the value of a cookie. As for [Header], an empty value and a cookie
// that occurs twice are no key, and the value is the client's word until it has
// been checked.
//
// Cookie panics if the name is not a cookie name.
func Cookie(name string) Func {
	mustBeToken("Cookie", name)
	return func(r *http.Request) (string, bool) {
		cookies := r.CookiesNamed(name)
		if len(cookies) != 1 {
			return "", false
		}
		// The value is a part of the whole Cookie field, which no key should keep
		// alive.
		return bounded(strings.Clone(cookies[0].Value))
	}
}

// PathValue is the value of a wildcard in the pattern that matched the request
// ([http.Request.PathValue]). It is known only inside of the [http.ServeMux]: to
// what wraps the mux, the request has no key.
//
// PathValue panics if the name is empty.
func PathValue(name string) Func {
	if name == "" {
		panic("key: PathValue name is empty")
	}
	return func(r *http.Request) (string, bool) {
		return bounded(strings.Clone(r.PathValue(name)))
	}
}

// Route is the pattern that matched the request ([http.Request.Pattern]), such as
// "GET /users/{id}": one key for all users, and as many keys as the program has
// patterns. Like [PathValue], it is known only inside of the [http.ServeMux].
func Route() Func {
	return func(r *http.Request) (string, bool) { return bounded(r.Pattern) }
}

// Context is a value that something further out has put into the context of the
// request, such as the account that authentication found. The function says
// whether there is one; it is called for every request, concurrently.
//
// Context panics if the function is nil.
func Context(value func(context.Context) (string, bool)) Func {
	if value == nil {
		panic("key: Context function is nil")
	}
	return func(r *http.Request) (string, bool) {
		v, ok := value(r.Context())
		if !ok {
			return "", false
		}
		return bounded(v)
	}
}

func mustBeToken(constructor, name string) {
	if err := checkToken(constructor+" name", name); err != nil {
		panic(err)
	}
}

// checkToken returns an error unless s is a token, as the names of fields and
// cookies are (RFC 9110, section 5.6.2).
func checkToken(what, s string) error {
	for i := range len(s) {
		if !isTokenByte(s[i]) {
			return fmt.Errorf("key: %s is %q, want a token without %q", what, s, s[i])
		}
	}
	if s == "" {
		return fmt.Errorf("key: %s is empty, want a token", what)
	}
	return nil
}

func isTokenByte(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' ||
		strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0
}
