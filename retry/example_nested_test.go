package retry_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"

	"github.com/uprung/uprung"
	"github.com/uprung/uprung/retry"
)

// failing is a backend that fails, and counts how often.
type failing struct{ calls int }

func (f *failing) RoundTrip(*http.Request) (*http.Response, error) {
	f.calls++
	return &http.Response{StatusCode: http.StatusBadGateway, Header: http.Header{}, Body: http.NoBody}, nil
}

// A service that makes requests of its own. For a first attempt it tries all that it may,
// and says so; for a second one, of whoever called it, it tries once.
func ExampleMiddleware() {
	backend := &failing{}
	retrier := uprung.Must(retry.New(&retry.Options{Backoff: 1}))
	client := &http.Client{Transport: retrier.Transport(backend)}
	service := retry.Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		below, err := http.NewRequestWithContext(r.Context(), http.MethodGet, "http://stock/", nil)
		if err != nil {
			panic(err)
		}
		resp, err := client.Do(below)
		if err != nil {
			panic(err)
		}
		defer resp.Body.Close()
		w.WriteHeader(resp.StatusCode)
	}))
	for _, attempt := range []string{"", "2"} {
		backend.calls = 0
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		if attempt != "" {
			r.Header.Set(retry.AttemptHeader, attempt)
		}
		w := httptest.NewRecorder()
		service.ServeHTTP(w, r)
		fmt.Printf("attempt %q: %d after %d calls, marked %q\n", attempt, w.Code, backend.calls, w.Header().Get(retry.AttemptHeader))
	}
	// Output:
	// attempt "": 502 after 3 calls, marked "last"
	// attempt "2": 502 after 1 calls, marked ""
}
