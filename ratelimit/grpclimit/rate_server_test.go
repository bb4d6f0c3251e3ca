package grpclimit

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding"
	_ "google.golang.org/grpc/encoding/proto" // what counting is made of
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/uprung/uprung"
	"github.com/uprung/uprung/internal/grpctest"
	"github.com/uprung/uprung/internal/grpcx"
	"github.com/uprung/uprung/internal/memnet"
	"github.com/uprung/uprung/key"
	"github.com/uprung/uprung/ratelimit"
)

// A place is where a rate is limited.
type place struct {
	name    string
	options func(l *ratelimit.Limiter, o *RateOptions) []grpc.ServerOption
	trailer bool // the refusal has one
}

var places = []place{
	{"interceptor", func(l *ratelimit.Limiter, o *RateOptions) []grpc.ServerOption { return rated(l, o) }, true},
	{"tap", func(l *ratelimit.Limiter, o *RateOptions) []grpc.ServerOption {
		return []grpc.ServerOption{grpc.InTapHandle(RateTap(l, o))}
	}, false},
}

// way is how a call is made.
type way struct {
	name string
	call func(ctx context.Context, conn *grpc.ClientConn) (metadata.MD, error)
}

var ways = []way{
	{"unary", func(ctx context.Context, conn *grpc.ClientConn) (trailer metadata.MD, err error) {
		err = grpctest.Call(ctx, conn, grpc.Trailer(&trailer))
		return trailer, err
	}},
	{"stream", func(ctx context.Context, conn *grpc.ClientConn) (metadata.MD, error) {
		stream, err := grpctest.Open(ctx, conn, grpctest.Both)
		if err != nil {
			return nil, err
		}
		err = grpctest.Drain(stream)
		return stream.Trailer(), err
	}},
}

// echo is a service that counts what reaches it.
func echo(reached *atomic.Int64) *grpctest.Service {
	return &grpctest.Service{
		Unary:  func(context.Context) error { reached.Add(1); return nil },
		Stream: func(grpc.ServerStream) error { reached.Add(1); return nil },
	}
}

// everywhere runs a test for each place and way.
func everywhere(t *testing.T, f func(t *testing.T, p place, w way)) {
	t.Helper()
	for _, p := range places {
		for _, w := range ways {
			t.Run(p.name+"/"+w.name, func(t *testing.T) {
				bubble(t, func(t *testing.T) { f(t, p, w) })
			})
		}
	}
}

// What exceeds the limit is refused and told when to come again, and is served then.
func TestRateServer(t *testing.T) {
	everywhere(t, func(t *testing.T, p place, w way) {
		var reached atomic.Int64
		l := rateOf(t, ratelimit.Limit{Events: 1, Period: 1500 * time.Millisecond, Burst: 2}, nil)
		conn := grpctest.Serve(t, echo(&reached).Register, p.options(l, nil))
		for range 2 {
			if trailer, err := w.call(t.Context(), conn); err != nil || len(trailer.Get("grpc-retry-pushback-ms")) > 0 {
				t.Errorf("within the limit: %v, trailer %v", err, trailer)
			}
		}
		trailer, err := w.call(t.Context(), conn)
		after, _ := grpcx.RetryAfter(err, nil)
		if status.Code(err) != codes.ResourceExhausted || after != 1500*time.Millisecond {
			t.Errorf("beyond the limit: %v, to try again after %v, want RESOURCE_EXHAUSTED and 1.5s", err, after)
		}
		if got := fmt.Sprint(trailer.Get("grpc-retry-pushback-ms")); p.trailer && got != "[1500]" {
			t.Errorf("pushback is %s, want 1500", got)
		}
		if reached.Load() != 2 {
			t.Errorf("%d calls reached the service, want 2", reached.Load())
		}
		time.Sleep(after)
		if _, err := w.call(t.Context(), conn); err != nil {
			t.Errorf("when it was told to come: %v", err)
		}
		if got := l.Stats(); got.Granted != 3 || got.Denied != 1 {
			t.Errorf("stats are %+v, want 3 granted and 1 denied", got)
		}
	})
}

// Time does not cure a cost above the burst, nor a limit of nothing: no RetryInfo, and a
// pushback that says not to try again.
func TestTrap04PermanentRefusals(t *testing.T) {
	for name, tt := range map[string]struct {
		limit ratelimit.Limit
		cost  int64
		want  error
	}{
		"above the burst": {ratelimit.PerSecond(10), 11, ratelimit.ErrExceedsBurst},
		"huge":            {ratelimit.PerSecond(10), 1 << 62, ratelimit.ErrExceedsBurst},
		"nothing at all":  {ratelimit.PerSecond(0), 1, ratelimit.ErrLimited},
	} {
		t.Run(name, func(t *testing.T) {
			everywhere(t, func(t *testing.T, p place, w way) {
				o := &RateOptions{Cost: func(context.Context, string) int64 { return tt.cost }}
				l := rateOf(t, tt.limit, nil)
				conn := grpctest.Serve(t, echo(new(atomic.Int64)).Register, p.options(l, o))
				trailer, err := w.call(t.Context(), conn)
				if status.Code(err) != codes.ResourceExhausted || status.Convert(err).Message() != tt.want.Error()+` (policy "default")` {
					t.Errorf("error is %v, want RESOURCE_EXHAUSTED for %v", err, tt.want)
				}
				if after, asked := grpcx.RetryAfter(err, nil); asked {
					t.Errorf("there is a RetryInfo of %v", after)
				}
				if after, asked := grpcx.RetryAfter(nil, trailer); p.trailer && (!asked || after != uprung.Never) {
					t.Errorf("pushback is %v, want -1", trailer)
				}
			})
		})
	}
}

// counting counts messages that are decoded.
type counting struct {
	encoding.CodecV2
	decoded *atomic.Int64
}

func (c counting) Unmarshal(data mem.BufferSlice, v any) error {
	c.decoded.Add(1)
	return c.CodecV2.Unmarshal(data, v)
}

// No message of a call that is refused is decoded, unless grpc does it before it calls an
// interceptor.
func TestRefusalsComeBeforeMessages(t *testing.T) {
	everywhere(t, func(t *testing.T, p place, w way) {
		var decoded atomic.Int64
		codec := grpc.ForceServerCodecV2(counting{encoding.GetCodecV2("proto"), &decoded})
		l := rateOf(t, ratelimit.PerSecond(0), nil)
		conn := grpctest.Serve(t, echo(new(atomic.Int64)).Register, append(p.options(l, nil), codec))
		if _, err := w.call(t.Context(), conn); status.Code(err) != codes.ResourceExhausted {
			t.Errorf("error is %v, want RESOURCE_EXHAUSTED", err)
		}
		want := int64(0)
		if p.name == "interceptor" && w.name == "unary" {
			want = 1
		}
		if got := decoded.Load(); got != want {
			t.Errorf("%d messages were decoded, want %d", got, want)
		}
	})
}

// Requests and calls of one party share what its limit grants, whichever come first.
func TestOneBudgetForHTTPAndGRPC(t *testing.T) {
	proxied := uprung.Must(key.Proxied([]string{"127.0.0.0/8"}, nil))
	for name, tt := range map[string]struct {
		http   key.Func
		grpc   KeyFunc
		header [2]string // of both
	}{
		"address": {key.Direct(nil), nil, [2]string{}},
		"header":  {key.Header("X-Api-Key"), ByMetadata("X-Api-Key"), [2]string{"x-api-key", "k1"}},
		"proxied": {proxied, ByRequest(proxied), [2]string{"x-forwarded-for", "198.51.100.1, 203.0.113.7"}},
		"any":     {key.Header("X-Api-Key"), ByRequest(key.Header("X-Api-Key")), [2]string{"x-api-key", "k1"}},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				var network memnet.Network
				l := rateOf(t, ratelimit.Limit{Events: 1, Period: time.Minute, Burst: 4}, &ratelimit.Options{Key: tt.http})
				_, addr := grpctest.Listen(t, &network, echo(new(atomic.Int64)).Register, rated(l, &RateOptions{Key: tt.grpc})...)
				conn := grpctest.Dial(t, &network, addr)
				listener := network.Listen()
				server := &http.Server{Handler: l.Middleware(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))}
				go func() { _ = server.Serve(listener) }()
				defer func() { _ = server.Close() }()
				transport := &http.Transport{DialContext: network.DialContext}
				defer transport.CloseIdleConnections()
				byHTTP := func() bool {
					r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+listener.Addr().String(), nil)
					if err != nil {
						t.Fatal(err)
					}
					if tt.header[0] != "" {
						r.Header.Set(tt.header[0], tt.header[1])
					}
					resp, err := transport.RoundTrip(r)
					if err != nil {
						t.Fatal(err)
					}
					return resp.Body.Close() == nil && resp.StatusCode == http.StatusOK
				}
				ctx := t.Context()
				if tt.header[0] != "" {
					ctx = metadata.AppendToOutgoingContext(ctx, tt.header[0], tt.header[1])
				}
				byGRPC := func() bool { return grpctest.Call(ctx, conn) == nil }
				got := []bool{byHTTP(), byGRPC(), byHTTP(), byGRPC(), byHTTP(), byGRPC()}
				if fmt.Sprint(got) != "[true true true true false false]" {
					t.Errorf("granted %v, want four and no more", got)
				}
				if l.Stats().Keys != 1 {
					t.Errorf("there are %d keys, want one", l.Stats().Keys)
				}
			})
		})
	}
}

// remote is a limiter that fails.
type remote struct {
	err  error
	mode uprung.Mode
}

func (r *remote) Take(context.Context, string, int64) (ratelimit.Result, error) {
	return ratelimit.Result{}, r.err
}
func (r *remote) Mode() uprung.Mode { return r.mode }
func (*remote) Layer() uprung.Layer { return uprung.Layer{Name: "remote"} }

// What a limiter that asks others may say has a code of its own.
func TestLimitersThatFail(t *testing.T) {
	t.Parallel()
	left, leave := context.WithCancel(t.Context())
	leave()
	away := &uprung.Rejection{Kind: uprung.KindRateLimit, Reason: fmt.Errorf("%w: dial 10.0.0.1", ratelimit.ErrUnavailable), RetryAfter: time.Second}
	for name, tt := range map[string]struct {
		ctx   context.Context //nolint:containedctx // a table of them
		err   error
		want  codes.Code
		after time.Duration
	}{
		"away":   {t.Context(), away, codes.Unavailable, time.Second},
		"denied": {t.Context(), &uprung.Rejection{Reason: ratelimit.ErrLimited, RetryAfter: time.Minute}, codes.ResourceExhausted, time.Minute},
		"left":   {left, context.Canceled, codes.Canceled, 0},
		"broken": {t.Context(), errors.New("redislimit: LimitFor: Limit.Rate is -1"), codes.Internal, 0},
	} {
		_, err := RateUnaryServerInterceptor(&remote{err: tt.err}, &RateOptions{Key: ByMethod()})(tt.ctx, nil, &grpc.UnaryServerInfo{FullMethod: "/a/B"}, nil)
		if after, _ := grpcx.RetryAfter(err, nil); status.Code(err) != tt.want || after != tt.after {
			t.Errorf("%s: error is %v, want %v and to try again after %v", name, err, tt.want, tt.after)
		}
		if cause := errors.Unwrap(tt.err); !errors.Is(err, cmp.Or(cause, tt.err)) {
			t.Errorf("%s: %v does not match %v", name, err, tt.err)
		}
		if text := status.Convert(err).Message(); strings.Contains(text, "10.0.0.1") || strings.Contains(text, "-1") {
			t.Errorf("%s: clients are told %q", name, text)
		}
	}
}

// A call without a key is what MissingKey says, and passes where nothing is enforced.
func TestMissingKeys(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		missing key.Missing
		mode    uprung.Mode
		want    []codes.Code
	}{
		{key.MissingRefused, uprung.Enforce, []codes.Code{codes.InvalidArgument, codes.InvalidArgument}},
		{key.MissingRefused, uprung.Shadow, []codes.Code{codes.OK, codes.OK}},
		{key.MissingRefused, uprung.Off, []codes.Code{codes.OK, codes.OK}},
		{key.MissingAdmitted, uprung.Enforce, []codes.Code{codes.OK, codes.OK}},
		{key.MissingShared, uprung.Enforce, []codes.Code{codes.OK, codes.ResourceExhausted}},
		{key.MissingShared, uprung.Shadow, []codes.Code{codes.OK, codes.OK}},
	} {
		l := rateOf(t, ratelimit.PerHour(1), &ratelimit.Options{Mode: tt.mode})
		other := rateOf(t, ratelimit.PerHour(1), &ratelimit.Options{Name: "other", Mode: tt.mode})
		for name, limiter := range map[string]Limiter{"limiter": l, "group": uprung.Must(ratelimit.All(other))} {
			intercept := RateUnaryServerInterceptor(limiter, &RateOptions{MissingKey: tt.missing}) // there is no peer
			for i, want := range tt.want {
				_, err := intercept(t.Context(), nil, &grpc.UnaryServerInfo{FullMethod: "/a/B"}, done)
				if status.Code(err) != want {
					t.Errorf("%v, %v, %s: call %d ends with %v, want %v", tt.missing, tt.mode, name, i, err, want)
				}
				if got := errors.Is(err, ratelimit.ErrMissingKey); got != (want == codes.InvalidArgument) {
					t.Errorf("%v, %v, %s: %v matches ErrMissingKey: %t", tt.missing, tt.mode, name, err, got)
				}
			}
		}
	}
}

func done(context.Context, any) (any, error) { return "done", nil }

func TestRateOptions(t *testing.T) {
	t.Parallel()
	l := rateOf(t, ratelimit.PerHour(10), nil)
	costs := map[string]int64{"/a/Free": 0, "/a/Dear": 6, "/a/Broken": -1}
	o := &RateOptions{
		Key:  func(context.Context, string) (string, bool) { return "all", true },
		Cost: func(_ context.Context, method string) int64 { return costs[method] },
		Skip: func(_ context.Context, method string) bool { return method == "/a/Exempt" },
	}
	intercept := RateUnaryServerInterceptor(l, o)
	o.Key = nil // they are copied
	for i, tt := range []struct {
		method string
		want   codes.Code
	}{
		{"/a/Dear", codes.OK},
		{"/a/Dear", codes.ResourceExhausted},
		{"/a/Free", codes.OK},
		{"/a/Exempt", codes.OK},
		{"/a/Broken", codes.Internal},
	} {
		if _, err := intercept(t.Context(), nil, &grpc.UnaryServerInfo{FullMethod: tt.method}, done); status.Code(err) != tt.want {
			t.Errorf("call %d of %s ends with %v, want %v", i, tt.method, err, tt.want)
		}
	}
	if err := l.SetMode(uprung.Shadow); err != nil {
		t.Fatal(err)
	}
	for _, method := range []string{"/a/Dear", "/a/Broken"} {
		if _, err := intercept(t.Context(), nil, &grpc.UnaryServerInfo{FullMethod: method}, done); err != nil {
			t.Errorf("in the shadow, %s ends with %v", method, err)
		}
	}
	if got := l.Stats(); got.Granted != 1 || got.Denied != 1 || got.ShadowDenied != 1 || got.Failed != 1 {
		t.Errorf("stats are %+v", got)
	}
}

// A call that is admitted costs no allocation beyond its key.
func TestAdmittedCallsDoNotAllocate(t *testing.T) {
	l := rateOf(t, ratelimit.PerSecond(1e9), nil)
	intercept := RateUnaryServerInterceptor(l, &RateOptions{Key: ByMethod()})
	info := &grpc.UnaryServerInfo{FullMethod: "/a/B"}
	ctx := t.Context()
	if got := testing.AllocsPerRun(1000, func() { _, _ = intercept(ctx, nil, info, done) }); got > 0 {
		t.Errorf("%v allocations, want none", got)
	}
}

func TestRatesWithoutLimiterPanic(t *testing.T) {
	t.Parallel()
	l := rateOf(t, ratelimit.PerSecond(1), nil)
	for name, construct := range map[string]func(){
		"RateUnaryServerInterceptor":  func() { RateUnaryServerInterceptor(nil, nil) },
		"RateStreamServerInterceptor": func() { RateStreamServerInterceptor(nil, nil) },
		"RateUnaryClientInterceptor":  func() { RateUnaryClientInterceptor(nil, nil) },
		"RateStreamClientInterceptor": func() { RateStreamClientInterceptor(nil, nil) },
		"RateTap":                     func() { RateTap(nil, nil) },
		"MissingKey":                  func() { RateUnaryServerInterceptor(l, &RateOptions{MissingKey: 9}) },
		"ByRequest":                   func() { ByRequest(nil) },
		"ByPeer":                      func() { ByPeer(&key.AddrOptions{IPv6Prefix: 200}) },
		"ByMetadata":                  func() { ByMetadata("not a name") },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s does not panic", name)
				}
			}()
			construct()
		}()
	}
}
