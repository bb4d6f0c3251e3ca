package breaker

import (
	"io"
	"net/http"
	"strings"
	"sync"

	"github.com/failsafe-go/failsafe-go/failsafehttp"
	"github.com/sony/gobreaker/v2"
	"github.com/uprung/uprung/benchmarks/internal/bench"
	"github.com/uprung/uprung/breaker"
)

// none is the base alone.
const none = "none"

// memory answers every request at once, with a body or without.
type memory struct{ text string }

func (m memory) RoundTrip(r *http.Request) (*http.Response, error) {
	resp := &http.Response{StatusCode: http.StatusOK, ProtoMajor: 1, ProtoMinor: 1, Header: http.Header{}, Body: http.NoBody, Request: r}
	if m.text != "" {
		resp.ContentLength = int64(len(m.text))
		resp.Body = io.NopCloser(strings.NewReader(m.text))
	}
	return resp, nil
}

// wrappers put a breaker for each host around a round tripper.
var wrappers = []struct {
	name string
	wrap func(http.RoundTripper) (http.RoundTripper, error)
}{
	{bench.Ours, func(base http.RoundTripper) (http.RoundTripper, error) {
		hosts, err := breaker.NewGroup[string](nil)
		if err != nil {
			return nil, err
		}
		return hosts.Transport(base), nil
	}},
	{peerGobreaker, func(base http.RoundTripper) (http.RoundTripper, error) { return &perHost{base: base}, nil }},
	{peerFailsafe, func(base http.RoundTripper) (http.RoundTripper, error) {
		return failsafehttp.NewRoundTripper(base, newFailsafe[*http.Response]()), nil //nolint:bodyclose // a policy for responses is none
	}},
	{none, func(base http.RoundTripper) (http.RoundTripper, error) { return base, nil }},
}

// perHost is gobreaker with a breaker for each host, which goes by headers.
type perHost struct {
	base  http.RoundTripper
	hosts sync.Map
}

func (p *perHost) RoundTrip(r *http.Request) (*http.Response, error) {
	cb, ok := p.hosts.Load(r.URL.Host)
	if !ok {
		cb, _ = p.hosts.LoadOrStore(r.URL.Host, gobreaker.NewCircuitBreaker[*http.Response](gobreaker.Settings{})) //nolint:bodyclose // a breaker of responses is none
	}
	return cb.(*gobreaker.CircuitBreaker[*http.Response]).Execute(func() (*http.Response, error) { return p.base.RoundTrip(r) })
}

// transports is the contest of round trippers.
func transports(name, text string) *bench.Contest[http.RoundTripper] {
	c := &bench.Contest[http.RoundTripper]{Cases: []bench.Case[http.RoundTripper]{{
		Name: name, Procs: 1, Ratio: "cpu_ns", Reference: none,
		Begin: func(*bench.Env) func(http.RoundTripper, *bench.Round) (bench.Figures, error) {
			return func(rt http.RoundTripper, r *bench.Round) (bench.Figures, error) { return exchange(rt, r, text) }
		},
	}}}
	for _, one := range wrappers {
		c.Impls = append(c.Impls, bench.Impl[http.RoundTripper]{Name: one.name, Open: func(*bench.Env) (http.RoundTripper, error) {
			return one.wrap(memory{text})
		}})
	}
	return c
}

// exchange sends requests for one round, and reads and closes every answer.
func exchange(rt http.RoundTripper, r *bench.Round, text string) (bench.Figures, error) {
	request, err := http.NewRequest(http.MethodGet, "http://orders.example.com/items", nil)
	if err != nil {
		return nil, err
	}
	buffer := make([]byte, 2*len(text)+1)
	return r.Loop(func(_, _, n int) (met int) {
		for range n {
			resp, err := rt.RoundTrip(request)
			if err != nil {
				continue
			}
			length := 0
			for err == nil {
				var read int
				read, err = resp.Body.Read(buffer)
				length += read
			}
			if resp.Body.Close() == nil && length == len(text) {
				met++
			}
		}
		return met
	})
}
