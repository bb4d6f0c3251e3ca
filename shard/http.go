package shard

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/uprung/uprung"
	"github.com/uprung/uprung/internal/httpx"
	"github.com/uprung/uprung/internal/option"
	"github.com/uprung/uprung/key"
)

// layerKind is the technique of this package, in layers and refusals.
const layerKind uprung.Kind = "shard"

// ErrMissingKey is the error with which a [Handler] refuses a request that has no
// key, under [key.MissingRefused].
var ErrMissingKey = errors.New("shard: request has no key")

// HandlerOptions are the settings of a [Handler]. The zero value of each field is
// its default.
type HandlerOptions struct {
	// Name is the name of the handler in metrics, layers and refusals: 1 to 64
	// printable ASCII characters. Handlers over one map need names of their own, or
	// their series would be the same. Zero means the name of the map.
	Name string

	// MissingKey says what is done with a request that has no key. Zero means
	// [key.MissingRefused]: it is answered 400. Under [key.MissingAdmitted] it goes to
	// Fallback, and under [key.MissingShared] to the node of the empty key, with all
	// others that have none.
	MissingKey key.Missing

	// Spread routes by [Map.Spread]: requests of hot keys go to several nodes. It needs
	// a map with MapOptions.Hot. Zero means that every request goes to the node of its
	// key.
	Spread bool

	// RetryAfter is what a client is told to wait when there is no node, sent in
	// whole seconds. Zero means 1s.
	RetryAfter time.Duration

	// Skip exempts requests from routing: those for which it returns true go to
	// Fallback. Nil exempts none.
	Skip func(*http.Request) bool

	// Fallback answers requests that are not routed. It is needed with Skip and with
	// [key.MissingAdmitted], and without them an error, since nothing would reach it.
	Fallback http.Handler

	// Refused answers a request that is not served: err is a [*uprung.Rejection] for
	// [ErrNoNodes], or [ErrMissingKey]. The status is for it to write. Nil means
	// [Handler.Refuse], which it can also call for what it leaves as it is.
	Refused func(w http.ResponseWriter, r *http.Request, err error)
}

// A Handler routes each request to the upstream handler of its key, and touches
// neither the request nor the response: a panic, a hijacked connection, a stream
// are the upstream's. Requests in progress end where they began when the map
// changes.
//
// It is safe for concurrent use. Use [NewHandler].
type Handler struct {
	name      string
	upstreams *Map[http.Handler]
	key       key.Func
	o         HandlerOptions
	rejection *uprung.Rejection
	settings  []uprung.Setting

	noNodes, keyless, broken *httpx.Problem

	routed, fallback, refusedNoNodes, refusedKeyless atomic.Uint64
}

// NewHandler returns a handler that sends each request to the one of upstreams to
// which its key belongs. An upstream that is nil counts as no node. Nil options are
// the defaults. The error names every argument and field that is not valid.
func NewHandler(upstreams *Map[http.Handler], by key.Func, o *HandlerOptions) (*Handler, error) {
	if o == nil {
		o = &HandlerOptions{}
	}
	var errs []error
	if upstreams == nil {
		errs = append(errs, errors.New("shard: upstreams is nil, want a Map"))
	}
	name, nameErr := checkName("HandlerOptions.Name", o.Name)
	errs = append(errs, nameErr)
	if o.Name == "" && upstreams != nil {
		name = upstreams.name
	}
	if o.Spread && upstreams != nil && upstreams.hot == nil {
		errs = append(errs, errors.New("shard: HandlerOptions.Spread is true, want upstreams with MapOptions.Hot: without it nothing is spread"))
	}
	if by == nil {
		errs = append(errs, errors.New("shard: by is nil, want the Func that finds the key of a request"))
	}
	if err := o.MissingKey.Validate(); err != nil {
		errs = append(errs, fmt.Errorf("shard: HandlerOptions.MissingKey: %w", err))
	}
	if o.RetryAfter < 0 {
		errs = append(errs, fmt.Errorf("shard: HandlerOptions.RetryAfter is %v, want >= 0", o.RetryAfter))
	}
	if needed := o.Skip != nil || o.MissingKey == key.MissingAdmitted; needed != (o.Fallback != nil) {
		if needed {
			errs = append(errs, errors.New("shard: HandlerOptions.Fallback is nil, want a handler for what Skip or MissingAdmitted does not route"))
		} else {
			errs = append(errs, errors.New("shard: HandlerOptions.Fallback is set, want also Skip or MissingAdmitted"))
		}
	}
	h := &Handler{name: name, upstreams: upstreams, key: by, o: *o}
	h.o.RetryAfter = cmp.Or(o.RetryAfter, time.Second)
	errs = append(errs, h.prepareProblems())
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	h.rejection = &uprung.Rejection{Kind: layerKind, Name: name, Reason: ErrNoNodes, RetryAfter: h.o.RetryAfter}
	h.settings = []uprung.Setting{
		{Name: "MissingKey", Value: o.MissingKey.String(), Default: o.MissingKey == key.MissingRefused},
		{Name: "Spread", Value: strconv.FormatBool(o.Spread), Default: !o.Spread},
		{Name: "RetryAfter", Value: h.o.RetryAfter.String(), Default: o.RetryAfter == 0},
		{Name: "Skip", Value: option.Function(o.Skip != nil, "none"), Default: o.Skip == nil},
		{Name: "Fallback", Value: option.Function(o.Fallback != nil, "none"), Default: o.Fallback == nil},
		{Name: "Refused", Value: option.Function(o.Refused != nil, "problem document"), Default: o.Refused == nil},
	}
	return h, nil
}

// prepareProblems encodes the answers to refused requests.
func (h *Handler) prepareProblems() error {
	var errs [3]error
	h.noNodes, errs[0] = httpx.NewProblem(http.StatusServiceUnavailable, &httpx.ProblemOptions{
		Detail: "There is no server for this request at the moment.",
	})
	h.keyless, errs[1] = httpx.NewProblem(http.StatusBadRequest, &httpx.ProblemOptions{
		Detail: "The request lacks what says where it belongs.",
	})
	h.broken, errs[2] = httpx.NewProblem(http.StatusInternalServerError, nil)
	return errors.Join(errs[:]...)
}

// ServeHTTP routes a request.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	upstream, err := h.route(r)
	if err == nil {
		upstream.ServeHTTP(w, r)
		return
	}
	if h.o.Refused != nil {
		h.o.Refused(w, r, err)
		return
	}
	h.Refuse(w, r, err)
}

// route finds the handler of a request and counts.
func (h *Handler) route(r *http.Request) (http.Handler, error) {
	if h.o.Skip != nil && h.o.Skip(r) {
		h.fallback.Add(1)
		return h.o.Fallback, nil
	}
	k, ok := h.key(r)
	if !ok || k == "" {
		switch h.o.MissingKey {
		case key.MissingRefused:
			h.refusedKeyless.Add(1)
			return nil, ErrMissingKey
		case key.MissingAdmitted:
			h.fallback.Add(1)
			return h.o.Fallback, nil
		}
		k = ""
	}
	find := h.upstreams.Get
	if h.o.Spread {
		find = h.upstreams.Spread
	}
	upstream, err := find(k)
	if err != nil || upstream == nil {
		h.refusedNoNodes.Add(1)
		return nil, h.rejection
	}
	h.routed.Add(1)
	return upstream, nil
}

// Refuse answers a request with the status and the problem document (RFC 9457)
// that are the default: 503 and Retry-After for a rejection, 400 for
// [ErrMissingKey], and 500 for any other error.
func (h *Handler) Refuse(w http.ResponseWriter, r *http.Request, err error) {
	rejection, rejected := errors.AsType[*uprung.Rejection](err)
	switch {
	case rejected:
		h.noNodes.Write(w, r, max(rejection.RetryAfter, 0))
	case errors.Is(err, ErrMissingKey):
		h.keyless.Write(w, r, 0)
	default:
		h.broken.Write(w, r, 0)
	}
}

// Layer describes the handler and its effective settings. A chain that is read
// back ends here by design, since from here there are several ways on.
func (h *Handler) Layer() uprung.Layer {
	nodes := uprung.Setting{Name: "Nodes", Value: strconv.Itoa(len(h.upstreams.current.Load().entries))}
	return uprung.Layer{Kind: layerKind, Name: h.name, Settings: append([]uprung.Setting{nodes}, h.settings...), Ends: "one handler for each node"}
}
