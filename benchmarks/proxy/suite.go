package proxy

import (
	"fmt"
	"strings"
	"time"

	"github.com/uprung/uprung/benchmarks/internal/bench"
)

// Suite returns the suite.
func Suite() *bench.Suite {
	s := &bench.Suite{
		Name: suiteName,
		Workload: fmt.Sprintf(`loopback/4KB: %d clients with a connection each send GET requests over the loopback interface, the next when the answer to the last is complete, which is checked;
  a proxy passes them on to two backends that answer %d bytes; the client, the proxy and the backends are processes of their own and share all cores
a round is %d times as long as said above, and is preceded by one fifth of that; a result is of closed-loop load: slower answers mean fewer requests
cpu_ns is the CPU time of the proxy alone, per request; p50_ms, p99_ms: until the answer is complete
every proxy can use all cores (GOMAXPROCS, nbthread, worker_processes), keeps connections on both sides and those to backends for any client, sends X-Forwarded-For,
  -Host and -Proto, passes on the Host, and writes no log
uprung: lb.Proxy with default options, which sends Forwarded too; reverseproxy: httputil.ReverseProxy, two backends in turn, its transport http.DefaultTransport, which keeps 2 idle
  connections for each; reverseproxy-pool: the same with a pool of buffers of 32 KB and a transport that keeps 512, which is also that of uprung and oxy
oxy: forward and roundrobin of oxy v2, as in its README; haproxy: http-reuse always, roundrobin; nginx: keepalive 512, proxy_http_version 1.1, round robin`,
			clients, bodyLen, roundFactor),
		Targets: []bench.Target{
			{Case: caseName, Metric: "requests_per_s", Peer: "reverseproxy-pool", Bound: bench.AtLeast(0.97)},
		},
	}
	c, versions := NewContest(s, handlers, daemons)
	if len(versions) > 0 {
		s.Workload += "\n" + strings.Join(versions, "; ")
	}
	s.Contests = []bench.Runnable{c}
	return s
}

// NewContest returns one between proxies over loopback, and the versions of those that
// are programs of their own. Those that are not there, and targets, it adds to a suite.
func NewContest(s *bench.Suite, handlers []Handler, daemons []Daemon) (c bench.Runnable, versions []string) {
	contest := &bench.Contest[*subject]{Cases: []bench.Case[*subject]{{
		Name:  caseName,
		Procs: 2, // for the clients
		Ratio: "requests_per_s",
		Begin: func(*bench.Env) func(*subject, *bench.Round) (bench.Figures, error) { return measure },
	}}}
	for _, one := range handlers {
		contest.Impls = append(contest.Impls, bench.Impl[*subject]{Name: one.Name, Open: func(*bench.Env) (*subject, error) {
			return open(func(backends []string) (*process, error) { return startSelf(s.Name+"/"+one.Name, backends...) })
		}})
	}
	for _, d := range daemons {
		path, err := d.path()
		if err != nil {
			s.Absent = append(s.Absent, bench.Absent{Impl: d.Name, Why: d.Name + " is not installed (apt-get install " + d.Name + ")"})
			continue
		}
		versions = append(versions, d.version(path))
		contest.Impls = append(contest.Impls, bench.Impl[*subject]{Name: d.Name, Open: func(*bench.Env) (*subject, error) {
			return open(func(backends []string) (*process, error) { return d.start(path, backends) })
		}})
		if d.Target != nil {
			s.Targets = append(s.Targets, *d.Target)
		}
	}
	return contest, versions
}

const (
	suiteName = "proxy"
	caseName  = "loopback/4KB"

	// clients is the number of connections to a proxy.
	clients = 32
	// roundFactor is by how much a round is longer than one of a loop in one process.
	roundFactor = 10
	// shortest is the least time in which every client gets some answers.
	shortest = 100 * time.Millisecond
)

// subject is a proxy with backends of its own.
type subject struct {
	backends, proxy *process
}

// open starts backends and a proxy before them.
func open(start func(backends []string) (*process, error)) (*subject, error) {
	backends, err := startSelf(backendsRole)
	if err != nil {
		return nil, fmt.Errorf("backends: %w", err)
	}
	proxy, err := start(backends.addrs)
	if err != nil {
		backends.Close()
		return nil, err
	}
	return &subject{backends: backends, proxy: proxy}, nil
}

// Close ends the processes.
func (s *subject) Close() {
	s.proxy.Close()
	s.backends.Close()
}

// measure loads a proxy for one round.
func measure(s *subject, r *bench.Round) (bench.Figures, error) {
	window := max(shortest, roundFactor*r.Duration)
	l, err := newLoad(s.proxy.addrs[0], clients)
	if err != nil {
		return nil, err
	}
	defer l.close()
	start := time.Now()
	from := start.Add(window / 5)
	done := l.run(from, from.Add(window))
	time.Sleep(time.Until(from))
	before, counted := s.proxy.cpuTime()
	time.Sleep(time.Until(from.Add(window)))
	after, _ := s.proxy.cpuTime()
	took, err := done()
	if err != nil {
		return nil, err
	}
	if len(took) == 0 {
		return nil, fmt.Errorf("no answer in %v", window)
	}
	figures := bench.Figures{
		"requests_per_s": float64(len(took)) / window.Seconds(),
		"p50_ms":         milliseconds(quantile(took, 0.5)),
		"p99_ms":         milliseconds(quantile(took, 0.99)),
	}
	if counted {
		figures["cpu_ns"] = float64(after-before) / float64(len(took))
	}
	return figures, nil
}

// quantile returns that of sorted values.
func quantile(sorted []time.Duration, q float64) time.Duration {
	return sorted[min(int(q*float64(len(sorted))), len(sorted)-1)]
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
