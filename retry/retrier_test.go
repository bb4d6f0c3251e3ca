package retry

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/uprung/uprung"
)

func TestDo(t *testing.T) {
	t.Parallel()
	rejected := &uprung.Rejection{Reason: errBroken}
	for _, tt := range []struct {
		name  string
		o     *Options
		errs  []error // of one call after the other
		calls int
		want  error
	}{
		{"success", nil, []error{nil}, 1, nil},
		{"the second time", nil, []error{errBroken, nil}, 2, nil},
		{"never", nil, []error{errBroken, errBroken, errReset, nil}, 3, errReset},
		{"rejected", nil, []error{rejected, nil}, 1, rejected},
		{"not worth it", &Options{Retryable: func(err error) bool { return !errors.Is(err, errBroken) }}, []error{errReset, errBroken, nil}, 2, errBroken},
		{"off", &Options{Mode: uprung.Off}, []error{errBroken, nil}, 1, errBroken},
		{"shadow", &Options{Mode: uprung.Shadow}, []error{errBroken, nil}, 1, errBroken},
	} {
		synctest.Test(t, func(t *testing.T) {
			calls := 0
			value, err := Do(t.Context(), mustNew(t, tt.o), func(context.Context) (int, error) {
				calls++
				return calls, tt.errs[calls-1]
			})
			if calls != tt.calls || value != calls || !errors.Is(err, tt.want) {
				t.Errorf("%s: %d, %v after %d calls, want %v after %d", tt.name, value, err, calls, tt.want, tt.calls)
			}
		})
	}
}

func TestDoAttemptTimeout(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		calls := 0
		_, err := Do(t.Context(), mustNew(t, &Options{AttemptTimeout: time.Second}), func(ctx context.Context) (int, error) {
			if calls++; calls == 2 {
				return 0, nil
			}
			<-ctx.Done()
			return 0, context.Cause(ctx)
		})
		if err != nil || calls != 2 {
			t.Errorf("got %v after %d calls, want nil after 2", err, calls)
		}
		// The caller's own end is not an attempt's.
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		calls = 2
		if _, err := Do(ctx, mustNew(t, nil), func(ctx context.Context) (int, error) {
			calls++
			<-ctx.Done()
			return 0, ctx.Err()
		}); !errors.Is(err, context.DeadlineExceeded) || calls != 3 {
			t.Errorf("got %v after %d calls, want the deadline after 1", err, calls-2)
		}
	})
}

// bucketModel is a bucket in floating-point numbers.
type bucketModel struct {
	b      Budget
	tokens float64
	last   time.Duration
}

func (m *bucketModel) add(n float64) { m.tokens = max(m.tokens, min(m.tokens+n, m.b.Cap)) }

func (m *bucketModel) take(now time.Duration) bool {
	if now > m.last {
		m.add((now - m.last).Seconds() * m.b.PerSecond)
		m.last = now
	}
	if m.tokens < 1 {
		return false
	}
	m.tokens--
	return true
}

func TestBucketModel(t *testing.T) {
	t.Parallel()
	for seed := range uint64(100) {
		rng := rand.New(rand.NewPCG(seed, 0))
		b, errs := Budget{PerRequest: float64(rng.IntN(5)) / 20, PerSecond: float64(rng.IntN(5)) / 4, Cap: float64(1 + rng.IntN(20))}.complete()
		if errs != nil {
			t.Fatal(errs)
		}
		k, m := newBucket(b), &bucketModel{b: b, tokens: b.Cap}
		now := time.Duration(0)
		granted, differ := 0, 0
		for range 2000 {
			now += time.Duration(rng.ExpFloat64() * 1e8)
			if rng.IntN(3) > 0 {
				k.request()
				m.add(b.PerRequest)
				continue
			}
			got, want := k.take(now), m.take(now)
			if got {
				granted++
			}
			if got != want {
				differ++ // by what a thousandth of a token makes
				if want {
					m.tokens++
				} else {
					m.tokens--
				}
			}
		}
		if left := k.left(now); left < 0 || left > b.Cap || differ > 20 || granted == 0 {
			t.Errorf("seed %d: %+v: %d of 2000 steps differ, %.3f tokens left, %d granted", seed, b, differ, left, granted)
		}
	}
}

// However many take at once, no more is granted than there is.
func TestBucketConcurrently(t *testing.T) {
	t.Parallel()
	k := newBucket(Budget{PerRequest: 0.1, PerSecond: 1, Cap: 50})
	var granted atomic.Int64
	var workers sync.WaitGroup
	for range 8 {
		workers.Go(func() {
			for i := range 10_000 {
				k.request()
				if k.take(time.Duration(i) * time.Millisecond) {
					granted.Add(1)
				}
			}
		})
	}
	workers.Wait()
	if got := granted.Load(); got > 50+8000+11 || got < 7000 {
		t.Errorf("%d granted, want at most what there was, 50 + 8000 + 10", got)
	}
}

// What net/http says of requests that no server has seen.
func TestUnsent(t *testing.T) {
	t.Parallel()
	if !unsent(&net.OpError{Op: "dial", Err: errBroken}) || unsent(&net.OpError{Op: "read", Err: errBroken}) || unsent(errBroken) || unsent(nil) {
		t.Error("errors are not told apart")
	}
	// A port without a listener.
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	_ = l.Close()
	if _, err := http.Get("http://" + addr); !unsent(err) {
		t.Errorf("%v, want it to be unsent", err)
	}
	// A stream that the server refuses, more often than net/http tries again.
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		panic(http.ErrAbortHandler)
	}))
	server.EnableHTTP2 = true
	server.StartTLS()
	defer server.Close()
	_, err = server.Client().Get(server.URL)
	stream, ok := errors.AsType[streamError](err)
	if !ok || stream.Code == refusedStream || stream.StreamID == 0 || unsent(err) {
		t.Errorf("%v is %+v, %v, want a stream that was reset by one who has seen it", err, stream, ok)
	}
	if !unsent(errors.Join(errBroken, streamError{StreamID: 1, Code: refusedStream})) {
		t.Error("a refused stream is not unsent")
	}
}
