package uprung

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
)

// Report is what [Vet] found out about a chain.
type Report struct {
	// Layers are those that could be seen, the outermost first.
	Layers []Layer
	// Findings are the layers that stand in the wrong place.
	Findings []Finding
	// Below is the Go type of what the chain ends at, such as *http.ServeMux. What
	// lies below it is unknown.
	Below string
}

// Finding is one pair of layers in the wrong order.
type Finding struct {
	// Rule is the name of the rule, such as "retry-outside-breaker".
	Rule string
	// Outer and Inner are the two layers, as they stand.
	Outer, Inner Layer
	// Reason says what goes wrong and what to do.
	Reason string
}

// Error returns the rule, the layers and the reason.
func (f Finding) Error() string {
	return fmt.Sprintf("%s: %v is outside %v: %s", f.Rule, f.Outer, f.Inner, f.Reason)
}

// Err returns nil if nothing was found, and else all findings as one error. Nothing
// is found where nothing could be seen: a chain that begins with a multiplexer, or
// with a middleware without [Named], has no layers and so no error. A test looks at
// where knowledge ends as well, which should be the application:
//
//	report := uprung.Vet(handler)
//	if err := report.Err(); err != nil {
//		t.Error(err)
//	}
//	if report.Below != "*http.ServeMux" || len(report.Layers) == 0 {
//		t.Error(report)
//	}
func (r Report) Err() error {
	var errs []error
	for _, finding := range r.Findings {
		errs = append(errs, finding)
	}
	return errors.Join(errs...)
}

// String returns one line for each finding, and one that says where knowledge
// ends, or the chain itself.
func (r Report) String() string {
	var b strings.Builder
	for _, finding := range r.Findings {
		b.WriteString(finding.Error() + "\n")
	}
	b.WriteString(r.end() + "\n")
	return b.String()
}

func (r Report) end() string {
	if len(r.Layers) == 0 {
		return "unknown below " + r.Below
	}
	innermost := r.Layers[len(r.Layers)-1]
	if innermost.Ends != "" {
		return "ends at " + innermost.String() + ": " + innermost.Ends
	}
	return "unknown below " + innermost.String() + ": " + r.Below
}

// Vet walks a chain from its outermost handler and names what stands in the
// wrong place. It knows only what layers declare: what wraps nothing and says
// nothing, such as a multiplexer or a middleware without [Named], ends the walk.
//
// The rules, the outer layer first:
//
//	recovery-outermost            recovery and observation, then all the rest (but
//	                              attempts may be observed inside retries)
//	address-limit-outside-authn   a limit by client address, authentication
//	principal-limit-inside-authn  authentication, a limit by principal
//	compression-outside-cache     compression, a cache that does not keep encodings apart
//	shared-cache-inside-authz     authorization, a cache that all share
//	cache-outside-concurrency     a cache, a limit of requests in progress
//	cache-outside-throttle        a cache, a throttle
//	deadline-outside-retry        the deadline of the whole, retries
//	retry-outside-breaker         retries, a breaker
//	retry-outside-throttle        retries, a throttle
//	retry-outside-attempt-timeout retries, the timeout of an attempt
//	retry-outside-balance         retries, a choice of endpoints
//	one-retry                     no two retry layers
//	chaos-innermost               all the rest, fault injection
//	reversed-chain                reported too if the reverse order breaks no rule
//
// Where a handler sends requests on, its round trippers are a chain of their own: what
// is right for requests that come in says nothing about those that go out.
func Vet(handler http.Handler) Report {
	handlers, transports, last := walkHandler(handler)
	report, beyond := vet(handlers, last), vet(transports, last)
	report.Layers = slices.Concat(report.Layers, beyond.Layers)
	report.Findings = slices.Concat(report.Findings, beyond.Findings)
	return report
}

// VetTransport is [Vet] for a chain of round trippers.
func VetTransport(transport http.RoundTripper) Report {
	layers, last := walk(transport)
	return vet(layers, last)
}

func vet(layers []Layer, last any) Report {
	report := Report{Layers: layers, Findings: misplaced(layers), Below: fmt.Sprintf("%T", last)}
	if len(report.Findings) == 0 {
		return report
	}
	reverse := slices.Clone(layers)
	slices.Reverse(reverse)
	if len(misplaced(reverse)) == 0 {
		report.Findings = append(report.Findings, Finding{
			Rule: "reversed-chain", Outer: layers[0], Inner: layers[len(layers)-1],
			Reason: "in the reverse order these layers break no rule: the chain seems to be built back to front; with Chain, the first is the outermost",
		})
	}
	return report
}

// misplaced applies every rule to every pair of layers.
func misplaced(layers []Layer) []Finding {
	var findings []Finding
	for i, outer := range layers {
		for _, inner := range layers[i+1:] {
			for _, r := range rules {
				if r.broken(outer, inner) {
					findings = append(findings, Finding{Rule: r.name, Outer: outer, Inner: inner, Reason: r.reason})
				}
			}
		}
	}
	return findings
}

// rule is a statement about two layers of one chain.
type rule struct {
	name   string
	reason string
	broken func(outer, inner Layer) bool
}

// rules are the ones that Vet lists. Each names, where there is one, a report of
// the harm that its breach has done.
var rules = []rule{
	{
		name:   "recovery-outermost",
		reason: "a panic in the outer layer is not recovered, or its requests are not observed; put recovery and observation first",
		broken: func(outer, inner Layer) bool {
			eachAttempt := outer.Kind == KindRetry && inner.Kind == KindObserve
			return frames(inner) && !frames(outer) && !eachAttempt
		},
	},
	{
		// Tokens could be guessed without limit: charmbracelet/wish#325, and CWE-307.
		name:   "address-limit-outside-authn",
		reason: "requests that fail authentication are never limited, so that credentials can be guessed at any speed; limit by client address first",
		broken: func(outer, inner Layer) bool {
			return outer.Kind == KindAuthn && inner.Kind == KindRateLimit && inner.Has(ByClientAddress)
		},
	},
	{
		name:   "principal-limit-inside-authn",
		reason: "the principal is not known yet where the limit needs it; authenticate first",
		broken: func(outer, inner Layer) bool {
			return outer.Kind == KindRateLimit && outer.Has(ByPrincipal) && inner.Kind == KindAuthn
		},
	},
	{
		// RFC 9110, section 12.5.5: what is selected by Accept-Encoding varies on it.
		name:   "compression-outside-cache",
		reason: "the cache stores one encoding and may give it to clients that did not ask for it; compress outside, or let the cache vary on Accept-Encoding",
		broken: func(outer, inner Layer) bool {
			return outer.Kind == KindCache && inner.Kind == KindCompress &&
				!outer.Has(VariesOnEncoding) && !inner.Has(VariesOnEncoding)
		},
	},
	{
		// RFC 9111, section 3.5: responses to authorized requests in shared caches.
		name:   "shared-cache-inside-authz",
		reason: "what one client may see is answered to those who may not; authorize first, or put the principal into the cache's key",
		broken: func(outer, inner Layer) bool {
			return outer.Kind == KindCache && outer.Has(SharedByAll) && !outer.Has(ByPrincipal) && inner.Kind == KindAuthz
		},
	},
	{
		// The first to be refused would be those that cost nothing, when the origin is slow.
		name:   "cache-outside-concurrency",
		reason: "what the cache could answer is refused while misses take all places, and an adaptive limit learns from hits how fast misses are; put the cache outside",
		broken: func(outer, inner Layer) bool {
			return outer.Kind == KindConcurrency && inner.Kind == KindCache
		},
	},
	{
		name:   "cache-outside-throttle",
		reason: "hits count as what an overloaded service has accepted, and are refused with what it has not; put the cache outside",
		broken: func(outer, inner Layer) bool {
			return outer.Kind == KindThrottle && inner.Kind == KindCache
		},
	},
	{
		name:   "deadline-outside-retry",
		reason: "each attempt gets the deadline of the whole, and the whole has none; put the deadline outside",
		broken: func(outer, inner Layer) bool {
			return outer.Kind == KindRetry && inner.Kind == KindDeadline
		},
	},
	{
		// The commonest question about this pair: resilience4j#515, #614, #1657.
		name:   "retry-outside-breaker",
		reason: "the breaker sees only what is left after all attempts, and cannot stop them; retry outside",
		broken: func(outer, inner Layer) bool {
			return outer.Kind == KindBreaker && inner.Kind == KindRetry
		},
	},
	{
		// Site Reliability Engineering, chapter 21: each request counts, attempts included.
		name:   "retry-outside-throttle",
		reason: "the throttle sees one request where an overloaded service sees all attempts, and a refusal only if the last is one; retry outside",
		broken: func(outer, inner Layer) bool {
			return outer.Kind == KindThrottle && inner.Kind == KindRetry
		},
	},
	{
		name:   "retry-outside-attempt-timeout",
		reason: "all attempts share the time of one; retry outside",
		broken: func(outer, inner Layer) bool {
			return outer.Kind == KindAttemptTimeout && inner.Kind == KindRetry
		},
	},
	{
		name:   "retry-outside-balance",
		reason: "an attempt goes to the endpoint that has just failed, and never to another; retry outside",
		broken: func(outer, inner Layer) bool {
			return outer.Kind == KindBalance && inner.Kind == KindRetry
		},
	},
	{
		name:   "one-retry",
		reason: "attempts multiply, which turns a slow server into a dead one; retry in one place",
		broken: func(outer, inner Layer) bool {
			return outer.Kind == KindRetry && inner.Kind == KindRetry
		},
	},
	{
		name:   "chaos-innermost",
		reason: "the inner layer is spared the faults that it is there to withstand; inject them last",
		broken: func(outer, inner Layer) bool {
			return outer.Kind == KindChaos && inner.Kind != KindChaos
		},
	},
}

// frames reports whether a layer belongs around all others.
func frames(l Layer) bool { return l.Kind == KindRecovery || l.Kind == KindObserve }
