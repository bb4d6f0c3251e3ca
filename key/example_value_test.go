package key_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"

	"github.com/uprung/uprung/key"
)

func ExampleHeader() {
	who := key.Header("api-key")
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	fmt.Println(who(r))
	r.Header.Add("Api-Key", "alice")
	fmt.Println(who(r))
	r.Header.Add("Api-Key", "bob") // which of them is it?
	fmt.Println(who(r))
	// Output:
	//  false
	// alice true
	//  false
}

func ExampleCookie() {
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.AddCookie(&http.Cookie{Name: "session", Value: "s1"})
	fmt.Println(key.Cookie("session")(r))
	// Output: s1 true
}

func ExampleContext() {
	type account struct{}
	who := key.Context(func(ctx context.Context) (string, bool) {
		name, ok := ctx.Value(account{}).(string)
		return name, ok
	})
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r = r.WithContext(context.WithValue(r.Context(), account{}, "alice"))
	fmt.Println(who(r))
	// Output: alice true
}

func ExampleJoin() {
	who := key.Join(key.PathValue("tenant"), key.Route())
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{tenant}/orders", func(_ http.ResponseWriter, r *http.Request) { fmt.Println(who(r)) })
	mux.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/acme/orders", nil))
	// Output: 4:acme20:GET /{tenant}/orders true
}

func ExamplePathValue() {
	tenant := key.PathValue("tenant")
	mux := http.NewServeMux()
	mux.HandleFunc("/{tenant}/", func(_ http.ResponseWriter, r *http.Request) { fmt.Println(tenant(r)) })
	mux.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/acme/orders", nil))
	// Output: acme true
}

func ExampleRoute() {
	route := key.Route()
	mux := http.NewServeMux()
	mux.HandleFunc("GET /users/{id}", func(_ http.ResponseWriter, r *http.Request) { fmt.Println(route(r)) })
	mux.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/users/7", nil))
	// Output: GET /users/{id} true
}

func ExampleFirst() {
	who := key.First(key.Header("Api-Key"), key.Direct(nil))
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.RemoteAddr = "203.0.113.7:40000"
	fmt.Println(who(r))
	r.Header.Set("Api-Key", "alice")
	fmt.Println(who(r))
	// Output:
	// 1:203.0.113.7 true
	// 0:alice true
}

func ExampleHashed() {
	who, err := key.Hashed([]byte("a secret of 32 bytes or more, kept"), key.Header("Api-Key"))
	if err != nil {
		panic(err)
	}
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.Header.Set("Api-Key", "alice")
	hash, _ := who(r)
	fmt.Println(len(hash))
	// Output: 22
}
