package deadline_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/uprung/uprung"
	"github.com/uprung/uprung/deadline"
	"github.com/uprung/uprung/middlewaretest"
)

// expired makes a middleware that gets every request with no time left.
func expired(d *deadline.Deadline) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		guarded := d.Middleware(next)
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			r.Header.Set(deadline.DefaultHeader, "0")
			guarded.ServeHTTP(w, r)
		})
	}
}

func TestMiddlewareKeepsThePromisesOfHTTP(t *testing.T) {
	t.Parallel()
	const limit = 2 * time.Second
	o := &deadline.Options{Trust: func(*http.Request) bool { return true }}
	d := uprung.Must(deadline.New(limit, o))
	middlewaretest.Run(t, d.Middleware, &middlewaretest.Options{Timeout: limit, Refusing: expired(d)})
}

func TestMiddlewareInShadowKeepsThePromisesOfHTTP(t *testing.T) {
	t.Parallel()
	d := uprung.Must(deadline.New(time.Nanosecond, &deadline.Options{Mode: uprung.Shadow}))
	middlewaretest.Run(t, d.Middleware, nil)
}

func TestTransportKeepsThePromisesOfHTTP(t *testing.T) {
	t.Parallel()
	passing := uprung.Must(deadline.New(time.Minute, nil))
	refusing := uprung.Must(deadline.New(time.Nanosecond, nil))
	middlewaretest.RunTransport(t, passing.Transport, &middlewaretest.TransportOptions{Refusing: refusing.Transport})
}

func TestTransportInShadowKeepsThePromisesOfHTTP(t *testing.T) {
	t.Parallel()
	d := uprung.Must(deadline.New(time.Nanosecond, &deadline.Options{Mode: uprung.Shadow}))
	middlewaretest.RunTransport(t, d.Transport, nil)
}
