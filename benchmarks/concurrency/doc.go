// Package concurrency measures what a limit of requests in progress costs: to acquire a
// place and to release it, for adaptive limits and fixed ones.
package concurrency
