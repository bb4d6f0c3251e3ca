package grpcbalance

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/balancer"
	"google.golang.org/grpc/balancer/endpointsharding"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/uprung/uprung"
	"github.com/uprung/uprung/internal/grpcx"
	"github.com/uprung/uprung/lb"
	"github.com/uprung/uprung/lb/pick"
)

// Each attempt goes where none has been, and says so.
func TestAttemptsGoElsewhere(t *testing.T) {
	b := registered(t, &Options{Seed: 1, Outlier: Outlier{Mode: uprung.Off}})
	bubble(t, func(t *testing.T) {
		broken := status.Error(codes.Unavailable, "")
		c := newFleet(t, failing(broken), taking(0), failing(broken)).client(b)
		for range 50 {
			attempt := new(uprung.Attempt)
			ctx := uprung.WithAttempt(t.Context(), attempt)
			err := check(ctx, c)
			for range 2 {
				if err != nil {
					err = check(ctx, c)
				}
			}
			tried := attempt.Tried()
			if err != nil || tried[len(tried)-1] != "b" || len(tried) != len(slices.Compact(slices.Sorted(slices.Values(tried)))) {
				t.Fatalf("error is %v after %v, want success at b, and each once", err, tried)
			}
			// Rather one of those that were tried than none.
			for range 3 {
				_ = check(ctx, c)
			}
			if attempt.Number() != len(tried)+3 {
				t.Fatalf("%v was tried, want 3 after %v", attempt.Tried(), tried)
			}
		}
	})
}

// The repetitions of gRPC itself go elsewhere too, if the context says what was tried.
func TestRetryPolicyGoesElsewhere(t *testing.T) {
	b := registered(t, &Options{Policy: pick.RoundRobin{}, Outlier: Outlier{Mode: uprung.Off}})
	bubble(t, func(t *testing.T) {
		broken := status.Error(codes.Unavailable, "")
		f := newFleet(t, failing(broken), taking(0), failing(broken))
		c := f.client(b, grpc.WithDefaultServiceConfig(strings.TrimSuffix(ServiceConfig(b.name), "}")+`,"methodConfig":[{"name":[{}],
			"retryPolicy":{"maxAttempts":3,"initialBackoff":"0.01s","maxBackoff":"0.01s","backoffMultiplier":1,"retryableStatusCodes":["UNAVAILABLE"]}}]}`))
		for range 50 {
			attempt := new(uprung.Attempt)
			if err := check(uprung.WithAttempt(t.Context(), attempt), c); err != nil {
				t.Fatalf("error is %v after %v, want success at b", err, attempt.Tried())
			}
		}
	})
}

func TestEligible(t *testing.T) {
	var open atomic.Pointer[string]
	open.Store(new(string))
	b := registered(t, &Options{RetryAfter: 7 * time.Second, Eligible: func(id string) bool { return !strings.Contains(*open.Load(), id) }})
	bubble(t, func(t *testing.T) {
		f := newFleet(t, taking(0), taking(0), taking(0))
		c := f.client(b)
		refused := "ac"
		open.Store(&refused)
		load(t, c, 100, 1)
		// One that was tried is better than one that is refused.
		attempt := new(uprung.Attempt)
		attempt.Try("b")
		if err := check(uprung.WithAttempt(t.Context(), attempt), c); err != nil {
			t.Error(err)
		}
		if s := b.Stats(); s.of(t, "b").Picked != 101 {
			t.Errorf("figures are %+v, want all calls at b", s.Endpoints)
		}

		refused = "abc"
		open.Store(&refused)
		for _, wait := range []bool{false, true} { // until there is a server, and there are three
			err := check(t.Context(), c, grpc.WaitForReady(wait))
			rejection, ok := errors.AsType[*uprung.Rejection](err)
			if !ok || !errors.Is(err, lb.ErrNoEndpoint) || status.Code(err) != codes.Unavailable {
				t.Fatalf("error is %v, want a rejection that is UNAVAILABLE", err)
			}
			if rejection.Kind != uprung.KindBalance || rejection.Name != b.name || rejection.RetryAfter != 7*time.Second {
				t.Errorf("rejection is %+v, want what the balancer is called and when to try again", rejection)
			}
			if after, _ := grpcx.RetryAfter(status.Convert(err).Err(), nil); after != 7*time.Second {
				t.Errorf("others are told to wait for %v, want 7s", after)
			}
		}
		if s := b.Stats(); s.Rejected != 2 || s.Failures != 0 || s.InFlight != 0 {
			t.Errorf("figures are %+v, want two rejections that are nobody's failure", s)
		}
	})
}

// What calls come to, as servers and callers end them.
func TestOutcomes(t *testing.T) {
	for _, tt := range []struct {
		name    string
		service *service
		timeout time.Duration
		cancel  time.Duration
		cause   error
		want    uprung.Outcome
	}{
		{name: "success", service: taking(0), want: uprung.Success},
		{name: "not found", service: failing(status.Error(codes.NotFound, "")), want: uprung.Success},
		{name: "unavailable", service: failing(status.Error(codes.Unavailable, "")), want: uprung.Failure},
		{name: "unavailable, with RetryInfo", service: failing(grpcx.Refuse(codes.Unavailable, &uprung.Rejection{RetryAfter: time.Second})), want: uprung.Overload},
		{name: "unavailable, with pushback", service: &service{check: func(ctx context.Context) error {
			_ = grpc.SetTrailer(ctx, metadata.Pairs("grpc-retry-pushback-ms", "100"))
			return status.Error(codes.Unavailable, "")
		}}, want: uprung.Overload},
		{name: "hasty", service: hanging(), timeout: 999 * time.Millisecond, want: uprung.Ignored},
		{name: "patient", service: hanging(), timeout: time.Second, want: uprung.Failure},
		{name: "cancelled", service: hanging(), cancel: time.Hour, want: uprung.Ignored},
		{name: "attempt timed out", service: hanging(), cancel: time.Millisecond, cause: uprung.ErrAttemptTimeout, want: uprung.Failure},
	} {
		b := registered(t, nil)
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				c := newFleet(t, tt.service).client(b)
				ctx, cancel := context.WithCancelCause(t.Context())
				defer cancel(nil)
				if tt.timeout > 0 {
					var stop context.CancelFunc
					ctx, stop = context.WithTimeout(ctx, tt.timeout)
					defer stop()
				}
				if tt.cancel > 0 {
					time.AfterFunc(tt.cancel, func() { cancel(tt.cause) })
				}
				_ = check(ctx, c)
				if s := b.Stats(); b.ended[tt.want].Load() != 1 || s.InFlight != 0 || s.of(t, "a").InFlight != 0 {
					t.Errorf("figures are %+v, want one %v and nothing in flight", s, tt.want)
				}
			})
		})
	}
}

// stub is the picker of an endpoint that is connected, and counts.
type stub struct {
	err  error
	done int
}

func (s *stub) Pick(balancer.PickInfo) (balancer.PickResult, error) {
	return balancer.PickResult{Done: func(balancer.DoneInfo) { s.done++ }}, s.err
}

// plain is the picker of an endpoint that is connected.
type plain struct{}

func (plain) Pick(balancer.PickInfo) (balancer.PickResult, error) { return balancer.PickResult{}, nil }

// channelOf returns a channel with endpoints that are connected, without a connection.
func channelOf(t testing.TB, o *Options, pickers ...balancer.Picker) *channel {
	t.Helper()
	b, err := New("a", o)
	if err != nil {
		t.Fatal(err)
	}
	c := &channel{b: b, origin: time.Now(), nodes: map[string]*node{}}
	c.state.Store(&snapshot{until: never})
	b.channels[c] = true
	var children []endpointsharding.ChildState
	for i, p := range pickers {
		children = append(children, endpointsharding.ChildState{
			Endpoint: endpoints(string(rune('a' + i))).Endpoints[0],
			State:    balancer.State{ConnectivityState: connectivity.Ready, Picker: p},
		})
	}
	if ready := c.update(children); ready != (len(pickers) > 0) {
		t.Fatalf("connected is %v, with %d endpoints", ready, len(pickers))
	}
	return c
}

// gRPC ends a pick at once if the connection has just been lost, and picks again.
func TestPicksThatComeToNothing(t *testing.T) {
	t.Parallel()
	s := &stub{}
	c := channelOf(t, nil, s)
	for range 10 {
		result, err := picker{c}.Pick(balancer.PickInfo{Ctx: t.Context()})
		if err != nil {
			t.Fatal(err)
		}
		result.Done(balancer.DoneInfo{})
	}
	if got := c.b.Stats(); got.Ignored != 10 || got.Ejections != 0 || got.InFlight != 0 || s.done != 10 {
		t.Errorf("figures are %+v, and %d were told below, want 10 that are ignored", got, s.done)
	}
	s.err = balancer.ErrNoSubConnAvailable
	if _, err := (picker{c}).Pick(balancer.PickInfo{Ctx: t.Context()}); !errors.Is(err, s.err) || c.b.Stats().InFlight != 0 {
		t.Errorf("error is %v, want %v and nothing in flight", err, s.err)
	}
	if _, err := (picker{channelOf(t, nil)}).Pick(balancer.PickInfo{Ctx: t.Context()}); !errors.Is(err, balancer.ErrNoSubConnAvailable) {
		t.Errorf("error without endpoints is %v, want that gRPC waits for the next picker", err)
	}
}

// A policy that refuses endpoints leaves them to gRPC.
func TestPolicyThatFails(t *testing.T) {
	b := registered(t, &Options{Policy: choosy{}})
	bubble(t, func(t *testing.T) {
		f := newFleet(t, taking(0), taking(0))
		c := f.client(b)
		if failed := load(t, c, 10, 1); failed != 0 {
			t.Errorf("%d of 10 calls failed", failed)
		}
		synctest.Wait()
	})
}

// choosy takes one endpoint and no more.
type choosy struct{}

func (choosy) Picker(endpoints []pick.Endpoint, prev pick.Picker) (pick.Picker, error) {
	if len(endpoints) > 1 {
		return nil, errors.New("too many")
	}
	return pick.RoundRobin{}.Picker(endpoints, prev)
}

func TestAllocations(t *testing.T) {
	c := channelOf(t, nil, plain{}, plain{}, plain{}, plain{}, plain{})
	info := balancer.PickInfo{Ctx: t.Context(), FullMethodName: "/a.B/C"}
	if got := testing.AllocsPerRun(1000, func() {
		result, err := picker{c}.Pick(info)
		if err != nil {
			t.Fatal(err)
		}
		result.Done(balancer.DoneInfo{BytesSent: true})
	}); got > 1 {
		t.Errorf("%v allocations for a call, want 1: the function that gRPC wants", got)
	}
}
