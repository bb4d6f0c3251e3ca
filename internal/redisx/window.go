package redisx

import (
	"context"
	"sync/atomic"
	"time"
)

// windows bounds calls that nothing else bounds. Those that begin at about the same time
// share a context, which spares each a timer of its own: in the measure of a call to Redis
// that is much.
type windows struct {
	timeout time.Duration
	current atomic.Pointer[window]
}

type window struct {
	ctx    context.Context //nolint:containedctx // it is what the window is
	cancel context.CancelFunc
	closes time.Time // for calls that begin
}

// context returns one that ends after the timeout, or by a sixteenth of it sooner.
func (w *windows) context(now time.Time) context.Context {
	old := w.current.Load()
	if old != nil && now.Before(old.closes) {
		return old.ctx
	}
	ctx, cancel := context.WithDeadline(context.Background(), now.Add(w.timeout))
	if !w.current.CompareAndSwap(old, &window{ctx: ctx, cancel: cancel, closes: now.Add(w.timeout / 16)}) {
		cancel()
		return w.current.Load().ctx // another has just made it
	}
	return ctx // its timer ends it
}
