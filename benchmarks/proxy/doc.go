// Package proxy is the benchmark suite of reverse proxies: what is left of two cores
// for requests when a client, a proxy and two backends share them, over the loopback
// interface.
//
// Every proxy is a process of its own, started by this one, ours too: what it costs is
// then counted alike, and none gains from sharing a scheduler with the client. The
// client and the backends speak just as much HTTP/1.1 as is needed and cost less than
// what is measured.
package proxy
