// Package health tells who is fit to be asked: it probes the targets that a program
// depends on, serves the program's own state to whoever probes it, lets the program
// leave without dropping a request, and says how many replicas the load wants.
//
// A [Monitor] probes many targets from here and keeps a [State] for each. A
// [Registry] is the other direction: it runs the program's own checks when it is
// asked, by Kubernetes or a load balancer, and drains. A [Scale] turns how busy the
// program is into a number of replicas.
//
// Do not use a Monitor for what every request shows anyway: with much traffic to
// few backends, outlier detection in the balancer is faster than any probe. Do not
// let liveness depend on a dependency: a restart does not cure it, and a database
// that is slow for a minute would restart every replica at once.
//
// # The shortest path
//
// The program's own state, and a clean end:
//
//	registry, err := health.NewRegistry([]health.Check{
//		{Name: "database", Probe: db.PingContext},
//		{Name: "search", Probe: search.Ping, Informative: true},
//	}, nil)
//	if err != nil {
//		log.Fatal(err)
//	}
//	mux.Handle("/livez", registry.Live())
//	mux.Handle("/readyz", registry.Ready())
//	mux.Handle("/startupz", registry.Startup())
//	...
//	<-signalled.Done() // by signal.NotifyContext
//	ctx, cancel := context.WithTimeout(context.Background(), 25*time.Second)
//	defer cancel()
//	err = registry.Drain(ctx, server.Shutdown)
//
// Others, from here:
//
//	prober, err := health.NewHTTP(&health.HTTPOptions{Path: "/readyz"})
//	if err != nil {
//		log.Fatal(err)
//	}
//	monitor, err := health.NewMonitor(prober, &health.MonitorOptions{Name: "backends"})
//	if err != nil {
//		log.Fatal(err)
//	}
//	err = monitor.SetTargets([]health.Target{{ID: "a", Addr: "10.0.0.10:8080"}})
//	...
//	go monitor.Run(ctx)
//	...
//	if monitor.View().Usable("a") { ... }
//
// # Choosing
//
//	you want                                      use
//	to know which of many servers answer          Monitor
//	  over HTTP                                   NewHTTP
//	  over TCP                                    TCP
//	  over gRPC (grpc.health.v1)                  package grpchealth
//	  by any function                             ProberFunc, Func
//	failing requests to count like probes         Monitor.Report
//	to be told when a state changes               MonitorOptions.OnChange, View.Changed
//	to be taken out of a balancer, and back       Registry.Ready
//	to be restarted when stuck                    Registry.Live, Check.Live
//	to be left alone while starting               Registry.Startup, Check.Startup
//	to leave without dropping requests            Registry.Drain
//	the same over gRPC                            package grpchealth
//	to tell an autoscaler how many to run         Scale
//
// # Behavior
//
// Targets. A target is Unknown until it has been probed, and Unknown is usable: a
// new server gets requests before its first probe, and a restarted client does not
// find all servers unusable. The first success makes it Healthy. It becomes
// Unhealthy after Fall failures in a row (3) and Healthy again after Rise successes
// in a row (2); results that alternate change nothing. The state belongs to the
// monitor and the ID of the target: two monitors that probe one server in two ways
// keep two states.
//
// A probe that has not answered within Timeout has failed. One that ignores its
// context goes on running; no other probe of its target is started before it
// returns, and each that would be due until then counts as failed. So that many
// targets are not all probed at one moment, first probes are spread over a second
// (or Interval, if that is shorter), and the time between probes varies by Jitter.
// While Run runs there is a goroutine for each target, and one for each probe.
//
// When Run ends, states stay as they were last and Report counts nothing more:
// without probes, nothing could raise a target again.
//
// Checks. They run when somebody asks, without any goroutine in between, all at once,
// each at most once at a time and once in its TTL, however many ask. A check that
// panics has failed. One that ignores its context has failed when its timeout is
// over, and is not started again before it returns.
//
//	                       readiness     liveness     startup
//	critical (default)     gates         -            -
//	Informative            warns, 200    -            -
//	Live                   gates         gates        -
//	Startup                gates         -            gates until it passed once
//	draining               503           -            -
//
// Answers are text for people and probes, "ok" or a line for each check that fails;
// with Accept: application/health+json they are documents of
// draft-inadarei-api-health-check-06. The texts of errors are in neither, since
// they name hosts and users, unless RegistryOptions.Verbose is set.
//
// # Autoscaling
//
// [Scale] answers with JSON, of which KEDA reads one field:
//
//	triggers:
//	  - type: metrics-api
//	    metricType: AverageValue
//	    metadata:
//	      url: http://app.default.svc:8081/scale
//	      valueLocation: desired
//	      targetValue: "1"
//
// With a target of 1 for each replica, as many are run as desired says; the same
// holds for an external metric of a HorizontalPodAutoscaler with averageValue: 1. The
// program must know for that how many replicas there are (ScaleOptions.Replicas). Where
// only the autoscaler does, let it read the saturation, by metricType: Value,
// valueLocation: saturation and, as targetValue, what would be ScaleOptions.Target.
//
// # References
//
//   - draft-inadarei-api-health-check-06: Health Check Response Format for HTTP
//     APIs. RFC 9110, section 12: content negotiation.
//   - Kubernetes documentation, "Liveness, Readiness, and Startup Probes" and
//     "Horizontal Pod Autoscaling", algorithm details.
//   - HAProxy configuration manual, "rise" and "fall".
//   - KEDA documentation, "Metrics API" scaler.
package health
