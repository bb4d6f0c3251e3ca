// Package grpccache serves the replies of gRPC methods from a cache: of unary methods that the
// program declares cacheable, each with the time for which a reply is good and whose it is.
//
//	c, err := grpccache.New(10_000, map[string]grpccache.Method{
//		"/shop.Catalog/GetItem": {TTL: time.Minute, Whose: grpccache.Everybodys},
//		"/shop.Account/GetCart": {TTL: time.Second, Whose: byUser},
//	}, nil)
//	...
//	defer c.Close()
//	conn, err := grpc.NewClient(target, grpc.WithUnaryInterceptor(c.UnaryClientInterceptor()))
//
// Use it for methods that have no effect and whose replies may be a little old. gRPC has no
// headers by which a server could say so: hence the declaration.
//
// # Behavior
//
// A reply is kept under the method, whom it belongs to, and the request, by a hash that
// nobody can find another request for (SHA-256 of its deterministic encoding). Replies are
// kept as bytes: each call gets a message of its own.
//
// Calls of the same request at the same time are one call, with the values of the context of
// the first, which goes on for as long as one of them waits. [cache.Cache] says more, also
// of the second tier that processes can share.
//
// Errors are returned and not kept. A reply from the cache has neither headers nor trailers.
// Client calls with options that ask for them, or for the peer, or bring credentials, are
// not cached, nor are methods that were not declared, nor streams.
//
// In a chain, interceptors that authenticate and authorize come before a cache in a server,
// and those that retry or break circuits after it in a client.
package grpccache
