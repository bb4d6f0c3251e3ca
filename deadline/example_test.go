package deadline_test

import (
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/uprung/uprung/deadline"
)

// A client gives a call a quarter of a second, and says so. The server has five
// seconds for each request, and gives this one no more than its caller waits for.
func Example() {
	incoming, err := deadline.New(5*time.Second, &deadline.Options{
		Trust: func(*http.Request) bool { return true }, // nobody else reaches this server
	})
	if err != nil {
		log.Fatal(err)
	}
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		left, _ := deadline.Remaining(r.Context())
		fmt.Println("a quarter of a second or less:", left <= 250*time.Millisecond)
		select {
		case <-time.After(10 * time.Second): // a slow dependency
			fmt.Fprint(w, "hello")
		case <-r.Context().Done():
		}
	})
	server := httptest.NewServer(incoming.Middleware(handler))
	defer server.Close()

	outgoing, err := deadline.New(250*time.Millisecond, &deadline.Options{
		Margin: 150 * time.Millisecond, // long enough for this example on any machine
	})
	if err != nil {
		log.Fatal(err)
	}
	client := &http.Client{Transport: outgoing.Transport(nil)}
	resp, err := client.Get(server.URL)
	if err != nil {
		log.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%d %s", resp.StatusCode, body)
	// Output:
	// a quarter of a second or less: true
	// 504 {"title":"Gateway Timeout","status":504,"detail":"The answer was not ready in time."}
}
