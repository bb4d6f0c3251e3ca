package grpclimit_test

import (
	"context"
	"fmt"

	"google.golang.org/grpc"
	"google.golang.org/grpc/status"

	"github.com/uprung/uprung"
	"github.com/uprung/uprung/ratelimit"
	"github.com/uprung/uprung/ratelimit/grpclimit"
)

// While a call is in progress that takes the only place, another is refused before its
// handler is called.
func Example() {
	limit := uprung.Must(ratelimit.NewConcurrency(ratelimit.AtMost(1), &ratelimit.ConcurrencyOptions{Name: "orders"}))
	intercept := grpclimit.UnaryServerInterceptor(limit, nil) // for grpc.ChainUnaryInterceptor
	info := &grpc.UnaryServerInfo{FullMethod: "/shop.Orders/Place"}

	_, err := intercept(context.Background(), nil, info, func(ctx context.Context, _ any) (any, error) {
		_, err := intercept(ctx, nil, info, func(context.Context, any) (any, error) {
			panic("not reached")
		})
		fmt.Println(status.Code(err))
		fmt.Println(status.Convert(err).Message())
		return nil, nil
	})
	fmt.Println(status.Code(err))
	// Output:
	// Unavailable
	// ratelimit: too many requests in progress (policy "orders"), retry after 1s
	// OK
}
