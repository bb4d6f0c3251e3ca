// Package breaker is the benchmark suite of circuit breakers: what they cost a call that
// they let through, one that they refuse, and a request of an HTTP client.
package breaker
