package breaker_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/uprung/uprung"
	"github.com/uprung/uprung/breaker"
	"github.com/uprung/uprung/middlewaretest"
)

// patient is a breaker that the dozens of 5xx of the kit do not open.
func patient(mode uprung.Mode) *breaker.Options {
	return &breaker.Options{MinRequests: 10_000, SlowCall: time.Minute, Mode: mode}
}

func TestFacesKeepThePromisesOfHTTP(t *testing.T) {
	t.Parallel()
	open := uprung.Must(breaker.New(nil))
	open.Force(breaker.ForceOpen)
	one := func(*http.Request) (string, bool) { return "one", true }
	refusing := uprung.Must(breaker.NewGroup(&breaker.GroupOptions[string]{KeyOf: one}))
	refusing.Breaker("one").Force(breaker.ForceOpen)
	group := uprung.Must(breaker.NewGroup(&breaker.GroupOptions[string]{Breaker: *patient(uprung.Enforce), KeyOf: one}))
	shadow := uprung.Must(breaker.New(patient(uprung.Shadow)))
	shadow.Force(breaker.ForceOpen)
	throttle := uprung.Must(breaker.NewThrottle(nil))
	single := uprung.Must(breaker.New(patient(uprung.Enforce)))

	t.Run("Middleware", func(t *testing.T) {
		t.Parallel()
		middlewaretest.Run(t, single.Middleware, &middlewaretest.Options{Refusing: open.Middleware})
	})
	t.Run("Group.Middleware", func(t *testing.T) {
		t.Parallel()
		middlewaretest.Run(t, group.Middleware, &middlewaretest.Options{Refusing: refusing.Middleware})
	})
	t.Run("Middleware in shadow", func(t *testing.T) {
		t.Parallel()
		middlewaretest.Run(t, shadow.Middleware, nil)
	})
	t.Run("Transport", func(t *testing.T) {
		t.Parallel()
		middlewaretest.RunTransport(t, single.Transport, &middlewaretest.TransportOptions{Refusing: open.Transport})
	})
	t.Run("Group.Transport", func(t *testing.T) {
		t.Parallel()
		middlewaretest.RunTransport(t, group.Transport, &middlewaretest.TransportOptions{Refusing: refusing.Transport})
	})
	t.Run("Throttle.Transport", func(t *testing.T) {
		t.Parallel()
		middlewaretest.RunTransport(t, throttle.Transport, nil)
	})
}
