package prom_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"github.com/uprung/uprung"
	"github.com/uprung/uprung/breaker"
	"github.com/uprung/uprung/deadline"
	"github.com/uprung/uprung/health"
	"github.com/uprung/uprung/internal/memsql"
	"github.com/uprung/uprung/key"
	"github.com/uprung/uprung/lb"
	"github.com/uprung/uprung/prom"
	"github.com/uprung/uprung/ratelimit"
	"github.com/uprung/uprung/replicate"
	"github.com/uprung/uprung/retry"
	"github.com/uprung/uprung/shard"
)

func limiter(name string) *ratelimit.Limiter {
	return uprung.Must(ratelimit.New(ratelimit.PerMinute(3), &ratelimit.Options{
		Name: name, Key: key.Header("Api-Key"), Capacity: 1024,
	}))
}

// page returns what a scrape of h reads.
func page(t *testing.T, h http.Handler) string {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	if w.Code != http.StatusOK {
		t.Fatalf("status %d: %s", w.Code, w.Body)
	}
	return w.Body.String()
}

// forgetful is a checkpoint that keeps nothing.
type forgetful struct{}

func (forgetful) Load(context.Context) ([]byte, error) { return nil, nil }
func (forgetful) Save(context.Context, []byte) error   { return nil }

// mover moves nothing.
func mover(t *testing.T) *shard.Mover {
	t.Helper()
	before := uprung.Must(shard.NewSlots([]shard.Node{{ID: "a"}}, nil))
	after := uprung.Must(shard.NewSlots([]shard.Node{{ID: "b"}}, nil))
	copyNothing := func(context.Context, shard.Pass) (int, error) { return 0, nil }
	return uprung.Must(shard.NewMover(t.Context(), uprung.Must(shard.NewPlan(before, after)), copyNothing, forgetful{}, nil))
}

func TestEveryMetricIsLintClean(t *testing.T) {
	t.Parallel()
	upstreams := uprung.Must(shard.NewMap([]shard.Entry[http.Handler]{{Node: shard.Node{ID: "a"}, Value: http.NotFoundHandler()}}, nil))
	sources := []uprung.Source{
		limiter("a"),
		uprung.Must(ratelimit.NewConcurrency(ratelimit.Adaptive(), nil)),
		upstreams,
		uprung.Must(shard.NewHandler(upstreams, key.Route(), nil)),
		uprung.Must(shard.NewBounded(upstreams.Table(), nil)),
		mover(t),
		uprung.Must(lb.New(lb.Addrs("a:80"), &lb.Options{Name: "orders", Probe: health.TCP{}})),
		uprung.Must(retry.New(nil)),
		uprung.Must(breaker.New(&breaker.Options{Name: "orders"})),
		uprung.Must(breaker.NewGroup[string](nil)),
		uprung.Must(breaker.NewThrottle(nil)),
		uprung.Must(deadline.New(time.Second, nil)),
		uprung.Must(health.NewMonitor(health.TCP{}, nil)),
		uprung.Must(replicate.New([]replicate.Node{{Name: "a", Connector: memsql.New(0).Node(0)}}, nil)),
		uprung.Must(health.NewRegistry([]health.Check{{Name: "a", Probe: func(context.Context) error { return nil }}}, nil)),
		uprung.Must(health.NewScale([]health.ScaleSource{{Name: "a", Saturator: health.SaturationFunc(func() float64 { return 0.5 })}}, nil)),
	}
	problems, err := promlint.New(strings.NewReader(page(t, uprung.Must(prom.Handler(sources...))))).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}

func TestFiguresAreRead(t *testing.T) {
	t.Parallel()
	l := limiter("a")
	h := uprung.Must(prom.Handler(l, limiter("b")))
	for range 5 {
		l.Allow("alice")
	}
	got := page(t, h)
	for _, line := range []string{
		`uprung_ratelimit_decisions_total{outcome="allow",policy="a"} 3`,
		`uprung_ratelimit_decisions_total{outcome="deny",policy="a"} 2`,
		`uprung_ratelimit_decisions_total{outcome="allow",policy="b"} 0`,
		`uprung_ratelimit_keys{policy="a"} 1`,
	} {
		if !strings.Contains(got, line+"\n") {
			t.Errorf("no line %s in\n%s", line, got)
		}
	}
}

// The number of series is a constant of the program, whatever clients send.
func TestSeriesAreConstantUnderRandomKeysAndPaths(t *testing.T) {
	t.Parallel()
	l := limiter("a")
	h := uprung.Must(prom.Handler(l))
	app := l.Middleware(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	before := strings.Count(page(t, h), "\n")
	r := httptest.NewRequest("GET", "/", nil)
	requests := 50_000
	if os.Getenv("UPRUNG_FULL_MODELS") == "1" {
		requests = 1_000_000
	}
	for i := range requests {
		r.Header.Set("Api-Key", fmt.Sprint("key", i))
		r.URL.Path = fmt.Sprint("/path/", i)
		app.ServeHTTP(discard{}, r)
	}
	after := page(t, h)
	if got := strings.Count(after, "\n"); got != before {
		t.Errorf("%d lines after %d keys and paths, want %d as before", got, requests, before)
	}
	if strings.Contains(after, "key1") || strings.Contains(after, "path") {
		t.Error("a key or a path is on the page")
	}
}

type discard struct{}

func (discard) Header() http.Header         { return http.Header{} }
func (discard) Write(p []byte) (int, error) { return len(p), nil }
func (discard) WriteHeader(int)             {}

func TestCollectorFitsARegistry(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewPedanticRegistry()
	collector := uprung.Must(prom.NewCollector(limiter("a"), limiter("b")))
	if err := registry.Register(collector); err != nil {
		t.Fatal(err)
	}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	if len(families) == 0 {
		t.Error("nothing is gathered")
	}
	if err := registry.Register(uprung.Must(prom.NewCollector(limiter("a")))); err == nil {
		t.Error("the same series are registered twice")
	}
}

type source []uprung.Metric

func (s source) Metrics(yield func(uprung.Metric) bool) {
	for _, m := range s {
		if !yield(m) {
			return
		}
	}
}

func TestBadSourcesAreNamed(t *testing.T) {
	t.Parallel()
	_, err := prom.NewCollector(nil, limiter("a"), limiter("a"))
	for _, want := range []string{"source 0 is nil", `source 2 yields uprung_ratelimit_decisions_total{policy="a",outcome="allow"}, as source 1 does`} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want it to say %q", err, want)
		}
	}
	if _, err := prom.Handler(nil); err == nil {
		t.Error("a nil source is accepted")
	}
	disagree := source{
		{Name: "uprung_test_things", Help: "a"},
		{Name: "uprung_test_things", Help: "b", Labels: []uprung.Label{{Name: "x", Value: "1"}}},
	}
	if _, err := prom.Handler(disagree); err == nil || !strings.Contains(err.Error(), "uprung_test_things") {
		t.Errorf("sources that disagree: %v", err)
	}
}

func Example() {
	limiter, err := ratelimit.New(ratelimit.PerSecond(100), &ratelimit.Options{Name: "per-client"})
	if err != nil {
		panic(err)
	}
	metrics, err := prom.Handler(limiter)
	if err != nil {
		panic(err)
	}
	server := httptest.NewServer(metrics)
	defer server.Close()

	limiter.Allow("alice")
	resp, err := http.Get(server.URL)
	if err != nil {
		panic(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		panic(err)
	}
	for line := range strings.Lines(string(body)) {
		if strings.Contains(line, `outcome="allow"`) {
			fmt.Print(line)
		}
	}
	// Output: uprung_ratelimit_decisions_total{outcome="allow",policy="per-client"} 1
}
