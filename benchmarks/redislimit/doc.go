// Package redislimit measures limits that are kept in Redis: how many decisions per
// second 64 callers get.
package redislimit
