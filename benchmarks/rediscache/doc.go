// Package rediscache measures reads of values that are kept in Redis: how many per second 64
// callers get, and what they cost the process that makes them.
package rediscache
