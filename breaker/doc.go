// Package breaker stops calls to what fails, so that callers fail at once instead of
// waiting, and what fails is left alone until it is well again.
//
// A [Breaker] lets calls through and counts how they end ("closed"). When half of them
// have failed over the last ten seconds, it refuses all ("open"); a second later it lets
// three through ("half-open"), and then it is closed or open again. A [Group] has a
// breaker for each host, endpoint or route. A [Throttle] is for a service that does not
// fail but has too much to do: it sends it less.
//
// Do not use it in place of a timeout: what hangs has to end to be counted, and who
// waits is better served by a deadline. Do not put one breaker before several endpoints,
// of which one may fail: use a Group. It is of no use where there is nothing better to do
// without an answer than to wait for one.
//
// # The shortest path
//
//	hosts, err := breaker.NewGroup[string](nil)
//	if err != nil {
//		log.Fatal(err)
//	}
//	client := &http.Client{Transport: hosts.Transport(nil), Timeout: 5 * time.Second}
//
// Anything else that can fail:
//
//	orders, err := breaker.New(&breaker.Options{Name: "orders"})
//	if err != nil {
//		log.Fatal(err)
//	}
//	order, err := breaker.Do(ctx, orders, func(ctx context.Context) (*Order, error) {
//		return db.Order(ctx, id)
//	})
//	if errors.Is(err, breaker.ErrOpen) {
//		...
//	}
//
// # Choosing
//
//	you have                                       use
//	requests to many hosts                         Group.Transport
//	requests to one service                        Breaker.Transport
//	a balancer that chooses among endpoints        Group.Eligible and Group.Allow
//	handlers, each of which may fail               Group.Middleware, in a mux
//	functions                                      Do, or DoOr with a fallback
//	something else that begins and ends            Allow, and Permit.Done
//	gRPC                                           package grpcbreaker
//	a service that answers 429, or 503 in time     Throttle
//	a service that is slow before it fails         Options.SlowCall
//	few calls, all of which fail                   Options.Consecutive
//	an answer of old for when there is no new one  Options.Fallback, Options.Refused, DoOr
//	doubts                                         Options.Mode: uprung.Shadow
//
// # Behavior
//
// What counts. The outcome of a call is that of package uprung: errors of the transport,
// 5xx, bodies that break off and panics are failures. What the caller cancels does not
// count, nor what another guard refuses, nor an answer of 429, or 503 with Retry-After:
// it asks for less load, and is for a Throttle. A result counts when it comes, not when
// the call began, so that calls that take longer than the window count too; but if the
// state has changed since the call began, it is late, and does not count.
//
// When it opens. When a failure comes, and of at least 20 results of the last ten seconds
// half are failures. Of the ten parts of the window the current one is incomplete, so
// that it is nine seconds at the least.
//
// How long. One second at first. If the probes fail, again, and longer as the outage goes
// on: the time doubles whenever the outage has lasted sixteen times as long, up to 30 s.
// An outage of ten seconds is so noticed to be over within a second or so, and one of an
// hour costs a probing every half a minute. A random fifth is taken off. An outage that
// comes back within a window of its end goes on.
//
// Probes. Three calls are let through at a time, until three in a row have succeeded or
// one has failed. The result of one that does not count leaves its place to another. A
// probe that has no answer within its lease of ten seconds, or of which nobody says how
// it has ended, has failed. One whose answer has begun, but takes longer than OpenFor to
// be complete, such as a stream of events, has succeeded.
//
// Refusals are a [*uprung.Rejection] that matches [ErrOpen] and says after how long to
// come again; Middleware makes 503 and Retry-After of it.
//
// Time passes by itself: no goroutine and no timer is started, and the state is found out
// when somebody asks. A breaker is no part of another process's: each instance of a
// program finds out for itself.
//
// Costs. While it is closed, a call takes two atomic reads, an atomic addition and one
// look at the clock, or two with SlowCall; it takes no lock and allocates nothing. So
// does a refusal. A Group bounds the number of its keys and forgets those that are
// closed and quiet, whose breakers know nothing any more. A key takes some 300 bytes, and
// 500 more once its breaker has been open.
//
// # References
//
//   - Nygard: Release It! Pragmatic Bookshelf, 2007. Circuit Breaker.
//   - Beyer, Jones, Petoff, Murphy (ed.): Site Reliability Engineering, chapter 21:
//     Handling Overload. O'Reilly, 2016.
//   - github.com/sony/gobreaker, which is the state machine below.
//   - RFC 9110, section 10.2.3 (Retry-After), RFC 9457 (problem details).
package breaker
