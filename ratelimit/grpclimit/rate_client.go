package grpclimit

import (
	"context"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/uprung/uprung"
	"github.com/uprung/uprung/internal/grpcx"
	"github.com/uprung/uprung/ratelimit"
)

const (
	// maxPause bounds how long a server can hold back a key.
	maxPause = 24 * time.Hour
	// maxHeld is how many keys can be held back at a time.
	maxHeld = 1024
)

// RateUnaryClientInterceptor returns an interceptor that paces calls, as
// [ratelimit.Limiter.Transport] does requests: each waits until the limit of its key
// grants it, in the order of arrival if the limiter has one, under its own context. One
// that cannot be granted before its deadline, or never, is refused at once. It panics if
// limiter is nil.
//
// A server that asks to be tried again later holds back all calls of the key until then,
// for at most 24 hours and 1024 keys at a time. Its answer is returned as it is: to repeat
// the call is another interceptor's job.
func RateUnaryClientInterceptor(limiter Limiter, o *RateOptions) grpc.UnaryClientInterceptor {
	p := newPacer(limiter, o)
	return func(ctx context.Context, method string, request, reply any, cc *grpc.ClientConn, invoker grpc.UnaryInvoker, options ...grpc.CallOption) error {
		a, paced, err := p.begin(ctx, method, cc)
		switch {
		case err != nil:
			return err
		case !paced:
			return invoker(ctx, method, request, reply, cc, options...)
		}
		var trailer metadata.MD
		err = invoker(ctx, method, request, reply, cc, append(options[:len(options):len(options)], grpc.Trailer(&trailer))...)
		p.heed(ctx, a, err, trailer)
		return err
	}
}

// RateStreamClientInterceptor is [RateUnaryClientInterceptor] for streams: the opening of
// one counts, and not its messages.
func RateStreamClientInterceptor(limiter Limiter, o *RateOptions) grpc.StreamClientInterceptor {
	p := newPacer(limiter, o)
	return func(ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string, streamer grpc.Streamer, options ...grpc.CallOption) (grpc.ClientStream, error) {
		a, paced, err := p.begin(ctx, method, cc)
		if err != nil {
			return nil, err
		}
		stream, err := streamer(ctx, desc, cc, method, options...)
		switch {
		case err != nil:
			if paced {
				p.heed(ctx, a, err, nil)
			}
			return nil, err
		case !paced:
			return stream, nil
		}
		return &pacedStream{stream, p, a}, nil
	}
}

// pacedStream heeds what a server says at the end of a stream.
type pacedStream struct {
	grpc.ClientStream
	p *pacer
	a ask
}

// RecvMsg receives a message. Any error is the end.
func (s *pacedStream) RecvMsg(m any) error {
	err := s.ClientStream.RecvMsg(m)
	if err != nil {
		s.p.heed(s.Context(), s.a, err, s.Trailer())
	}
	return err
}

// pacer is what the interceptors of clients have in common.
type pacer struct {
	*rate
	held holds
}

func newPacer(limiter Limiter, o *RateOptions) *pacer {
	return &pacer{rate: newRate(limiter, o)}
}

// begin waits for the turn of a call. It returns false if the call is not paced. Its error
// is a status.
func (p *pacer) begin(ctx context.Context, method string, cc *grpc.ClientConn) (a ask, paced bool, err error) {
	a, paced, err = p.prepare(ctx, method, cc.Target())
	if !paced {
		return a, false, err
	}
	for {
		if err := p.waitWhileHeld(ctx, a); err != nil {
			return a, true, err
		}
		if result, err := p.turn(ctx, a); err != nil || !result.Allowed {
			return a, true, p.refusal(ctx, &result, err)
		}
		if p.pause(a) == 0 {
			return a, true, nil
		}
		// Its turn has come while it is held back: it queues up again.
	}
}

// turn waits until the limit grants a.
func (p *pacer) turn(ctx context.Context, a ask) (ratelimit.Result, error) {
	if l, ok := p.limiter.(interface {
		Wait(ctx context.Context, key string, n int64) error
	}); ok {
		return ratelimit.Result{Allowed: true}, l.Wait(ctx, a.key, a.n)
	}
	for {
		result, err := p.limiter.Take(ctx, a.key, a.n)
		if err != nil || result.Allowed || result.RetryAfter <= 0 || !inTime(ctx, result.RetryAfter) {
			return result, err
		}
		if err := sleep(ctx, result.RetryAfter); err != nil {
			return result, err
		}
	}
}

// waitWhileHeld waits until calls like a are not held back. Its error is a status.
func (p *pacer) waitWhileHeld(ctx context.Context, a ask) error {
	for {
		pause := p.pause(a)
		if pause == 0 {
			return nil
		}
		if !inTime(ctx, pause) {
			return p.refusal(ctx, &ratelimit.Result{RetryAfter: pause}, nil)
		}
		if err := sleep(ctx, pause); err != nil {
			return p.refusal(ctx, nil, err)
		}
	}
}

// pause is how long calls like a are held back by their server.
func (p *pacer) pause(a ask) time.Duration {
	if !p.limiter.Mode().Enforces(a.key) {
		return 0
	}
	return p.held.pause(a.key, time.Now())
}

// heed holds back the key of a call whose server asks for that.
func (p *pacer) heed(ctx context.Context, a ask, err error, trailer metadata.MD) {
	if grpcx.Outcome(ctx, err, trailer, 0, 0) != uprung.Overload {
		return
	}
	if after, _ := grpcx.RetryAfter(err, trailer); after > 0 {
		p.held.raise(a.key, min(after, maxPause), time.Now())
	}
}

// holds are the keys that servers hold back. The zero value is ready.
type holds struct {
	mu    sync.Mutex
	until map[string]time.Time // guarded by mu
}

// pause returns how long a key is held back.
func (h *holds) pause(key string, now time.Time) time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	until, held := h.until[key]
	if !held {
		return 0
	}
	if !until.After(now) {
		delete(h.until, key)
		return 0
	}
	return until.Sub(now)
}

// raise holds a key back for a time. If there are too many, the one that is held back for
// the shortest time is released.
func (h *holds) raise(key string, pause time.Duration, now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	until := now.Add(pause)
	if was, held := h.until[key]; held {
		if until.After(was) {
			h.until[key] = until
		}
		return
	}
	if h.until == nil {
		h.until = make(map[string]time.Time)
	}
	h.until[key] = until
	if len(h.until) <= maxHeld {
		return
	}
	for k, t := range h.until {
		if t.Before(until) {
			key, until = k, t
		}
	}
	delete(h.until, key)
}

// inTime reports whether a pause ends before the deadline of ctx.
func inTime(ctx context.Context, pause time.Duration) bool {
	deadline, ok := ctx.Deadline()
	return !ok || time.Until(deadline) >= pause
}

// sleep waits, and returns the error of ctx if that ends first.
func sleep(ctx context.Context, pause time.Duration) error {
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
