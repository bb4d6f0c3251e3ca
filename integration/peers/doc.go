// Package peers puts the conformance kit middlewaretest to well-known middleware
// of others, as their own documentation sets it up. The tests list what each
// fails, and fail when that is no longer true, in either direction. The README of
// the repository shows the list: keep the two alike.
package peers
