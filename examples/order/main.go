// Command order builds a chain of middlewares in an order that looks harmless,
// shows what uprung.Vet has to say about it, and then the right one.
//
//	go run ./examples/order
//
// The authentication stands for one from another library: uprung.Named tells Vet
// what it is.
package main

import (
	"fmt"
	"io"
	"net/http"
	"os"

	"github.com/uprung/uprung"
	"github.com/uprung/uprung/key"
	"github.com/uprung/uprung/ratelimit"
)

func main() {
	if err := run(os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(out io.Writer) error {
	perAddress, err := ratelimit.New(ratelimit.PerMinute(20), &ratelimit.Options{Name: "per-address"})
	if err != nil {
		return err
	}
	perUser, err := ratelimit.New(ratelimit.PerSecond(10), &ratelimit.Options{
		Name:  "per-user",
		Key:   key.Context(userFrom),
		Facts: []uprung.Fact{uprung.ByPrincipal},
	})
	if err != nil {
		return err
	}
	authenticate := uprung.Named(uprung.Layer{Kind: uprung.KindAuthn, Name: "tokens"}, authenticateByToken)

	app := http.NewServeMux()
	wrong := uprung.Chain(perUser.Middleware, authenticate, perAddress.Middleware)(app)
	right := uprung.Chain(perAddress.Middleware, authenticate, perUser.Middleware)(app)

	if _, err := fmt.Fprintf(out, "The wrong chain:\n\n%v\nThe right one, explained:\n\n%s",
		uprung.Vet(wrong), uprung.Explain(right)); err != nil {
		return err
	}
	return uprung.Vet(right).Err()
}
