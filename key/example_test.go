package key_test

import (
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"

	"github.com/uprung/uprung/key"
)

func Example() {
	// Two proxies of ours, 10.0.0.1 and 10.0.0.2, append to X-Forwarded-For.
	client, err := key.Proxied([]string{"10.0.0.0/24"}, nil)
	if err != nil {
		log.Fatal(err)
	}

	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.RemoteAddr = "10.0.0.2:40000"
	r.Header.Set("X-Forwarded-For", "1.1.1.1, 203.0.113.7, 10.0.0.1") // the client wrote 1.1.1.1
	fmt.Println(client(r))
	// Output: 203.0.113.7 true
}
