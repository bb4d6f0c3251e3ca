package httpcache

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/uprung/uprung/benchmarks/internal/bench"
	"github.com/uprung/uprung/benchmarks/proxy"
)

const (
	gregjones = "gregjones"
	// bare is a handler that writes the body, without a cache.
	bare = "handler"

	hitCase = "hit/4KB"
)

// Suite returns the suite.
func Suite() *bench.Suite {
	s := &bench.Suite{
		Name: "httpcache",
		Workload: fmt.Sprintf(`hit/4KB: a GET request without conditions for a fresh response of %d bytes and five fields, in the process; the handler writes to a writer that discards, and the answer of a round tripper is read and closed
uprung: Middleware with default options; uprung-transport: Transport; handler: an http.Handler that sets the fields and writes the body; gregjones: its Transport over its MemoryCache
loopback/4KB: as in the suite proxy, but the backends' answers may be kept, and are; a program of its own serves 32 connections
uprung: Middleware around httputil.ReverseProxy; uprung-transport: Transport below it; gregjones: below it as well; handler: an http.Handler that writes the body itself
nginx: one worker process, proxy_cache; varnish: malloc storage, the built-in VCL
purge-tag/N: PurgeTag of one of the two tags of each of N stored responses; uprung-soft: SoftPurgeTag`, bodyLen),
		Targets: []bench.Target{
			{Case: hitCase, Metric: "allocs", Bound: bench.AtMost(0)},
			{Case: hitCase, Metric: "cpu_ns", Peer: gregjones, Bound: bench.AtMost(0.15)},
			{Case: hitCase, Metric: "cpu_ns", Peer: bare, Bound: bench.AtMost(2)},
			{Case: "loopback/4KB", Metric: "requests_per_s", Peer: "nginx", Bound: bench.AtLeast(0.95)},
			{Case: "loopback/4KB", Metric: "requests_per_s", Peer: bare, Bound: bench.AtLeast(0.95)},
			{Case: "purge-tag/100000", Metric: "cpu_ns", Bound: bench.AtMost(10_000)},
		},
	}
	for _, name := range []string{"souin", "sandrolain", "bartventer", "victorspringer"} {
		s.Absent = append(s.Absent, bench.Absent{Impl: name, Why: "its module cannot be fetched through every module proxy"})
	}
	loopback, versions := proxy.NewContest(s, Handlers(), daemons)
	if len(versions) > 0 {
		s.Workload += "\n" + strings.Join(versions, "; ")
	}
	s.Contests = []bench.Runnable{hits(), loopback, purges()}
	return s
}

// Handlers are the proxies of the suite that are written in Go.
func Handlers() []proxy.Handler {
	return []proxy.Handler{
		{Name: bench.Ours, Make: newUprung},
		{Name: bench.Ours + "-transport", Make: newUprungTransport},
		{Name: bare, Make: func([]string) (http.Handler, error) { return http.HandlerFunc(write), nil }},
		{Name: gregjones, Make: newGregjones},
	}
}
