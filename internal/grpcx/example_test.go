package grpcx_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/uprung/uprung"
	"github.com/uprung/uprung/internal/grpcx"
)

func Example() {
	ctx := context.Background()
	refused := grpcx.Refuse(codes.ResourceExhausted, &uprung.Rejection{Reason: errors.New("limit: limited"), RetryAfter: time.Second})
	for _, err := range []error{
		nil,
		status.Error(codes.NotFound, "no such cart"),
		status.Error(codes.Internal, "disk is full"),
		refused,                       // here
		status.Convert(refused).Err(), // as a client sees it
	} {
		after, _ := grpcx.RetryAfter(err, nil)
		fmt.Println(status.Code(err), grpcx.Outcome(ctx, err, nil, time.Millisecond, 0), after)
	}
	// Output:
	// OK success 0s
	// NotFound success 0s
	// Internal failure 0s
	// ResourceExhausted ignored 1s
	// ResourceExhausted overload 1s
}
