// Package overload is the suite overload: what becomes of a service that is asked for more
// than it can do, or that fails for a while, with one guard or another between it and its
// clients. The guards are the real ones, and time is virtual.
package overload
