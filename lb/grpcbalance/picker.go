package grpcbalance

import (
	"context"
	"math"
	"slices"

	"google.golang.org/grpc/balancer"
	"google.golang.org/grpc/codes"

	"github.com/uprung/uprung"
	"github.com/uprung/uprung/internal/grpcx"
	"github.com/uprung/uprung/lb"
	"github.com/uprung/uprung/lb/pick"
	"github.com/uprung/uprung/shard"
)

// picker is what gRPC asks for the endpoint of each call. It chooses from the latest
// snapshot of its connection.
type picker struct{ c *channel }

// Pick implements [balancer.Picker].
func (p picker) Pick(info balancer.PickInfo) (balancer.PickResult, error) {
	c := p.c
	b, now := c.b, c.now()
	s := c.state.Load()
	if now >= s.until {
		c.refresh(now)
		s = c.state.Load()
	}
	if s.ready == 0 { // and gRPC is about to get the picker that knows why
		return balancer.PickResult{}, balancer.ErrNoSubConnAvailable
	}
	r := pick.Request{Now: now, Random: b.random()}
	r.Hash = r.Random
	if b.o.Key != nil {
		if k, ok := b.o.Key(info.Ctx, info.FullMethodName); ok {
			r.Hash = shard.Hash(k)
		}
	}
	attempt := uprung.AttemptOf(info.Ctx)
	var tried []string
	if attempt != nil {
		tried = attempt.Tried()
	}
	if tried != nil || b.o.Eligible != nil {
		r.Filter = &filter{members: s.members, tried: tried, eligible: b.o.Eligible}
	}
	token, ok := s.picker.Pick(r)
	if !ok && tried != nil { // rather one of these than none
		r.Filter = &filter{members: s.members, eligible: b.o.Eligible}
		token, ok = s.picker.Pick(r)
	}
	if !ok {
		b.rejected.Add(1)
		return balancer.PickResult{}, grpcx.Refuse(codes.Unavailable, &uprung.Rejection{
			Kind: uprung.KindBalance, Name: b.name, Reason: lb.ErrNoEndpoint, RetryAfter: b.o.RetryAfter,
		})
	}
	m := &s.members[token.Endpoint]
	result, err := m.picker.Pick(info)
	if err != nil {
		s.picker.Done(token, now, uprung.Ignored)
		return result, err
	}
	if attempt != nil {
		attempt.Try(m.node.id)
	}
	streams := isStream(info)
	if streams {
		token = s.picker.Answered(token, now, uprung.Ignored)
	}
	m.node.picked.Add(1)
	m.node.inFlight.Add(1)
	b.inFlight.Add(1)
	k := call{c: c, picker: s.picker, node: m.node, ctx: info.Ctx, token: token, streams: streams, done: result.Done}
	result.Done = func(info balancer.DoneInfo) { k.end(info) }
	return result, nil
}

// call is one in progress.
type call struct {
	c       *channel
	picker  pick.Picker
	node    *node
	ctx     context.Context //nolint:containedctx // gRPC has it when a call begins, and it tells why one has ended
	token   pick.Token
	streams bool
	done    func(balancer.DoneInfo) // of pick_first, if it has any
}

// end gives back what Pick has taken.
func (k call) end(info balancer.DoneInfo) {
	if k.done != nil {
		k.done(info)
	}
	b, now := k.c.b, k.c.now()
	outcome := uprung.Ignored // of what was not sent: gRPC picks again
	if info.BytesSent {
		patience := b.o.Patience
		if k.streams {
			patience = math.MaxInt64 // to wait for long is what streams are for
		}
		outcome = grpcx.Outcome(k.ctx, info.Err, info.Trailer, now-k.token.Start, patience)
	}
	k.picker.Done(k.token, now, outcome)
	b.inFlight.Add(-1)
	b.ended[outcome].Add(1)
	if k.node.ended(outcome, b.o.Outlier.Consecutive) && b.o.Outlier.Mode != uprung.Off {
		k.c.failedInRow(k.node, now)
	}
}

// filter refuses endpoints for one call. It implements [pick.Filter].
type filter struct {
	members  []member
	tried    []string
	eligible func(id string) bool // nil refuses none
}

// Refuses implements [pick.Filter].
func (f *filter) Refuses(endpoint int) bool {
	id := f.members[endpoint].node.id
	return slices.Contains(f.tried, id) || f.eligible != nil && !f.eligible(id)
}
