// Package retry puts the retries of package retry, over the balancer of package lb,
// before real processes, which are killed, stopped and slowed down meanwhile: requests
// that can be repeated all succeed, and the servers see hardly more of them.
package retry
