package uprung_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/uprung/uprung"
	"github.com/uprung/uprung/deadline"
	"github.com/uprung/uprung/key"
	"github.com/uprung/uprung/ratelimit"
	"github.com/uprung/uprung/retry"
)

func Example() {
	// A middleware of another library, made visible.
	recovery := uprung.Named(uprung.Layer{Kind: uprung.KindRecovery, Name: "mine"}, func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			defer func() {
				if recover() != nil {
					w.WriteHeader(http.StatusInternalServerError)
				}
			}()
			next.ServeHTTP(w, r)
		})
	})
	limiter := uprung.Must(ratelimit.New(ratelimit.PerSecond(100), &ratelimit.Options{Key: key.Direct(nil)}))

	app := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "hello") })
	handler := uprung.Chain(recovery, limiter.Middleware)(app)

	w := httptest.NewRecorder()
	handler.ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
	fmt.Println(w.Code, w.Body)
	for _, layer := range uprung.Layers(handler) {
		fmt.Println(layer.Kind, layer.Name)
	}
	// Output:
	// 200 hello
	// recovery mine
	// ratelimit default
}

// A chain that is built back to front, and one of which nothing can be seen.
func ExampleVet() {
	attempts := uprung.Must(retry.New(nil))
	whole := uprung.Must(deadline.New(time.Second, nil))
	report := uprung.VetTransport(attempts.Transport(whole.Transport(nil)))
	for _, finding := range report.Findings {
		fmt.Println(finding.Rule)
	}

	report = uprung.Vet(http.NewServeMux()) // a multiplexer does not say what it holds
	fmt.Println(len(report.Layers), report.Err(), report.Below)
	// Output:
	// deadline-outside-retry
	// reversed-chain
	// 0 <nil> *http.ServeMux
}

func ExamplePercent() {
	mode := uprung.Percent(10) // of the keys, always the same ones
	fmt.Println(mode, mode.Enforces("alice"), mode.Enforces("bob"))
	// Output: 10% false false
}

func ExampleMode_UnmarshalText() {
	var mode uprung.Mode
	fmt.Println(mode.UnmarshalText([]byte("shadow")), mode)
	fmt.Println(mode.UnmarshalText([]byte("maybe")))
	// Output:
	// <nil> shadow
	// uprung: mode is "maybe", want enforce, shadow, off or a percentage from 0% to 100%
}
