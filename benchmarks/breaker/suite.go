package breaker

import (
	"strings"
	"time"

	"github.com/uprung/uprung/benchmarks/internal/bench"
	"github.com/uprung/uprung/breaker"
)

// Suite returns the suite.
func Suite() *bench.Suite {
	return &bench.Suite{
		Name: "breaker",
		Workload: `calls of a function that does nothing, and every answer is checked
closed: the function is called and succeeds; closed-slowcall: uprung watches for calls of more than a second; open: failures have opened it for an hour, and the call is refused
uprung is breaker.Do, -permit Allow and Done; gobreaker is Execute with an interval of 10 s; failsafe-go is an executor with a failure rate of 50 % of 20 over 10 s; go-zero and aegis throttle and are never open; hystrix-go is hystrix.Do
keyed=10k: a breaker for each of 10000 hosts, called in no order; uprung is breaker.Group, gobreaker one in a sync.Map, which is not bounded; bytes_per_key without the bytes of the key itself, after one call
transport: a round tripper in memory, one host; none is that alone, and the figures of the others are what they add; headers: no body, bodyend: 1024 bytes, read and closed; only uprung goes by the end of the body`,
		Contests: []bench.Runnable{
			contest(closed(breaker.Options{}), "closed", 1, 1, 2),
			contest(closed(breaker.Options{SlowCall: time.Second})[:3], "closed-slowcall", 1, 1, 2),
			contest(refusing(), "open", 1, 1, 2),
			contest(keyed(), "keyed=10k", 10_000, 1),
			transports("transport/headers", ""),
			transports("transport/bodyend", strings.Repeat("x", 1024)),
		},
		Targets: []bench.Target{
			{Case: "closed/cpus=1", Metric: "cpu_ns", Peer: peerGobreaker, Bound: bench.AtMost(0.35)},
			{Case: "closed-slowcall/cpus=1", Metric: "cpu_ns", Peer: peerGobreaker, Bound: bench.AtMost(0.55)},
			{Case: "open/cpus=1", Metric: "cpu_ns", Peer: peerGobreaker, Bound: bench.AtMost(0.50)},
			{Case: "(closed|closed-slowcall|open)/.*|keyed=10k", Metric: "allocs", Bound: bench.AtMost(0.001)}, // a refusal is renewed every 10 ms
			{Case: "keyed=10k", Metric: "cpu_ns", Peer: peerGobreaker, Bound: bench.AtMost(0.75)},
			{Case: "keyed=10k", Metric: "bytes_per_key", Bound: bench.AtMost(600)},
			{Case: "transport/bodyend", Metric: "allocs", Bound: bench.AtMost(1)},
			{Case: "transport/bodyend", Metric: "cpu_ns", Peer: peerGobreaker, Bound: bench.AtMost(0.65)},
		},
	}
}
