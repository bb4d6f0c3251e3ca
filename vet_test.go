package uprung_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/uprung/uprung"
)

// layer declares itself and passes everything on.
func layer(kind uprung.Kind, facts ...uprung.Fact) uprung.Layer {
	return uprung.Layer{Kind: kind, Name: string(kind), Facts: facts}
}

// handlers builds a chain of layers, the first outermost, around a mux.
func handlers(layers ...uprung.Layer) http.Handler {
	var chain []uprung.Middleware
	for _, l := range layers {
		chain = append(chain, uprung.Named(l, func(next http.Handler) http.Handler { return next }))
	}
	return uprung.Chain(chain...)(http.NewServeMux())
}

func transports(layers ...uprung.Layer) http.RoundTripper {
	var rt http.RoundTripper = &http.Transport{}
	for _, l := range slices.Backward(layers) {
		rt = uprung.NamedTransport(l, func(base http.RoundTripper) http.RoundTripper { return base })(rt)
	}
	return rt
}

func ruleNames(r uprung.Report) []string {
	var names []string
	for _, f := range r.Findings {
		names = append(names, f.Rule)
	}
	return names
}

// Each rule in both directions: the order that breaks it, and the reverse, which
// breaks none.
func TestVetRules(t *testing.T) {
	t.Parallel()
	var (
		addressLimit   = layer(uprung.KindRateLimit, uprung.ByClientAddress)
		principalLimit = layer(uprung.KindRateLimit, uprung.ByPrincipal)
		authn          = layer(uprung.KindAuthn)
		sharedCache    = layer(uprung.KindCache, uprung.SharedByAll)
	)
	for _, tt := range []struct {
		rule         string
		outer, inner uprung.Layer
	}{
		{"recovery-outermost", layer(uprung.KindCache), layer(uprung.KindRecovery)},
		{"recovery-outermost", layer("mine"), layer(uprung.KindObserve)},
		{"address-limit-outside-authn", authn, addressLimit},
		{"principal-limit-inside-authn", principalLimit, authn},
		{"compression-outside-cache", layer(uprung.KindCache), layer(uprung.KindCompress)},
		{"shared-cache-inside-authz", sharedCache, layer(uprung.KindAuthz)},
		{"cache-outside-concurrency", layer(uprung.KindConcurrency), layer(uprung.KindCache)},
		{"cache-outside-throttle", layer(uprung.KindThrottle), layer(uprung.KindCache)},
		{"deadline-outside-retry", layer(uprung.KindRetry), layer(uprung.KindDeadline)},
		{"retry-outside-breaker", layer(uprung.KindBreaker), layer(uprung.KindRetry)},
		{"retry-outside-throttle", layer(uprung.KindThrottle), layer(uprung.KindRetry)},
		{"retry-outside-attempt-timeout", layer(uprung.KindAttemptTimeout), layer(uprung.KindRetry)},
		{"retry-outside-balance", layer(uprung.KindBalance), layer(uprung.KindRetry)},
		{"chaos-innermost", layer(uprung.KindChaos), layer(uprung.KindBreaker)},
	} {
		want := []string{tt.rule, "reversed-chain"}
		if got := ruleNames(uprung.Vet(handlers(tt.outer, tt.inner))); !slices.Equal(got, want) {
			t.Errorf("%v outside %v: got %v, want %v", tt.outer, tt.inner, got, want)
		}
		if got := ruleNames(uprung.VetTransport(transports(tt.outer, tt.inner))); !slices.Equal(got, want) {
			t.Errorf("transports, %v outside %v: got %v, want %v", tt.outer, tt.inner, got, want)
		}
		if got := uprung.Vet(handlers(tt.inner, tt.outer)).Err(); got != nil {
			t.Errorf("%v inside %v: %v", tt.outer, tt.inner, got)
		}
	}
	// Two retries are wrong either way round, and nothing was reversed.
	retry := layer(uprung.KindRetry)
	if got := ruleNames(uprung.VetTransport(transports(retry, retry))); !slices.Equal(got, []string{"one-retry"}) {
		t.Errorf("two retries: got %v", got)
	}
}

func TestVetKnowsOnlyWhatIsDeclared(t *testing.T) {
	t.Parallel()
	for _, chain := range [][]uprung.Layer{
		nil,
		{layer(uprung.KindAuthn), layer(uprung.KindRateLimit)},
		{layer(uprung.KindRateLimit), layer(uprung.KindAuthn)},
		{layer(uprung.KindCache), layer(uprung.KindAuthz)},
		{layer(uprung.KindCache, uprung.SharedByAll, uprung.ByPrincipal), layer(uprung.KindAuthz)},
		{layer(uprung.KindCache, uprung.VariesOnEncoding), layer(uprung.KindCompress)},
		{layer(uprung.KindCache), layer(uprung.KindCompress, uprung.VariesOnEncoding)},
		{layer(uprung.KindObserve), layer(uprung.KindRecovery), layer(uprung.KindObserve), layer("mine")},
		{layer(uprung.KindBreaker), layer(uprung.KindChaos), layer(uprung.KindChaos)},
		{layer(uprung.KindObserve), layer(uprung.KindRetry), layer(uprung.KindObserve)},
		// Either order of these has its use: what is compressed takes its time within a place
		// or without, and a place is for an attempt or for all of them with their pauses.
		{layer(uprung.KindConcurrency), layer(uprung.KindCompress), layer(uprung.KindConcurrency)},
		{layer(uprung.KindConcurrency), layer(uprung.KindRateLimit), layer(uprung.KindConcurrency)},
		{layer(uprung.KindConcurrency), layer(uprung.KindRetry), layer(uprung.KindConcurrency)},
		{layer(uprung.KindConcurrency), layer(uprung.KindThrottle), layer(uprung.KindConcurrency)},
	} {
		if err := uprung.Vet(handlers(chain...)).Err(); err != nil {
			t.Errorf("%v: %v", chain, err)
		}
	}
}

// A generated wrapper that ranged over its middlewares forwards, and so built
// the chain back to front, is told so.
func TestVetReportsAReversedChain(t *testing.T) {
	t.Parallel()
	right := []uprung.Layer{
		layer(uprung.KindRecovery), layer(uprung.KindRateLimit, uprung.ByClientAddress), layer(uprung.KindAuthn),
		layer(uprung.KindAuthz), layer(uprung.KindCache, uprung.SharedByAll),
	}
	if err := uprung.Vet(handlers(right...)).Err(); err != nil {
		t.Fatal(err)
	}
	slices.Reverse(right)
	report := uprung.Vet(handlers(right...))
	if !slices.Contains(ruleNames(report), "reversed-chain") {
		t.Errorf("not reported: %v", report)
	}
	// One layer out of place in a chain that is otherwise right is no reversal.
	misplaced := []uprung.Layer{layer(uprung.KindRetry), layer(uprung.KindDeadline), layer(uprung.KindBreaker), layer(uprung.KindChaos), layer("mine")}
	if got := ruleNames(uprung.VetTransport(transports(misplaced...))); !slices.Equal(got, []string{"deadline-outside-retry", "chaos-innermost"}) {
		t.Errorf("got %v", got)
	}
}

func TestVetSaysWhereKnowledgeEnds(t *testing.T) {
	t.Parallel()
	report := uprung.Vet(uprung.Chain(
		uprung.Named(layer(uprung.KindRecovery), tag("a")),
		tag("foreign"),
		uprung.Named(layer(uprung.KindCache), tag("b")),
	)(http.NewServeMux()))
	if got, want := report.String(), "unknown below recovery \"recovery\": http.HandlerFunc\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	for _, tt := range []struct{ got, want string }{
		{uprung.Vet(http.NewServeMux()).String(), "unknown below *http.ServeMux\n"},
		{uprung.Vet(nil).String(), "unknown below <nil>\n"},
		{uprung.VetTransport(&http.Transport{}).String(), "unknown below *http.Transport\n"},
	} {
		if tt.got != tt.want {
			t.Errorf("got %q, want %q", tt.got, tt.want)
		}
	}
}

// proxy sends requests on.
type proxy struct {
	http.Handler
	layer     uprung.Layer
	transport http.RoundTripper
}

func (p proxy) Layer() uprung.Layer                { return p.layer }
func (p proxy) UnwrapTransport() http.RoundTripper { return p.transport }

// A chain of handlers goes on as one of round trippers, to which its rules apply alone:
// what observes the requests that go out does not belong around those that come in.
func TestVetGoesOnWhereRequestsAreSentOn(t *testing.T) {
	t.Parallel()
	chain := uprung.Named(layer(uprung.KindRateLimit), tag("a"))(proxy{
		layer:     layer("proxy"),
		transport: transports(layer(uprung.KindObserve), layer(uprung.KindBalance), layer(uprung.KindRetry)),
	})
	want := []uprung.Kind{uprung.KindRateLimit, "proxy", uprung.KindObserve, uprung.KindBalance, uprung.KindRetry}
	var got []uprung.Kind
	for _, l := range uprung.Layers(chain) {
		got = append(got, l.Kind)
	}
	if !slices.Equal(got, want) {
		t.Errorf("layers are %v, want %v", got, want)
	}
	report := uprung.Vet(chain)
	if len(report.Findings) != 1 || report.Findings[0].Rule != "retry-outside-balance" {
		t.Errorf("found %v, want retry-outside-balance alone", report.Findings)
	}
	if want := "unknown below retry \"retry\": *http.Transport\n"; !strings.HasSuffix(report.String(), want) {
		t.Errorf("report is\n%swant it to end in %s", report, want)
	}
}

// A layer can say that the chain ends there, and what comes after it.
func TestVetSaysThatAChainEnds(t *testing.T) {
	t.Parallel()
	end := layer("shard")
	end.Ends = "one handler for each node"
	want := "ends at shard \"shard\": one handler for each node\n"
	if got := uprung.Vet(proxy{layer: end}).String(); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestExplainMarksDefaults(t *testing.T) {
	t.Parallel()
	l := layer(uprung.KindRateLimit, uprung.ByClientAddress)
	l.Settings = []uprung.Setting{{Name: "Limit", Value: "100 per 1s"}, {Name: "Capacity", Value: "65536", Default: true}}
	want := strings.Join([]string{
		`ratelimit "ratelimit", by-client-address`,
		`    Limit     100 per 1s`,
		`    Capacity  65536 (default)`,
		`unknown below ratelimit "ratelimit": *http.ServeMux`,
		``,
	}, "\n")
	if got := uprung.Explain(handlers(l)); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if got := uprung.ExplainTransport(transports(l)); !strings.Contains(got, "*http.Transport") {
		t.Errorf("got\n%s", got)
	}
}
