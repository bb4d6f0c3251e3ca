package httpx_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/uprung/uprung/internal/httpx"
)

// A guard that refuses every second request and watches how the others end.
type guard struct {
	next    http.Handler
	refusal *httpx.Problem
	seen    int
}

func (g *guard) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	g.seen++
	if g.seen%2 == 0 {
		g.refusal.Write(w, r, 1500*time.Millisecond)
		return
	}
	httpx.Serve(g.next, w, r,
		func(status int) { w.Header().Set("X-Status", fmt.Sprint(status)) },
		func(resp httpx.Response) { fmt.Println("ended with", resp.Status, "after", resp.Bytes, "bytes") })
}

func Example() {
	refusal, err := httpx.NewProblem(http.StatusServiceUnavailable, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	handler := &guard{next: http.NotFoundHandler(), refusal: refusal}
	for range 2 {
		rec := httptest.NewRecorder()
		handler.ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/", nil))
		header := rec.Result().Header
		fmt.Printf("%d %q %q %s", rec.Code, header["X-Status"], header["Retry-After"], rec.Body)
	}

	// Output:
	// ended with 404 after 19 bytes
	// 404 ["404"] [] 404 page not found
	// 503 [] ["2"] {"title":"Service Unavailable","status":503}
}
