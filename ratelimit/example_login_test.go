package ratelimit_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"

	"github.com/uprung/uprung"
	"github.com/uprung/uprung/key"
	"github.com/uprung/uprung/ratelimit"
)

// Three wrong passwords an hour for each client address, and any number of right
// ones.
func ExampleOptions_count() {
	limiter := uprung.Must(ratelimit.New(ratelimit.PerHour(3), &ratelimit.Options{
		Name:  "logins",
		Key:   key.Direct(nil),
		Count: func(status int) bool { return status == http.StatusUnauthorized },
	}))
	login := limiter.Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, password, _ := r.BasicAuth(); password != "sesame" {
			w.WriteHeader(http.StatusUnauthorized)
		}
	}))

	for _, password := range []string{"sesame", "1234", "12345", "123456", "sesame"} {
		r := httptest.NewRequest(http.MethodPost, "/login", nil)
		r.SetBasicAuth("alice", password)
		w := httptest.NewRecorder()
		login.ServeHTTP(w, r)
		fmt.Println(password, w.Code)
	}
	// Output:
	// sesame 200
	// 1234 401
	// 12345 401
	// 123456 401
	// sesame 429
}
