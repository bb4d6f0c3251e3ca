package grpcretry

import (
	"context"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/uprung/uprung/retry"
)

// call is a round tripper that is a function.
type call func(*http.Request) (int, error)

func (f call) RoundTrip(r *http.Request) (*http.Response, error) {
	code, err := f(r)
	if err != nil {
		return nil, err
	}
	w := httptest.NewRecorder()
	w.WriteHeader(code)
	return w.Result(), nil
}

// ask sends a request of one's own.
func ask(ctx context.Context, rt http.RoundTripper) (int, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://below/", nil)
	if err != nil {
		return 0, err
	}
	resp, err := rt.RoundTrip(r)
	if err != nil {
		return 0, err
	}
	return resp.StatusCode, resp.Body.Close()
}

// asking is a server that asks a backend over HTTP.
type asking struct {
	grpc_health_v1.UnimplementedHealthServer
	backend http.RoundTripper
}

func (s *asking) Check(ctx context.Context, _ *grpc_health_v1.HealthCheckRequest) (*grpc_health_v1.HealthCheckResponse, error) {
	if code, err := ask(ctx, s.backend); err != nil || code != http.StatusOK {
		return nil, status.Error(codes.Unavailable, "the backend fails")
	}
	return &grpc_health_v1.HealthCheckResponse{}, nil
}

// Three layers of three attempts, HTTP over gRPC over HTTP, are not 27 attempts of a
// backend that fails.
func TestNestedLayersDoNotMultiply(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var attempts atomic.Int64
		backend := must1(t, nil).Transport(call(func(*http.Request) (int, error) {
			attempts.Add(1)
			return http.StatusInternalServerError, nil
		}))
		client := dial(t, &asking{backend: backend}, must1(t, nil), all)
		outer := must1(t, &retry.Options{Name: "outer"}).Transport(call(func(r *http.Request) (int, error) {
			answer, _ := client.Check(r.Context(), &grpc_health_v1.HealthCheckRequest{})
			if answer == nil {
				return http.StatusBadGateway, nil
			}
			return http.StatusOK, nil
		}))
		const requests = 20 * 120
		for range requests { // 20 a second
			go func() {
				if code, err := ask(t.Context(), outer); err != nil || code != http.StatusBadGateway {
					t.Errorf("got %d, %v, want 502", code, err)
				}
			}()
			time.Sleep(50 * time.Millisecond)
		}
		time.Sleep(10 * time.Second)
		if got := float64(attempts.Load()) / requests; got < 1.3 || got > 1.4 {
			t.Errorf("%.3f attempts for each request, want 1.11 to the power of three, and at most 1.4", got)
		}
	})
}
