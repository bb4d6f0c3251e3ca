// Package grpctoken carries the bookmarks of package replicate from one gRPC call to the
// next, as [replicate.Cluster.Middleware] does over HTTP: a client reads what it wrote and
// never goes back in time, whichever server and whichever replica it reaches.
//
// # The shortest path
//
//	server := grpc.NewServer(
//		grpc.UnaryInterceptor(grpctoken.UnaryServerInterceptor(cluster)),
//		grpc.StreamInterceptor(grpctoken.StreamServerInterceptor(cluster)),
//	)
//
//	conn, err := grpc.NewClient(target,
//		grpc.WithUnaryInterceptor(grpctoken.UnaryClientInterceptor()),
//		grpc.WithStreamInterceptor(grpctoken.StreamClientInterceptor()),
//	)
//	ctx = grpctoken.WithJar(ctx, new(grpctoken.Jar)) // once for each user, or session
//
// # Behavior
//
// A call brings its token in the metadata field [Key], and the answer has the next in its
// trailer, also if it is an error: what a handler has written before it failed is written.
// A token that is not valid is ignored. Clients hold tokens and cannot read them.
package grpctoken
