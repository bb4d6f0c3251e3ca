// Package peers puts the conformance kit middlewaretest to well-known middleware
// of others, as their own documentation sets it up. What they fail is in the
// README of the module; its tests fail when that is no longer true, in either
// direction.
package peers
