package retry

import (
	"context"
	"net/http"
	"strconv"
	"sync/atomic"

	"github.com/uprung/uprung"
	"github.com/uprung/uprung/internal/httpx"
)

// LastAttempt is the value of [AttemptHeader] in a failed response for which whoever
// answers has made all the attempts that there are, or had no budget for more: a [Retrier]
// does not repeat what is answered so.
const LastAttempt = "last"

// Origin is what a service knows of the attempts on behalf of which it makes requests of
// its own. [Middleware] puts one into the context of each request that comes in, and
// interceptors of package grpcretry into that of calls; [WithOrigin] is for other
// protocols.
//
// A nil Origin is that of nobody: its methods do nothing. All methods are safe for
// concurrent use.
type Origin struct {
	attempt int
	spent   atomic.Bool
}

type originKey struct{}

// WithOrigin returns a context for the service of a request that came in with these values
// of the field [AttemptHeader]. None mean that it is a first attempt. If there are some, the
// requests that are made under the context are attempts already: they are sent once, and
// marked.
func WithOrigin(ctx context.Context, attempt []string) (context.Context, *Origin) {
	o := &Origin{}
	if len(attempt) > 0 {
		o.attempt = 2
		if n, err := strconv.Atoi(attempt[0]); err == nil && n > 2 && n <= maxAttempts {
			o.attempt = n // and whatever else a client may have written goes no further
		}
	}
	return context.WithValue(ctx, originKey{}, o), o
}

// OriginOf returns what ctx carries, or nil.
func OriginOf(ctx context.Context) *Origin {
	o, _ := ctx.Value(originKey{}).(*Origin)
	return o
}

// Attempt is the number of the attempt from the second on, or 0.
func (o *Origin) Attempt() int {
	if o == nil {
		return 0
	}
	return o.attempt
}

// Spend notes that a request on behalf of the origin has failed for good.
func (o *Origin) Spend() {
	if o != nil {
		o.spent.Store(true)
	}
}

// Spent reports whether that has been noted. Then a failure of the whole is not to be
// repeated by whoever asked for it.
func (o *Origin) Spent() bool { return o != nil && o.spent.Load() }

// Middleware keeps the attempts of services that call one another from multiplying: each
// that serves requests and makes some of its own puts it around its handler. It is an
// [uprung.Middleware].
//
// A request with the header [AttemptHeader] is an attempt of somebody else's: what a
// [Retrier] sends under its context is marked likewise, and sent once. And where a Retrier
// has given up on such a request, a response of 429 or 5xx is marked with [LastAttempt], so
// that whoever is further up gives up too: requests are repeated next to where they
// fail, and nowhere else.
//
// Clients can set the header as well. All that they gain by it is that nobody tries
// again for them.
func Middleware(next http.Handler) http.Handler { return &originHandler{next} }

type originHandler struct{ next http.Handler }

// Unwrap returns the handler below.
func (h *originHandler) Unwrap() http.Handler { return h.next }

// Layer describes the middleware, which repeats nothing itself.
func (h *originHandler) Layer() uprung.Layer { return uprung.Layer{Kind: "retry-origin"} }

// ServeHTTP serves a request under its origin.
func (h *originHandler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	ctx, origin := WithOrigin(r.Context(), r.Header[AttemptHeader])
	httpx.Serve(h.next, w, r.WithContext(ctx), func(status int) {
		if (status == http.StatusTooManyRequests || status >= 500) && origin.Spent() {
			w.Header().Set(AttemptHeader, LastAttempt)
		}
	}, nil)
}
