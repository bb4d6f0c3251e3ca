package grpclimit_test

import (
	"context"
	"fmt"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/uprung/uprung"
	"github.com/uprung/uprung/ratelimit"
	"github.com/uprung/uprung/ratelimit/grpclimit"
)

// Each API key may place two orders a minute; the third is refused before its handler is
// called, and other keys are not touched.
func ExampleRateUnaryServerInterceptor() {
	limiter := uprung.Must(ratelimit.New(ratelimit.PerMinute(2), &ratelimit.Options{Name: "orders"}))
	intercept := grpclimit.RateUnaryServerInterceptor(limiter, &grpclimit.RateOptions{
		Key: grpclimit.ByMetadata("x-api-key"),
	}) // for grpc.ChainUnaryInterceptor
	info := &grpc.UnaryServerInfo{FullMethod: "/shop.Orders/Place"}
	handler := func(context.Context, any) (any, error) { return "placed", nil }

	for _, apiKey := range []string{"ann", "ann", "ann", "bob"} {
		ctx := metadata.NewIncomingContext(context.Background(), metadata.Pairs("x-api-key", apiKey))
		_, err := intercept(ctx, nil, info, handler)
		fmt.Println(apiKey, status.Code(err))
	}
	// Output:
	// ann OK
	// ann OK
	// ann ResourceExhausted
	// bob OK
}

// A server refuses calls before their messages are received.
func ExampleRateTap() {
	limiter := uprung.Must(ratelimit.New(ratelimit.PerSecond(100), nil))
	server := grpc.NewServer(grpc.InTapHandle(grpclimit.RateTap(limiter, nil)))
	defer server.Stop()
	fmt.Println(len(server.GetServiceInfo()), "services")
	// Output: 0 services
}
