package redislimit

import (
	"context"
	"time"

	"github.com/uprung/uprung"
	"github.com/uprung/uprung/internal/option"
	"github.com/uprung/uprung/ratelimit"
)

// backend is a limiter as the HTTP side sees it.
type backend struct{ l *Limiter }

func (b backend) Policies() []string { return []string{b.l.o.Name} }

func (b backend) Mode() uprung.Mode { return b.l.Mode() }

func (b backend) Decide(ctx context.Context, a ratelimit.Ask) (ratelimit.Verdict, error) {
	key := keyOf(a)
	ans, err := b.l.take(ctx, key, a.N, false)
	if err != nil && ans.Limit == 0 { // not one that time does not cure
		return ratelimit.Verdict{}, err
	}
	v := ratelimit.Verdict{Decisions: []ratelimit.Decision{{Limit: ans.limit(b.l), Result: ans.Result}}}
	if ans.Granted > 0 && !ans.Shadowed {
		v.Undo = func(ctx context.Context, ago time.Duration) { b.l.undo(ctx, key, a.N, &ans, ago) }
	}
	return v, nil
}

// undo gives back what was granted some time ago, as far as time has not refilled it.
func (l *Limiter) undo(ctx context.Context, key string, n int64, ans *answer, ago time.Duration) {
	if l.local != nil {
		_ = l.local.Refund(key, n) // n is in range
	}
	left := int64((ans.ResetAfter - ago) / unit) // of its debt, had it taken no more
	b := ans.budget
	if b.always || left <= 0 || ans.by == byItself {
		return
	}
	_ = l.giveBack(ctx, key, min(b.cost(n), left), b.depth) // nobody waits for it
}

// keyOf returns the key of an ask.
func keyOf(a ratelimit.Ask) string {
	if a.Keyless {
		return keyless
	}
	return a.Key
}

func (b backend) Settings() []uprung.Setting {
	l := b.l
	mode := l.Mode()
	return []uprung.Setting{
		{Name: "Limit", Value: l.Limit().String()},
		{Name: "Mode", Value: mode.String(), Default: mode == uprung.Enforce},
		{Name: "LimitFor", Value: option.Function(l.limitFor != nil, "none"), Default: l.limitFor == nil},
		{Name: "Down", Value: l.o.Down.String(), Default: l.o.Down == Local},
		{Name: "Replicas", Value: option.Function(l.o.Replicas != nil, "1"), Default: l.o.Replicas == nil},
		{Name: "Lease", Value: option.OrNone(l.o.Lease > 0, l.o.Lease), Default: l.o.Lease == 0},
		{Name: "LeaseAge", Value: time.Duration(l.leaseAge).String(), Default: l.o.LeaseAge == 0},
		{Name: "DenyAge", Value: option.OrNone(l.denyAge > 0, l.denyAge), Default: l.o.DenyAge == 0},
		{Name: "Timeout", Value: l.store.timeout.String()},
		{Name: "Prefix", Value: l.store.prefix, Default: l.store.prefix == DefaultPrefix},
	}
}

// Mode is the first mode of its limiters that enforces for all keys or, if none does, the
// first that is not off, or off: each limiter applies its own.
func (g *Group) Mode() uprung.Mode { return groupBackend{g}.Mode() }
