// Package key says for whom a request counts. Rate limits, caches, shards and
// experiments all need to tell one party from another, and all go wrong in the
// same way if a client can choose what it is taken for. A [Func] extracts that
// identity once and for all of them: the client's address, a header, a cookie, a
// part of the route, a value from the context, or several of these together.
//
// A key is not a proof. Only the address constructors, and [Context] behind
// authentication, give keys that a client cannot choose.
//
// # The shortest path
//
// Behind a load balancer that connects from 10.0.0.0/8 and appends to
// X-Forwarded-For:
//
//	client, err := key.Proxied([]string{"10.0.0.0/8"}, nil)
//	if err != nil {
//		log.Fatal(err)
//	}
//	limiter, err := ratelimit.New(ratelimit.PerSecond(100), &ratelimit.Options{
//		Key: client,
//	})
//
// # Choosing
//
// For the address of a client there is no default that is safe everywhere: to
// read a header that no proxy wrote lets everybody choose an address, and not to
// read it behind a proxy makes everybody one client. Choose by how requests
// reach the server:
//
//	requests reach the server                       constructor
//	directly                                        Direct
//	through a TCP or UDP balancer that keeps the    Direct
//	  address of the client
//	through a listener that reads the PROXY         Direct
//	  protocol and sets RemoteAddr from it
//	through reverse proxies that append to          Proxied
//	  X-Forwarded-For: nginx, HAProxy, Envoy,
//	  Apache, Traefik, Caddy, cloud load balancers
//	the same, through a Unix socket                 Proxied, trusting "unix"
//	through proxies that append to Forwarded        Forwarded
//	through a CDN or platform that sets a field     ProxyHeader
//	  of its own: CF-Connecting-IP, Fly-Client-IP,
//	  True-Client-IP, X-Real-IP
//	in several of these ways                        one server or route for each
//
// For other identities:
//
//	who asks                                        constructor
//	an account that authentication has found        Context
//	a holder of an API key                          Header, and Hashed if the keys
//	                                                are stored outside of the process
//	a browser with a session                        Cookie, likewise
//	a tenant in the path                            PathValue
//	whoever it is, per route                        Join of the above and Route
//	an account or else an address                   First
//
// # Behavior
//
// An IPv6 client is its /64, because that is the least that one client has, and
// an IPv4 client is its address; [AddrOptions] changes both. The IPv4-mapped form
// of an address, its ports, zones and brackets make no difference, and an IPv4
// client behind a translator (64:ff9b::/96) is its IPv4 address. Addresses are
// canonical text: "203.0.113.7", "2001:db8:1:2::/64".
//
// A key is at most [MaxLength] bytes long; a longer value is replaced by its
// SHA-256 hash. A request without a key is never given an empty one: the consumer
// has a [Missing] policy, which refuses unless told otherwise.
//
// Trust in proxies is by address. A header from an address that is not trusted
// is not read. A proxy that is trusted must append to, or replace, the header
// that it is trusted for; one that passes it on as it came hands the choice of
// keys to its clients.
//
// Constructors whose arguments stand in the source of the program panic if these
// make no sense; those that take deployment settings return an error. Every Func
// is safe for concurrent use and keeps no state. Direct costs no allocation for an
// IPv4 client; everything else that concerns addresses costs one.
//
// # References
//
//   - RFC 7239, Forwarded HTTP Extension, and its section 8.1 on why a header
//     field that a client can send is not to be trusted.
//   - RFC 6177, IPv6 Address Assignment to End Sites; RFC 5952, A Recommendation
//     for IPv6 Address Text Representation.
//   - RFC 9110, sections 5.3 and 5.6, on repeated fields and lists.
//   - RFC 2104, HMAC.
package key
