package uprung

import (
	"cmp"
	"net/http"
	"slices"
	"strconv"
)

// Kind is the technique of a [Layer]. Those below are known to this library;
// any other string may be used for a technique of one's own.
type Kind string

const (
	// KindRecovery turns a panic into an answer.
	KindRecovery Kind = "recovery"
	// KindObserve logs, measures or traces requests and changes nothing.
	KindObserve Kind = "observe"
	// KindAuthn finds out who asks.
	KindAuthn Kind = "authn"
	// KindAuthz decides whether who asks may.
	KindAuthz Kind = "authz"
	// KindRateLimit limits how often a key may do something.
	KindRateLimit Kind = "ratelimit"
	// KindConcurrency limits how many requests are in progress at once.
	KindConcurrency Kind = "concurrency"
	// KindCompress encodes bodies.
	KindCompress Kind = "compress"
	// KindCache answers from what was answered before.
	KindCache Kind = "cache"
	// KindDeadline bounds the whole of a request, all attempts together.
	KindDeadline Kind = "deadline"
	// KindRetry tries again.
	KindRetry Kind = "retry"
	// KindBreaker stops trying for a while.
	KindBreaker Kind = "breaker"
	// KindThrottle sends a service less while it says that it is overloaded.
	KindThrottle Kind = "throttle"
	// KindBalance chooses one of several endpoints for each request.
	KindBalance Kind = "balance"
	// KindAttemptTimeout bounds one attempt.
	KindAttemptTimeout Kind = "attempt-timeout"
	// KindChaos injects faults.
	KindChaos Kind = "chaos"
)

// Fact is something that a [Layer] declares about itself and that matters to
// [Vet]. What is not declared is not known, and no rule is applied to it.
type Fact string

const (
	// ByClientAddress says that the key is an address of the network.
	ByClientAddress Fact = "by-client-address"
	// ByPrincipal says that the key is, or contains, who was authenticated.
	ByPrincipal Fact = "by-principal"
	// SharedByAll says that one client may be answered with what was made for
	// another.
	SharedByAll Fact = "shared-by-all"
	// VariesOnEncoding says that the layer keeps encodings of a response apart.
	VariesOnEncoding Fact = "varies-on-encoding"
)

// Layer describes one wrapper of a chain: what it is, what it is called, and
// with which settings it runs.
type Layer struct {
	// Kind is the technique.
	Kind Kind
	// Name is the name that the programmer gave, to tell two layers of one kind
	// apart.
	Name string
	// Facts are what rules about the order of layers need to know.
	Facts []Fact
	// Settings are the effective settings, in the order in which the package
	// documents them. They never hold a secret.
	Settings []Setting
	// Ends says what lies below a layer at which a chain ends by design, such as "one
	// handler for each node". Empty means that the chain goes on, as far as is known.
	Ends string
}

// String returns the kind and, quoted, the name.
func (l Layer) String() string {
	kind := cmp.Or(string(l.Kind), "unknown kind")
	if l.Name == "" {
		return kind
	}
	return kind + " " + strconv.Quote(l.Name)
}

// Has reports whether the layer declares a fact.
func (l Layer) Has(fact Fact) bool { return slices.Contains(l.Facts, fact) }

// Setting is one effective setting of a [Layer].
type Setting struct {
	// Name is the field of the package's Options.
	Name string
	// Value is the setting as a person reads it.
	Value string
	// Default is true if the value is the documented default.
	Default bool
}

// Describer is implemented by handlers and round trippers that say what they
// are. Those that wrap another also have an Unwrap method that returns the
// wrapped [http.Handler] or [http.RoundTripper]. A handler that sends requests on, such
// as a reverse proxy, has an UnwrapTransport method instead, that returns the
// [http.RoundTripper] which it sends them through.
type Describer interface {
	Layer() Layer
}

// Middleware is what wraps a handler in another. It is an alias: any function
// of this shape is one, and methods such as (*ratelimit.Limiter).Middleware are
// given by name.
type Middleware = func(http.Handler) http.Handler

// Chain makes one middleware of several. The first is the outermost: a request
// meets them in the order in which they are written. An empty chain is the
// identity. Chain panics if one of them is nil.
func Chain(middlewares ...Middleware) Middleware {
	middlewares = slices.Clone(middlewares)
	for i, middleware := range middlewares {
		if middleware == nil {
			panic("uprung: Chain: middleware " + strconv.Itoa(i) + " is nil")
		}
	}
	return func(next http.Handler) http.Handler {
		for i := len(middlewares) - 1; i >= 0; i-- {
			next = middlewares[i](next)
		}
		return next
	}
}

// Named gives a description to a middleware that has none, such as one from
// another library, so that [Layers] can see it and look beyond it.
func Named(layer Layer, middleware Middleware) Middleware {
	return func(next http.Handler) http.Handler {
		return &named{Handler: middleware(next), layer: layer, next: next}
	}
}

type named struct {
	http.Handler
	layer Layer
	next  http.Handler
}

func (n *named) Layer() Layer         { return n.layer }
func (n *named) Unwrap() http.Handler { return n.next }

// NamedTransport is [Named] for what wraps a round tripper.
func NamedTransport(layer Layer, wrap func(http.RoundTripper) http.RoundTripper) func(http.RoundTripper) http.RoundTripper {
	return func(base http.RoundTripper) http.RoundTripper {
		return &namedTransport{RoundTripper: wrap(base), layer: layer, base: base}
	}
}

type namedTransport struct {
	http.RoundTripper
	layer Layer
	base  http.RoundTripper
}

func (n *namedTransport) Layer() Layer              { return n.layer }
func (n *namedTransport) Unwrap() http.RoundTripper { return n.base }

// CloseIdleConnections does so at the round tripper that is named, for
// [http.Client.CloseIdleConnections].
func (n *namedTransport) CloseIdleConnections() {
	if rt, ok := n.RoundTripper.(interface{ CloseIdleConnections() }); ok {
		rt.CloseIdleConnections()
	}
}

// Layers returns the descriptions of a chain from its outermost handler
// inwards, and on through the round trippers of a handler that has some. It ends at
// the first that neither describes itself nor unwraps: a multiplexer, a foreign
// middleware without [Named], or the application.
func Layers(handler http.Handler) []Layer {
	handlers, transports, _ := walkHandler(handler)
	return slices.Concat(handlers, transports)
}

// TransportLayers is [Layers] for a chain of round trippers.
func TransportLayers(transport http.RoundTripper) []Layer {
	layers, _ := walk(transport)
	return layers
}

// walkHandler is walk for a chain of handlers and, where one sends requests on, the
// chain of round trippers that begins there.
func walkHandler(handler http.Handler) (handlers, transports []Layer, last any) {
	handlers, innermost := walk(handler)
	proxy, ok := innermost.(interface{ UnwrapTransport() http.RoundTripper })
	if !ok {
		return handlers, nil, innermost
	}
	transports, base := walk(proxy.UnwrapTransport())
	return handlers, transports, base
}

// walk collects the layers of a chain of handlers or of round trippers, and
// returns what it ends at.
func walk[T any](outermost T) (layers []Layer, last T) {
	for last = outermost; ; {
		if d, ok := any(last).(Describer); ok {
			layers = append(layers, d.Layer())
		}
		wrapper, ok := any(last).(interface{ Unwrap() T })
		if !ok {
			return layers, last
		}
		last = wrapper.Unwrap()
	}
}
