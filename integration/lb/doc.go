// Package lb puts the load balancer of package lb before real processes, which are
// killed, stopped and slowed down meanwhile, and compares what its clients see with
// what a simulation of the same processes, faults and requests foretells.
package lb
